"""Evaluation of a folder of displacement fields against a data set."""

from __future__ import annotations

from collections.abc import Callable
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

    Args:
        dataset: in Learn2Reg layout.
        fields: folder of ``disp_FIXED_MOVING`` files, see ``find_field``.
        out: folder for the results.
        split: ``train``, ``val`` or ``test``.
        overwrite: replace an earlier evaluation.
        progress: called with (cases done, cases in all).

    Returns:
        Content of summary.json: ``measures`` (see ``summarise``), ``missing`` (pairs without a field).

    Raises:
        UserError: data set, fields or output folder cannot be used, or there is no field for any pair.
    """
    data = Learn2RegDataset.read(dataset)
    pairs = data.pairs[split]
    if not pairs:
        raise UserError(f"{data.description} lists no pairs of the split {split!r}")
    if not Path(fields).is_dir():
        raise UserError(f"fields={fields}: there is no such folder")
    check_free(out, OUTPUTS, overwrite)
    found = {pair.name: find_field(Path(fields), pair) for pair in pairs}
    missing = [name for name, path in found.items() if path is None]
    if len(missing) == len(pairs):
        first = pairs[0]
        raise UserError(
            f"fields={fields}: no field for any of the {len(pairs)} pairs of the split {split!r}, as "
            f"disp_{first.fixed.subject}_{first.moving.subject}.npz"
        )
    rows = []
    with new_output_dir(out) as folder:
        for done, pair in enumerate(pairs):
            path = found[pair.name]
            if path is not None:
                read = pair.read()
                measured = evaluate(read, read_field(path, read), data.label_names)
                rows.append({"case": pair.name, "field": path.name, **measured})
            if progress is not None:
                progress(done + 1, len(pairs))
    write_rows(folder / "metrics.csv", rows)
    summary = {"split": split, "measures": summarise(rows), "missing": missing, "explained": MEASURES}
    write_json(folder / "summary.json", summary)
    return summary


def find_field(folder: Path, pair: Pair[ImageFiles]) -> Path | None:
    """``disp_FIXED_MOVING``, subjects as in the image names, as ``.npz`` or NIfTI; None where there is none.

    Raises:
        UserError: there are several.
    """
    stem = f"disp_{pair.fixed.subject}_{pair.moving.subject}"
    found = [folder / f"{stem}{suffix}" for suffix in _SUFFIXES if (folder / f"{stem}{suffix}").is_file()]
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
