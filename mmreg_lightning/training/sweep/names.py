"""What the folders of a sweep's runs are called."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

LONGEST = 60
_DIGITS = 6
_LAST = ("experiment", "data.root", "data.cache_dir")
"""Of these a sweep mostly has one value: they come last, where there may be no room."""


def run_name(overrides: Sequence[str]) -> str:
    """A short name for a run: its overrides as far as there is room, and six digits of the checksum of all of them.

    The resolver ``mmreg.run_name`` of the configuration. Runs with other overrides have other names, whatever their
    order; a name is one folder, of letters, digits and ``_=,.+-``.

    Args:
        overrides: of the run, ``KEY=VALUE``.
    """
    # Which sweep it belongs to, or how that one goes on, is none of a run's settings.
    own = sorted(text for text in map(str, overrides) if not re.match(r"[+~]*sweep[.=]", text))
    digest = hashlib.sha256("\n".join(own).encode()).hexdigest()[:_DIGITS]
    own.sort(key=lambda text: (_LAST.index(_key(text)) + 1 if _key(text) in _LAST else 0, text))
    room = LONGEST - _DIGITS - 1
    parts = [_part(text, _key(text)) for text in own]
    if len(",".join(parts)) > room:
        parts = [_part(text, _key(text).rpartition(".")[2]) for text in own]
    while len(parts) > 1 and len(",".join(parts)) > room:
        least = max(range(len(own)), key=lambda index: (_key(own[index]) != "seed", index))
        del parts[least], own[least]
    return "-".join(part for part in (",".join(parts)[:room], digest) if part)


def _key(override: str) -> str:
    return override.lstrip("+~").partition("=")[0]


def _part(override: str, key: str) -> str:
    """``key=value``, of a path its last part."""
    value = override.partition("=")[2]
    if re.fullmatch(r"[\w./~-]+/[\w.-]+", value):
        value = value.rpartition("/")[2]
    return re.sub(r"[^\w=.+-]+", "_", f"{key}={value}", flags=re.ASCII).strip("_.")
