"""Images that are read by ITK: NRRD and MetaImage."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmreg_lightning.errors import UserError
from mmreg_lightning.geometry.frames import RAS_TO_LPS
from mmreg_lightning.geometry.native import NativeGrid
from mmreg_lightning.io.itk_headers import stated_frame

SUFFIXES = (".nrrd", ".nhdr", ".mha", ".mhd", ".gipl", ".gipl.gz")
"""Endings of file names that are read by ITK."""


def is_itk_path(path: str | os.PathLike[str]) -> bool:
    """Whether a path is that of a file that is read by ITK."""
    return str(path).lower().endswith(SUFFIXES)


def load_itk_array(path: str | os.PathLike[str]) -> tuple[NDArray[Any], NativeGrid]:
    """Voxels, (X, Y, Z) or (X, Y, Z, components) in ITK's index order, and layout of an image file.

    Raises:
        UserError: the file does not exist, cannot be read, or is not 3-D.
    """
    import SimpleITK as sitk  # noqa: N813

    file = Path(path)
    if not file.exists():
        raise UserError(f"there is no file {file}")
    try:
        image = sitk.ReadImage(str(file))
    except RuntimeError as error:
        raise UserError(f"{file} is not an image that ITK can read, or is damaged") from error
    _check_layers(image, file)
    array, native = itk_array(image, str(file))
    return array, stated_frame(native, file)


def _check_layers(image: Any, file: Path) -> None:
    """Check that a segmentation of 3D Slicer is one label map.

    Raises:
        UserError: it has several layers, in which ids may mean different segments and segments may overlap.
    """
    layers = image.GetNumberOfComponentsPerPixel()
    if layers == 1 or not image.HasMetaDataKey("Segment0_ID"):
        return
    count = sum(1 for key in image.GetMetaDataKeys() if key.startswith("Segment") and key.endswith("_ID"))
    names = [
        image.GetMetaData(key) if image.HasMetaDataKey(key) else f"segment {number}"
        for number, key in ((n, f"Segment{n}_Name") for n in range(count))
    ]
    raise UserError(
        f"{file} holds {count} segments in {layers} layers, which may overlap ({', '.join(names)}): export it from 3D "
        "Slicer as a label map first"
    )


def itk_array(image: Any, name: str) -> tuple[NDArray[Any], NativeGrid]:
    """Voxels and layout of a ``SimpleITK.Image``, as of ``load_itk_array``; ``name`` stands in messages.

    Raises:
        UserError: the image is not 3-D, nor 4-D with a single frame.
    """
    import SimpleITK as sitk  # noqa: N813

    if image.GetDimension() == 4 and image.GetSize()[3] == 1:
        strategy = sitk.ExtractImageFilter.DIRECTIONCOLLAPSETOSUBMATRIX
        image = sitk.Extract(image, [*image.GetSize()[:3], 0], directionCollapseToStrategy=strategy)
    if image.GetDimension() != 3:
        raise UserError(f"{name} must be a 3-D image, but its shape is {image.GetSize()}")
    array = np.moveaxis(sitk.GetArrayFromImage(image), (0, 1, 2), (2, 1, 0))
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    i, j, k = image.GetSize()
    return array, NativeGrid((i, j, k), RAS_TO_LPS @ affine)
