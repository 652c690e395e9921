"""Writing a phantom as a folder in Learn2Reg layout."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from rich.progress import track

from mmreg_lightning.errors import UserError
from mmreg_lightning.phantom.layers import LABELS
from mmreg_lightning.phantom.subject import PhantomSubject, check_grid, make_subject

NAME = "PhantomMRCT"
VERSION = 1
"""Raised whenever the same arguments give other images, so that a cached folder is never mistaken for a new one."""

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

    A folder that already holds this very phantom is left as it is. Otherwise the data set is written beside ``out`` and
    renamed at the end, so that ``out`` is complete or absent.

    Args:
        out: folder to make; NAME_dataset.json, imagesTr, labelsTr and landmarksTr lie in it.
        subjects: number of subjects, 1 or more; in this order they train, validate and test.
        size: I, J, K voxels along right, anterior, superior.
        spacing: voxel size in mm, one number or three; by default 384 mm over I.
        seed: seed of the data set; subject k of a seed is the same whatever ``subjects`` is.
        val, test: numbers of subjects held out; by default a fifth each, at least one, none below three subjects.
        intra_displacement: upper bound in mm of the known displacement between MR and CT of a subject; 0 for none.
        progress: show a progress bar on the terminal.

    Raises:
        UserError: when an argument is out of range, ``out`` holds something else, or it cannot be written.
    """
    out = Path(out)
    shape, steps = check_grid(size, spacing)
    if subjects < 1:
        raise UserError(f"subjects: {subjects} must be 1 or more.")
    held_out = max(1, subjects // 5) if subjects >= 3 else 0
    val = held_out if val is None else val
    test = held_out if test is None else test
    if val < 0 or test < 0 or val + test > subjects:
        raise UserError(f"val: {val} and test: {test} must be 0 or more and together no more than {subjects} subjects.")
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
        raise UserError(f"{out} cannot be written: {error.strerror}.") from error
    try:
        for folder in ("imagesTr", "labelsTr", "landmarksTr"):
            (partial / folder).mkdir()
        for index in track(range(subjects), "subjects", transient=True, disable=not progress):
            _write_subject(partial, index, make_subject(seed, index, shape, steps.tolist(), intra_displacement))
        description = dataset_description(subjects, val, test, shape)
        description["phantom"] = parameters
        (partial / f"{NAME}_dataset.json").write_text(json.dumps(description, indent=1) + "\n", encoding="utf-8")
        partial.chmod(0o755)
        _publish(partial, out, parameters)
    except OSError as error:
        raise UserError(f"{out} cannot be written: {error.strerror}.") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return out


def _publish(partial: Path, out: Path, parameters: Json) -> None:
    """Rename the finished folder; another process that made the same phantom meanwhile wins."""
    try:
        os.replace(partial, out)
    except OSError:
        if not _holds(out, parameters):
            raise


def case_name(index: int, modality: int) -> str:
    """Name of an image or label map without its folder and suffix; subjects count from 1."""
    return f"{NAME}_{index + 1:04d}_{modality:04d}"


def dataset_description(subjects: int, val: int, test: int, shape: tuple[int, int, int]) -> Json:
    """Contents of NAME_dataset.json: subjects in order train, validate, test; no pair crosses them.

    A split that validates or tests lists its inter-subject pairs (the MR of a subject, the CT of the next, in a ring),
    then the pairs of each subject with itself, whose displacement is known.
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
    validation, testing = (
        held_out(range(len(train), subjects - test)),
        held_out(range(subjects - test, subjects)),
    )
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
    """Whether ``out`` is the phantom of ``parameters``; an empty or absent folder is free.

    Raises:
        UserError: when ``out`` is anything else.
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
    raise UserError(f"{out} holds {what}: name another folder or remove it.")


def _write_subject(folder: Path, index: int, subject: PhantomSubject) -> None:
    """Images as int16, labels as uint8, landmarks as rows "i,j,k" of voxel coordinates."""
    modalities = (
        (subject.mr, subject.mr_labels, subject.mr_landmarks),
        (subject.ct, subject.ct_labels, subject.ct_landmarks),
    )
    for modality, (image, labels, landmarks) in enumerate(modalities):
        name = case_name(index, modality)
        for kind, array in (("imagesTr", np.rint(image).astype(np.int16)), ("labelsTr", labels)):
            nifti = nib.Nifti1Image(array, subject.affine)
            nifti.set_sform(subject.affine, code=1)
            nifti.set_qform(subject.affine, code=1)
            nifti.header.set_xyzt_units("mm")
            nib.save(nifti, folder / kind / f"{name}.nii.gz")
        np.savetxt(folder / "landmarksTr" / f"{name}.csv", landmarks, fmt="%.4f", delimiter=",")
