"""A phantom in the form of Learn2Reg's AbdomenMRCT: masks, unpaired images of more organs, test labels withheld."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from mmreg_lightning.phantom.dataset import case_name, write_phantom
from mmreg_lightning.phantom.layers import LABELS

NAME = "AbdomenMRCT"
MR, CT = 0, 1
ORGANS = (1, 2, 3, 4)
"""Labelled in every image: liver, spleen, both kidneys."""
FURTHER = {MR: (5, 8, 10), CT: (5, 6, 8, 9, 10, 13)}
"""Labelled besides in unpaired images of a modality; CT has the lungs, as the real data set has more organs there."""
TRAIN, VAL, TEST = range(1, 6), range(6, 9), range(9, 11)
UNPAIRED = {MR: range(11, 13), CT: range(13, 15)}


@dataclass
class Abdomen:
    """The data set: 8 pairs (5 train, 3 validate), 2 unpaired images of each modality, 2 pairs of the test split.

    Attributes:
        root: its folder.
        content: of its description; ``write`` saves what was changed.
    """

    root: Path
    content: dict[str, Any] = field(default_factory=dict)

    def path(self, subject: int, modality: int, kind: str = "images") -> Path:
        """Path of an image, or of what belongs to it: ``labels``, ``masks``."""
        part = "Ts" if subject in TEST else "Tr"
        return self.root / f"{kind}{part}" / f"{NAME}_{subject:04d}_{modality:04d}.nii.gz"

    def write(self) -> None:
        """Save the description."""
        text = json.dumps(self.content, indent=1)
        (self.root / f"{NAME}_dataset.json").write_text(text, encoding="utf-8")

    def copy(self, root: Path) -> Abdomen:
        """The same in another folder, to be changed there."""
        return Abdomen(shutil.copytree(self.root, root), json.loads(json.dumps(self.content)))


@pytest.fixture(scope="session")
def abdomen(tmp_path_factory: pytest.TempPathFactory) -> Abdomen:
    """Written once; a test that changes it takes a ``copy``."""
    folder = tmp_path_factory.mktemp("abdomen")
    count = UNPAIRED[CT][-1]
    phantom = write_phantom(folder / "phantom", count, (32, 28, 32), spacing=12.0, val=0, test=0)
    made = Abdomen(folder / NAME, _description())
    for subject in (*TRAIN, *VAL, *TEST):
        for modality in (MR, CT):
            _write(phantom, made, subject, modality, ORGANS)
    for modality, subjects in UNPAIRED.items():
        for subject in subjects:
            _write(phantom, made, subject, modality, (*ORGANS, *FURTHER[modality]))
    made.write()
    return made


def _write(phantom: Path, made: Abdomen, subject: int, modality: int, organs: Sequence[int]) -> None:
    """One image with the mask of its body and, but for test images, its labels."""
    source = case_name(subject - 1, modality)
    image = nib.load(phantom / "imagesTr" / f"{source}.nii.gz")
    labels = np.asarray(nib.load(phantom / "labelsTr" / f"{source}.nii.gz").dataobj)
    arrays = {
        "images": np.asarray(image.dataobj),
        "masks": (labels > 0).any(axis=2, keepdims=True).repeat(labels.shape[2], axis=2).astype(np.uint8),
    }
    if subject not in TEST:
        arrays["labels"] = np.where(np.isin(labels, organs), labels, 0).astype(np.uint8)
    for kind, array in arrays.items():
        path = made.path(subject, modality, kind)
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(array, image.affine), path)


def _description() -> dict[str, Any]:
    """Content of AbdomenMRCT_dataset.json: labels by modality, and validation pairs among the training pairs."""

    def path(subject: int, modality: int) -> str:
        return f"./images{'Ts' if subject in TEST else 'Tr'}/{NAME}_{subject:04d}_{modality:04d}.nii.gz"

    def pair(subject: int) -> dict[str, str]:
        return {"fixed": path(subject, MR), "moving": path(subject, CT)}

    def records(subjects: Sequence[int], modality: int) -> list[dict[str, str]]:
        images = [path(subject, modality) for subject in subjects]
        kinds = {"image": "images", "label": "labels", "mask": "masks"}
        return [{key: image.replace("images", kind) for key, kind in kinds.items()} for image in images]

    known = sorted({*ORGANS, *FURTHER[MR], *FURTHER[CT]})
    names = {str(number): LABELS[number] for number in (0, *known)}
    paired = [*TRAIN, *VAL]
    return {
        "name": NAME,
        "release": "1.1",
        "description": "A phantom in the form of Learn2Reg's AbdomenMRCT",
        "tensorImageSize": {"0": [32, 28, 32], "1": [32, 28, 32]},
        "modality": {"0": "MR", "1": "CT"},
        "img_shift": {"fixed": "MR", "moving": "CT"},
        "labels": {"0": names, "1": names},
        "registration_direction": {"fixed": MR, "moving": CT},
        "pairings": "mixed",
        "expected_shape": [32, 28, 32, 3],
        "numPairedTraining": len(paired),
        "numRegistration_val": len(VAL),
        "numRegistration_test": len(TEST),
        "training": {str(m): records([*paired, *UNPAIRED[m]], m) for m in (MR, CT)},
        "training_paired_images": [pair(subject) for subject in paired],
        "training_unpaired_images": {str(m): records(UNPAIRED[m], m) for m in (MR, CT)},
        "registration_val": [pair(subject) for subject in VAL],
        "registration_test": [pair(subject) for subject in TEST],
    }
