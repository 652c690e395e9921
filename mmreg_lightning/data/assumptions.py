"""What is assumed about the headers of many files, in few lines."""

from __future__ import annotations

from collections.abc import Iterable

from mmreg_lightning.data.pair import ImageFiles
from mmreg_lightning.errors import UserError
from mmreg_lightning.io.images import read_layout

_EXAMPLES = 3


def header_notes(files: Iterable[ImageFiles]) -> list[str]:
    """The notes of all images, label maps and masks, each file once; only headers are read.

    A file that cannot be read has none here: whoever reads it says what is wrong.
    """
    paths = dict.fromkeys(path for own in files for path in (own.image, own.labels, own.mask) if path is not None)
    notes: list[str] = []
    for path in paths:
        try:
            notes += read_layout(path).notes
        except UserError:
            continue
    return notes


def notes_in_words(notes: Iterable[str]) -> list[str]:
    """The lines for a summary: how many notes there are, and the first ones; no line where there is none."""
    own = list(dict.fromkeys(notes))
    if not own:
        return []
    first = "" if len(own) <= _EXAMPLES else f", the first {_EXAMPLES} of which are"
    count = "1 note" if len(own) == 1 else f"{len(own)} notes"
    return [f"{count} about the headers of files{first}:", *(f"  {note}" for note in own[:_EXAMPLES])]
