"""Evaluation of a folder of displacement fields against a data set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from mmreg_lightning.data.learn2reg import Learn2RegDataset
from mmreg_lightning.data.pair import Image, ImageFiles, Pair
from mmreg_lightning.errors import UserError
from mmreg_lightning.evaluation.measures import MEASURES, evaluate, summarise
from mmreg_lightning.files import check_free, new_output_dir, write_json, write_rows
from mmreg_lightning.geometry.fields import resample_displacement
from mmreg_lightning.io.images import has_vector_intent
from mmreg_lightning.io.itk_fields import read_itk_field
from mmreg_lightning.io.l2r_fields import from_l2r, read_l2r_field

OUTPUTS = ("metrics.csv", "summary.json")
Files = Pair[ImageFiles]
_SUFFIXES = (".npz", ".nii.gz", ".nii", ".itk.nii.gz", ".itk.nii")


def evaluate_fields(
    dataset: str | Path,
    fields: str | Path,
    out: str | Path,
    *,
    split: str = "val",
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Score the fields of all pairs of a split, and write metrics.csv and summary.json.

    A pair without labels in both images is scored by what it has: landmarks, folds, SDlogJ.

    Args:
        dataset: in Learn2Reg layout.
        fields: folder of ``disp_FIXED_MOVING`` files, see ``field_names`` and ``find_field``.
        out: folder for the results.
        split: ``train``, ``val`` or ``test``.
        overwrite: replace an earlier evaluation.
        progress: called with (cases done, cases in all).

    Returns:
        Content of summary.json: ``measures`` (see ``summarise``), ``missing`` (pairs without a field), ``unlabelled``
        (pairs with a field, but without labels), ``notes`` (what was assumed about the files).

    Raises:
        UserError: data set, fields or output folder cannot be used, or there is no field for any pair.
    """
    data = Learn2RegDataset.read(dataset, "dataset")
    pairs = data.pairs[split]
    if not pairs:
        raise UserError(f"{data.description} lists no pairs of the split {split!r}")
    names, cases = field_names(pairs), case_names(pairs)
    if not Path(fields).is_dir():
        raise UserError(f"fields={fields}: there is no such folder")
    check_free(out, OUTPUTS, overwrite)
    found = [find_field(Path(fields), own) for own in names]
    missing = [case for case, path in zip(cases, found, strict=True) if path is None]
    if len(missing) == len(pairs):
        raise UserError(
            f"fields={fields}: no field for any of the {len(pairs)} pairs of the split {split!r}, as {names[0][0]}.npz"
        )
    unlabelled = [
        case for case, pair, path in zip(cases, pairs, found, strict=True) if path is not None and not pair.labelled
    ]
    rows = []
    notes: dict[str, None] = {}
    with new_output_dir(out) as folder:
        for done, (case, pair, path) in enumerate(zip(cases, pairs, found, strict=True)):
            if path is not None:
                read = pair.scorable().read()
                notes |= dict.fromkeys((*read.fixed.notes, *read.moving.notes))
                measured = evaluate(read, read_field(path, read), data.label_names)
                rows.append({"case": case, "field": path.name, **measured})
            if progress is not None:
                progress(done + 1, len(pairs))
    write_rows(folder / "metrics.csv", rows)
    summary = {
        "split": split,
        "measures": summarise(rows),
        "missing": missing,
        "unlabelled": unlabelled,
        "notes": list(notes),
        "explained": MEASURES,
    }
    write_json(folder / "summary.json", summary)
    return summary


def field_names(pairs: Sequence[Files]) -> list[list[str]]:
    """Names, without suffix, that a field of each pair may have; Learn2Reg's evaluation reads the first.

    Subjects and modality numbers are those of the image names. Within a modality and from modality 1 to 0 Learn2Reg
    reads ``disp_FIXED_MOVING`` (``disp_0012_0034``), else with the number of each modality behind its subject
    (``disp_0012_0000_0034_0002``), see evaluation/L2RTest/evaluation.py of MDL-UzL/L2R. The other form is accepted for
    each, and the names of both images in full, for subjects of two sites with one number; but no name that may mean
    another pair, too.

    Args:
        pairs: all of a split.

    Raises:
        UserError: two pairs have the same image names.
    """
    own = {pair: _field_names(pair) for pair in pairs}
    first = Counter(names[0] for names in own.values())
    known = Counter(name for names in own.values() for name in names)
    clear = {
        pair: [name for name in names if (first[name] == 1 and name == names[0]) or known[name] == 1]
        for pair, names in own.items()
    }
    for pair, names in clear.items():
        if not names:
            raise UserError(
                f"{pair.fixed.image} and {pair.moving.image}: another pair of the split has the same file names"
            )
    return [clear[pair] for pair in pairs]


def case_names(pairs: Sequence[Files]) -> list[str]:
    """Name of each pair: ``Pair.name`` where that is its own, else that of its field without ``disp_``."""
    known = Counter(pair.name for pair in set(pairs))
    return [
        pair.name if known[pair.name] == 1 else names[0].removeprefix("disp_")
        for pair, names in zip(pairs, field_names(pairs), strict=True)
    ]


def _field_names(pair: Files) -> list[str]:
    stems = [files.image.name.removesuffix(".gz").removesuffix(".nii") for files in pair]
    (subject, modality), (other, to) = (stem.rsplit("_", 2)[-2:] for stem in stems)
    short, full = f"disp_{subject}_{other}", f"disp_{subject}_{modality}_{other}_{to}"
    usual = modality == to or (int(modality), int(to)) == (0, 1)
    return [*((short, full) if usual else (full, short)), f"disp_{'_'.join(stems)}"]


def find_field(folder: Path, names: Sequence[str]) -> Path | None:
    """The field of a pair, as ``.npz`` or NIfTI; None where there is none.

    Args:
        folder: of fields.
        names: of ``field_names``.

    Raises:
        UserError: there are several.
    """
    paths = [folder / f"{name}{suffix}" for name in names for suffix in _SUFFIXES]
    found = [path for path in paths if path.is_file()]
    if len(found) > 1:
        raise UserError(f"fields={folder}: {found[0].name} and {found[1].name} are fields of the same pair")
    return found[0] if found else None


def read_field(path: Path, pair: Pair[Image]) -> Tensor:
    """A field of Learn2Reg or of ITK (told by its intent): (1, 3, I, J, K), voxels of the fixed image's RAS+ grid.

    Raises:
        UserError: it cannot be read, or is not of the fixed image's size; see ``read_l2r_field``.
    """
    if path.suffix != ".npz" and has_vector_intent(path):
        displacement, grid = read_itk_field(path)
        return resample_displacement(displacement, grid, pair.fixed.volume.grid)[None]
    fixed, moving = pair.fixed.volume.native, pair.moving.volume.native
    return from_l2r(read_l2r_field(path, fixed.shape), fixed, moving)
