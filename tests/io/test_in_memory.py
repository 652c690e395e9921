"""Images of other libraries become volumes and come back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import torch
import torchio

from mmreg_lightning.errors import UserError
from mmreg_lightning.io.images import read_image
from mmreg_lightning.io.in_memory import image_for, library_of, volume_of


@pytest.fixture
def path(picture, oblique, save) -> Path:
    """A file whose axes run to the left, to the superior and to the posterior."""
    return save(picture, oblique, orientation=np.array([[0, -1], [2, -1], [1, 1]]))


def opened(path: Path, library: str) -> Any:
    return {"nibabel": nib.load, "SimpleITK": sitk.ReadImage, "torchio": torchio.ScalarImage}[library](str(path))


@pytest.mark.parametrize("library", ["nibabel", "SimpleITK", "torchio"])
def test_an_image_is_that_of_its_file_and_comes_back(path: Path, library: str) -> None:
    expected, image = read_image(path), opened(path, library)
    assert library_of(image) == library
    volume = volume_of(image, "fixed")
    assert torch.equal(volume.data, expected.data)
    np.testing.assert_allclose(volume.grid.affine, expected.grid.affine, atol=1e-4)
    back = image_for(volume, library)
    assert library_of(back) == library
    again = volume_of(back, "back")
    assert torch.equal(again.data, expected.data)
    np.testing.assert_allclose(again.native.affine, expected.native.affine, atol=1e-4)


def test_paths_and_volumes(path: Path) -> None:
    volume = volume_of(path, "fixed")
    assert volume.path == path and library_of(path) == "nibabel"
    assert volume_of(volume, "fixed") is volume


@pytest.mark.parametrize(("library", "dtype"), [("nibabel", np.int32), ("SimpleITK", np.int32)])
def test_label_maps_are_integers(path: Path, library: str, dtype: type) -> None:
    labels = read_image(path)
    labels.data = (labels.data > 0.5).long()
    back = image_for(labels, library)
    kind = back.get_data_dtype() if library == "nibabel" else sitk.GetArrayFromImage(back).dtype
    assert kind == dtype
    assert torch.equal(volume_of(back, "labels", labels=True).data, labels.data)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((3, 4, 5)), r"fixed: an image must be a path, .* not numpy\.ndarray"),
        (nib.Nifti1Image(np.zeros((3, 4), np.float32), np.eye(4)), r"fixed must be a 3-D image of real numbers"),
        (nib.Nifti1Image(np.zeros((3, 4, 5), np.float32), np.eye(4)), "fixed is constant"),
        (sitk.Image(4, 4, sitk.sitkFloat32), "fixed must be a 3-D image"),
    ],
)
def test_what_cannot_be_used(image: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        volume_of(image, "fixed")
