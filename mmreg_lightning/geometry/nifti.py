"""Reading and writing of images and label maps as NIfTI.

Every reader returns a canonical RAS+ array and remembers the file's own axis order (``Volume.native``);
every writer restores it.
"""

from __future__ import annotations

import os
import zlib
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError, SpatialImage
from numpy.typing import NDArray

from mmreg_lightning.errors import UserError
from mmreg_lightning.files import atomic_path
from mmreg_lightning.geometry.grid import Grid, is_invertible
from mmreg_lightning.geometry.native import NativeGrid
from mmreg_lightning.geometry.volume import Volume

_INTENT_VECTOR = 1007
_LABEL_TOLERANCE = 1e-3  # rounding of label maps stored as float or with a scale factor


def read_image(path: str | os.PathLike[str]) -> Volume:
    """Read a scalar 3-D image.

    Returns:
        Volume with float32 ``data`` (1, I, J, K), axes in RAS+ order.

    Raises:
        UserError: the file is missing or damaged, not 3-D (trailing axes of size 1 are dropped), not
            real-valued, has NaN or infinite voxels, is constant, or its affine is singular.
    """
    array, native = load_array(path)
    array = _drop_trailing_axes(array, path)
    with np.errstate(over="ignore"):
        data = array.astype(np.float32)
    if not np.isfinite(data).all():
        raise UserError(f"the image {path} has NaN or infinite voxels")
    if data.min() == data.max():
        raise UserError(f"the image {path} is constant: every voxel is {data.flat[0]:g}")
    return _volume(data, native, path)


def read_labels(path: str | os.PathLike[str]) -> Volume:
    """Read a 3-D label map or mask; floating-point files are taken when their values are whole numbers.

    Returns:
        Volume with int64 ``data`` (1, I, J, K), axes in RAS+ order.

    Raises:
        UserError: as ``read_image`` (a constant map is allowed), or values that are not whole or are
            negative.
    """
    array, native = load_array(path)
    array = _drop_trailing_axes(array, path)
    if array.dtype.kind == "f":
        if not np.isfinite(array).all():
            raise UserError(f"the label map {path} has NaN or infinite voxels")
        whole = np.rint(array)
        wrong = np.abs(array - whole) > _LABEL_TOLERANCE
        if wrong.any():
            raise UserError(f"the label map {path} has values that are not whole, such as {array[wrong][0]:g}")
        array = whole
    data = array.astype(np.int64)
    if data.min() < 0:
        raise UserError(f"the label map {path} has negative values, such as {data.min()}")
    return _volume(data, native, path)


def write_image(volume: Volume, path: str | os.PathLike[str], like: Volume | None = None) -> None:
    """Write a volume in its native axis order, or in that of ``like``, which lies on the same grid.

    Images are written as float32, label maps as the smaller of int16 and int32 that holds them; several
    channels become the fourth axis of the file.

    Raises:
        ValueError: ``like`` is on another grid.
    """
    native = volume.native
    if like is not None:
        if not volume.grid.same_as(like.grid):
            raise ValueError(f"volume on {volume.grid}, to be written like a volume on {like.grid}")
        native = like.native
    array = np.moveaxis(volume.data.detach().cpu().numpy(), 0, -1)
    if array.shape[-1] == 1:
        array = array[..., 0]
    if array.dtype.kind == "f":
        array = array.astype(np.float32)
    else:
        array = array.astype(np.int16 if array.max() <= np.iinfo(np.int16).max else np.int32)
    save_array(native.from_canonical(array), native, path)


def load_array(path: str | os.PathLike[str]) -> tuple[NDArray[Any], NativeGrid]:
    """Voxels (scaled by the header) and layout of an image file, both as on disk.

    Raises:
        UserError: the file is missing, damaged, without three spatial axes, without a usable affine, or its
            voxels are not real numbers.
    """
    file = Path(path)
    if not file.is_file():
        raise UserError(f"there is no file {file}")
    try:
        image = nib.load(file)
        if not isinstance(image, SpatialImage):
            raise UserError(f"{file} is not a NIfTI image")
        kind = image.get_data_dtype()
        if kind.kind not in "iufb":
            raise UserError(f"{file} must hold one real number a voxel, not values of type {kind}")
        array = np.asanyarray(image.dataobj)
    except (ImageFileError, HeaderDataError, OSError, EOFError, ValueError, zlib.error) as error:
        raise UserError(f"{file} is not a readable NIfTI image, or is damaged") from error
    if array.ndim < 3 or array.size == 0:
        raise UserError(f"{file} must be a 3-D image, but its shape is {array.shape}")
    affine = np.full((4, 4), np.nan) if image.affine is None else np.asarray(image.affine, dtype=np.float64)
    if not is_invertible(affine):
        raise UserError(f"{file} has a singular affine {affine.tolist()}")
    i, j, k = array.shape[:3]
    return array, NativeGrid((i, j, k), affine)


def save_array(array: NDArray[Any], native: NativeGrid, path: str | os.PathLike[str], *, vectors: bool = False) -> None:
    """Write an array in the axis order of the file, atomically; ``vectors`` sets the intent ITK asks for."""
    image = nib.Nifti1Image(array, native.affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(native.affine, code=1)
    direction = Grid(native.shape, native.affine).direction
    if np.allclose(direction.T @ direction, np.eye(3), atol=1e-3):
        image.set_qform(native.affine, code=1)
    else:
        # A quaternion cannot hold a shear (gantry tilt): leave the sform as the only word on geometry.
        image.set_qform(None, code=0)
    if vectors:
        image.header.set_intent(_INTENT_VECTOR)
    with atomic_path(path) as temporary:
        nib.save(image, temporary)


def has_vector_intent(path: str | os.PathLike[str]) -> bool:
    """Whether a file that ``load_array`` could read says that its fifth axis is a vector (intent 1007)."""
    header = nib.load(path).header
    return isinstance(header, nib.Nifti1Header) and int(header["intent_code"]) == _INTENT_VECTOR


def _drop_trailing_axes(array: NDArray[Any], path: str | os.PathLike[str]) -> NDArray[Any]:
    if any(n != 1 for n in array.shape[3:]):
        raise UserError(f"{path} must be a 3-D image, but its shape is {array.shape}")
    return array.reshape(array.shape[:3])


def _volume(array: NDArray[Any], native: NativeGrid, path: str | os.PathLike[str]) -> Volume:
    # copy: torch takes neither negative strides nor the byte order of another machine.
    canonical = np.ascontiguousarray(native.to_canonical(array))
    return Volume(torch.from_numpy(canonical)[None], native.canonical_grid, native, Path(path))
