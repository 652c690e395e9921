"""A folder of two label maps, as a user has it."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest


@pytest.fixture(scope="session")
def maps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A box (label 7) in a ball (label 500), and the same turned around; 2 x 2 x 3 mm, LPS order in the file."""
    folder = tmp_path_factory.mktemp("maps")
    i, j, k = np.meshgrid(np.arange(40), np.arange(36), np.arange(24), indexing="ij")
    labels = np.zeros(i.shape, np.int16)
    labels[((i - 20) / 17) ** 2 + ((j - 18) / 15) ** 2 + ((k - 12) / 10) ** 2 < 1] = 500
    labels[12:20, 12:22, 8:15] = 7
    affine = np.diag([-2.0, -2.0, 3.0, 1.0])
    nib.save(nib.Nifti1Image(labels, affine), folder / "a.nii.gz")
    nib.save(nib.Nifti1Image(labels[::-1, :, ::-1].copy(), affine), folder / "b.nii.gz")
    (folder / "notes.txt").write_text("no label map", encoding="utf-8")
    return folder
