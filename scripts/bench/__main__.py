"""What takes how long: ``python scripts/bench --out outputs/bench [--parts solver mind ...]`` (``make bench``).

Every part compares in one run and in turns, so that what else the machine does hits all alike; numbers are medians.
Parts write ``PART.json`` as they end, and ``performance.md`` gathers those that are there: one can be measured alone.
"""

from __future__ import annotations

import argparse
import importlib
import json
import platform
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))

from mmreg_lightning import __version__  # noqa: E402
from mmreg_lightning.files import ensure_output_dir, write_json, write_text  # noqa: E402
from mmreg_lightning.reporting.pages import markdown_table  # noqa: E402

PARTS = ("solver", "mind", "training", "startup", "scaling", "registration")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python scripts/bench", description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("outputs/bench"))
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", help="of the parts solver and registration: cpu or cuda")
    parser.add_argument("--checkpoint", type=Path, help="for the registration's learned features; trained if not given")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    out = ensure_output_dir(arguments.out).resolve()
    for part in arguments.parts:
        print(f"== {part}", flush=True)
        tables = importlib.import_module(part).measure(out, arguments)
        facts = {
            "versions": f"mmreg_lightning {__version__}, torch {torch.__version__}, Python {platform.python_version()}",
            "machine": f"{platform.system()} {platform.machine()}, {arguments.threads} threads, {arguments.device}",
            "repeats": arguments.repeats,
        }
        write_json(out / f"{part}.json", {**facts, "tables": tables})
        for title, table in tables.items():
            print(f"{title}\n\n{markdown_table(table)}\n", flush=True)
    pages = []
    for part in PARTS:
        if (out / f"{part}.json").is_file():
            found = json.loads((out / f"{part}.json").read_text(encoding="utf-8"))
            facts = f"{found['versions']}; {found['machine']}; medians of {found['repeats']}."
            for title, table in found["tables"].items():
                pages.append(f"## {title}\n\n{markdown_table(table)}\n\n{facts}\n")
    write_text(out / "performance.md", "\n".join(pages))
    print(f"Results: {out / 'performance.md'}")


if __name__ == "__main__":
    main()
