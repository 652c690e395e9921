"""Phantom data sets: a folder in Learn2Reg layout, and the known displacement of its pairs."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np
from rich.progress import track

from mmreg_lightning.data.learn2reg import Learn2RegDataset
from mmreg_lightning.data.pair import ImageFiles, Pair
from mmreg_lightning.errors import UserError, positive_int
from mmreg_lightning.geometry.frames import transform_points
from mmreg_lightning.geometry.grid import Grid
from mmreg_lightning.phantom.layers import LABELS
from mmreg_lightning.phantom.subject import PhantomSubject, check_grid, known_displacement, make_subject

if TYPE_CHECKING:
    from torch import Tensor

NAME = "PhantomMRCT"
VERSION = 1
"""Increased whenever the same arguments give other images, so that old cached folders are not reused."""

Json = dict[str, Any]


def write_phantom(
    out: Path,
    subjects: int,
    size: Sequence[int],
    spacing: float | Sequence[float] | None = None,
    seed: int = 0,
    val: int | None = None,
    test: int | None = None,
    intra_displacement: float = 15.0,
    progress: bool = False,
) -> Path:
    """Write ``subjects`` subjects, each an MR (modality 0, fixed) and a CT (modality 1, moving), and return ``out``.

    A folder with the same phantom is not changed. Otherwise the data set is written beside ``out`` and renamed at the
    end, so ``out`` is complete or absent.

    Args:
        out: folder to create, with NAME_dataset.json, imagesTr, labelsTr and landmarksTr.
        subjects: number of subjects, in the order training, validation, test.
        size, spacing, seed, intra_displacement: see ``make_subject``; subject k does not depend on ``subjects``.
        val, test: numbers of subjects held out; by default a fifth each, at least one, none below three subjects.
        progress: show a progress bar on the terminal.

    Raises:
        UserError: an argument is out of range, ``out`` holds something else, or it cannot be written.
    """
    out = Path(out)
    shape, steps = check_grid(size, spacing)
    positive_int("subjects", subjects)
    held_out = max(1, subjects // 5) if subjects >= 3 else 0
    val = held_out if val is None else val
    test = held_out if test is None else test
    if val < 0 or test < 0 or val + test > subjects:
        raise UserError(f"val={val} and test={test}: must be 0 or more and together at most subjects={subjects}")
    parameters: Json = {
        "version": VERSION,
        "subjects": subjects,
        "size": list(shape),
        "spacing": steps.tolist(),
        "seed": seed,
        "val": val,
        "test": test,
        "intra_displacement": intra_displacement,
    }
    if _holds(out, parameters):
        return out

    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        # A sibling folder: the final rename stays on one file system.
        partial = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    except OSError as error:
        raise UserError(f"{out} cannot be written: {error.strerror}") from error
    try:
        for folder in ("imagesTr", "labelsTr", "landmarksTr"):
            (partial / folder).mkdir()
        for index in track(range(subjects), "subjects", transient=True, disable=not progress):
            _write_subject(partial, index, make_subject(seed, index, shape, steps.tolist(), intra_displacement))
        description = {**dataset_description(subjects, val, test, shape), "phantom": parameters}
        (partial / f"{NAME}_dataset.json").write_text(json.dumps(description, indent=1) + "\n", encoding="utf-8")
        partial.chmod(0o755)
        try:
            os.replace(partial, out)
        except OSError:  # another process may have written the same phantom meanwhile
            if not _holds(out, parameters):
                raise
    except OSError as error:
        raise UserError(f"{out} cannot be written: {error.strerror}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return out


def true_displacement(dataset: Learn2RegDataset, pair: Pair[ImageFiles], grid: Grid) -> Tensor | None:
    """The known displacement of a pair of a phantom, (1, 3, I, J, K) in voxels of ``grid``, fixed to moving.

    It is recomputed from the seed. None if the data set is not a phantom of this ``VERSION``, or the pair is of two
    subjects. ``grid`` is any grid in the world of the fixed image.
    """
    import torch  # here, because writing a phantom does not need it

    made = json.loads(dataset.description.read_text(encoding="utf-8")).get("phantom")
    if not isinstance(made, dict) or made.get("version") != VERSION or not pair.same_subject:
        return None
    field = known_displacement(made["seed"], int(pair.fixed.subject) - 1, made["intra_displacement"])
    voxels = np.stack(np.meshgrid(*(np.arange(n) for n in grid.shape), indexing="ij"), axis=-1)
    points = transform_points(grid.affine, voxels).reshape(-1, 3).T
    moves = np.linalg.inv(grid.affine[:3, :3]) @ field(points.astype(np.float32))
    return torch.from_numpy(moves.reshape(1, 3, *grid.shape).astype(np.float32))


def case_name(index: int, modality: int) -> str:
    """Name of an image or label map without folder and suffix; subjects are numbered from 1."""
    return f"{NAME}_{index + 1:04d}_{modality:04d}"


def dataset_description(subjects: int, val: int, test: int, shape: tuple[int, int, int]) -> Json:
    """Contents of NAME_dataset.json: subjects in the order training, validation, test; no pair crosses the splits.

    The validation and test splits list their inter-subject pairs (MR of a subject, CT of the next, cyclically), then
    the pairs of each subject with itself, whose displacement is known.
    """

    def pair(fixed: int, moving: int) -> Json:
        return {
            "fixed": f"./imagesTr/{case_name(fixed, 0)}.nii.gz",
            "moving": f"./imagesTr/{case_name(moving, 1)}.nii.gz",
        }

    def held_out(members: range) -> list[Json]:
        ring = [pair(a, members[(i + 1) % len(members)]) for i, a in enumerate(members)] if len(members) > 1 else []
        return ring + [pair(a, a) for a in members]

    train = range(subjects - val - test)
    validation = held_out(range(len(train), subjects - test))
    testing = held_out(range(subjects - test, subjects))
    names = {str(number): name for number, name in LABELS.items()}
    return {
        "name": NAME,
        "release": "1.0",
        "reference": "mmreg_lightning procedural abdomen phantom",
        "description": "Random abdomens as MR and CT, with exact labels and a known displacement within a subject.",
        "licence": "CC0-1.0",
        "tensorImageSize": {"0": list(shape), "1": list(shape)},
        "modality": {"0": "MR", "1": "CT"},
        "img_shift": {"fixed": "MR", "moving": "CT"},
        "labels": {"0": names, "1": names},
        "registration_direction": {"fixed": 0, "moving": 1},
        "pairings": "paired",
        "expected_shape": [*shape, 3],
        "provided_data": {"0": ["labels", "landmarks"], "1": ["labels", "landmarks"]},
        "numTraining": 2 * subjects,
        "numPairedTraining": len(train),
        "numUnpairedTraining": 0,
        "numRegistration_val": len(validation),
        "numRegistration_test": len(testing),
        "training_paired_images": [pair(a, a) for a in train],
        "training_unpaired_images": [],
        "registration_val": validation,
        "registration_test": testing,
        "training": [
            {
                "image": f"./imagesTr/{case_name(index, modality)}.nii.gz",
                "label": f"./labelsTr/{case_name(index, modality)}.nii.gz",
            }
            for index in range(subjects)
            for modality in (0, 1)
        ],
    }


def _holds(out: Path, parameters: Json) -> bool:
    """Whether ``out`` is the phantom of ``parameters``; False for an empty or absent folder.

    Raises:
        UserError: ``out`` holds anything else.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    try:
        description = json.loads((out / f"{NAME}_dataset.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        description = None
    found = description.get("phantom") if isinstance(description, dict) else None
    if found == parameters:
        return True
    what = "a phantom made with other arguments" if found else "something that is not a phantom"
    raise UserError(f"{out} holds {what}: name another folder or remove it")


def _write_subject(folder: Path, index: int, subject: PhantomSubject) -> None:
    """Write images as int16, labels as uint8, landmarks as rows "i,j,k" of voxel coordinates."""
    mr, ct = (
        (subject.mr, subject.mr_labels, subject.mr_landmarks),
        (subject.ct, subject.ct_labels, subject.ct_landmarks),
    )
    for modality, (image, labels, landmarks) in enumerate((mr, ct)):
        name = case_name(index, modality)
        for kind, array in (("imagesTr", np.rint(image).astype(np.int16)), ("labelsTr", labels)):
            nifti = nib.Nifti1Image(array, subject.affine)
            nifti.set_sform(subject.affine, code=1)
            nifti.set_qform(subject.affine, code=1)
            nifti.header.set_xyzt_units("mm")
            nib.save(nifti, folder / kind / f"{name}.nii.gz")
        np.savetxt(folder / "landmarksTr" / f"{name}.csv", landmarks, fmt="%.4f", delimiter=",")
