"""Conversion from and to images of SimpleITK, TorchIO and nibabel in memory."""

from __future__ import annotations

import os
import sys
from typing import Any, Literal

import nibabel as nib
import numpy as np
import torch
from nibabel.spatialimages import SpatialImage
from numpy.typing import NDArray

from mmreg_lightning.errors import UserError
from mmreg_lightning.geometry.frames import RAS_TO_LPS
from mmreg_lightning.geometry.grid import Grid
from mmreg_lightning.geometry.native import NativeGrid
from mmreg_lightning.geometry.volume import Volume
from mmreg_lightning.io.headers import nibabel_layout, settled_layout
from mmreg_lightning.io.images import as_stored, image_of_array, labels_of_array, load_array
from mmreg_lightning.io.itk_images import itk_array

Library = Literal["nibabel", "SimpleITK", "torchio"]


def volume_of(image: Any, name: str, labels: bool = False, series: str | None = None) -> Volume:
    """An image or label map of any library as a volume, with the checks of ``read_image`` or ``read_labels``.

    Args:
        image: path, ``Volume``, or image of SimpleITK, TorchIO or nibabel.
        name: name of the image in messages.
        labels: the image is a label map or mask.
        series: SeriesInstanceUID, for the path of a folder with several DICOM series.

    Raises:
        UserError: the type is unknown, or the image cannot be used.
    """
    if isinstance(image, Volume):
        return image
    path = image if isinstance(image, str | os.PathLike) else name
    if isinstance(image, str | os.PathLike):
        array, native = load_array(image, series)
    else:
        array, native = _array_of(image, name)
        native = settled_layout(native, name)
    return labels_of_array(array, native, path) if labels else image_of_array(array, native, path)


def library_of(image: Any) -> Library:
    """The library of an image; nibabel for paths and ``Volume``."""
    library = type(image).__module__.split(".")[0]
    return library if library in ("SimpleITK", "torchio") else "nibabel"  # type: ignore[return-value]


def image_for(volume: Volume, library: Library, dtype: np.dtype[Any] | None = None) -> Any:
    """A volume (1, I, J, K) as an image of another library, in its native axis order, with values ``as_stored``."""
    native = volume.native
    array = native.from_canonical(volume.data[0].detach().cpu().numpy())
    array = as_stored(array, dtype or np.dtype(np.float32 if array.dtype.kind == "f" else np.int64))
    if library == "SimpleITK":
        return _sitk_image(array, native)
    if library == "torchio":
        torchio = sys.modules["torchio"]  # imported by the caller, who has an image of it
        kind = torchio.ScalarImage if volume.data.is_floating_point() else torchio.LabelMap
        return kind(tensor=torch.from_numpy(np.ascontiguousarray(array))[None], affine=native.affine)
    return nib.Nifti1Image(array, native.affine, dtype=array.dtype)


def _array_of(image: Any, name: str) -> tuple[NDArray[Any], NativeGrid]:
    if isinstance(image, SpatialImage):
        array = np.asanyarray(image.dataobj)
        if array.ndim < 3 or array.dtype.kind not in "iufb":
            raise UserError(f"{name} must be a 3-D image of real numbers, not of shape {array.shape}")
        return array, nibabel_layout(image, name)
    library = library_of(image)
    if library == "SimpleITK":
        return itk_array(image, name)
    if library == "torchio":
        data = np.moveaxis(image.data.numpy(), 0, -1)
        i, j, k = data.shape[:3]
        return data, NativeGrid((i, j, k), np.asarray(image.affine, dtype=np.float64))
    raise UserError(
        f"{name}: an image must be a path, or of SimpleITK, TorchIO or nibabel, not {type(image).__module__}."
        f"{type(image).__qualname__}"
    )


def _sitk_image(array: NDArray[Any], native: NativeGrid) -> Any:
    import SimpleITK as sitk  # noqa: N813

    image = sitk.GetImageFromArray(np.ascontiguousarray(array.transpose(2, 1, 0)))
    lps = Grid(native.shape, RAS_TO_LPS @ native.affine)
    image.SetSpacing(lps.spacing.tolist())
    image.SetDirection(lps.direction.ravel().tolist())
    image.SetOrigin(lps.affine[:3, 3].tolist())
    return image
