"""What trainings in processes of their own must have said."""

from __future__ import annotations

import json
from pathlib import Path


def recorded_warnings(folder: Path) -> str:
    """What the runs below a folder have said on stderr: the warnings that their records hold, in the order of paths."""
    records = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.rglob("result.json"))]
    assert records, "a training that ended well has written its record"
    return "".join(f"warning: {sentence}\n" for record in records for sentence in record["warnings"])
