"""Reading of images and label maps in all supported formats, and writing of NIfTI.

Every reader returns a canonical RAS+ array and the file's own axis order (``Volume.native``), which writers restore.
"""

from __future__ import annotations

import dataclasses
import os
import zlib
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from isal import igzip
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError, SpatialImage
from numpy.typing import NDArray

from mmreg_lightning.errors import UserError
from mmreg_lightning.files import atomic_path
from mmreg_lightning.geometry.native import NativeGrid
from mmreg_lightning.geometry.rigid import is_rigid
from mmreg_lightning.geometry.volume import Volume
from mmreg_lightning.io.dicom import load_dicom
from mmreg_lightning.io.dicom_files import is_dicom_path
from mmreg_lightning.io.headers import file_header, nibabel_layout, settled_layout
from mmreg_lightning.io.itk_images import is_itk_path, load_itk_array
from mmreg_lightning.io.label_like import is_label_like

INTENT_VECTOR = 1007  # NIFTI_INTENT_VECTOR, of ITK's displacement fields
_LABEL_TOLERANCE = 1e-3  # rounding of label maps stored as float or with a scale factor
_MAX_LABEL = 2**53  # double, in which label maps are sampled, has every whole number up to here


def read_image(path: str | os.PathLike[str], series: str | None = None) -> Volume:
    """Read a scalar 3-D image as float32 (1, I, J, K) in RAS+ order.

    Formats are those of nibabel (NIfTI), NRRD, MetaImage, and DICOM: a folder with a series, or a multi-frame file.
    ``series`` is the SeriesInstanceUID where a folder holds several.

    Raises:
        UserError: the file is missing or damaged, not 3-D (trailing axes of size 1 are dropped), not real-valued, has
            NaN or infinite voxels, is constant, or its affine is singular.
    """
    return image_of_array(*load_array(path, series), path)


def image_of_array(
    array: NDArray[Any], native: NativeGrid, path: str | os.PathLike[str], constant: bool = False
) -> Volume:
    """The image of ``read_image`` from voxels (X, Y, Z) and their layout; ``path`` names it in messages.

    One that is likely a label map gets a note that says so. ``constant`` allows one without contrast.

    Raises:
        UserError: the array is not 3-D, has NaN or infinite voxels, or is constant.
    """
    array = _drop_trailing_axes(array, path)
    with np.errstate(over="ignore"):
        data = array.astype(np.float32)
    if not np.isfinite(data).all():
        raise UserError(f"the image {path} has NaN or infinite voxels")
    if not constant and data.min() == data.max():
        raise UserError(f"the image {path} is constant: every voxel is {data.flat[0]:g}")
    if is_label_like(array):
        note = (
            f"{path} is read as an image, with values between those of neighbouring voxels, but holds whole numbers in "
            "patches of one value, as a label map does"
        )
        native = dataclasses.replace(native, notes=(*native.notes, note))
    return _volume(data, native, path, array.dtype)


def read_labels(path: str | os.PathLike[str], series: str | None = None) -> Volume:
    """Read a 3-D label map or mask, whose values are whole numbers of any type, as int64 (1, I, J, K) in RAS+ order.

    ``series`` is that of ``read_image``.

    Raises:
        UserError: the file cannot be read as by ``read_image`` (a constant map is allowed), or a value is negative or
            not whole.
    """
    return labels_of_array(*load_array(path, series), path)


def read_mask(path: str | os.PathLike[str]) -> Volume:
    """Read a mask: ``mask_of_labels`` of a label map.

    Raises:
        UserError: the file is not a label map, or the mask is empty.
    """
    return mask_of_labels(read_labels(path))


def mask_of_labels(labels: Volume) -> Volume:
    """Mask, float32 (1, I, J, K) of 0 and 1: 1 where the label map is not 0.

    Raises:
        UserError: every voxel is 0.
    """
    if not labels.data.any():
        raise UserError(f"the mask {labels.path} is empty: every voxel is 0")
    return Volume((labels.data != 0).float(), labels.grid, labels.native, labels.path)


def labels_of_array(array: NDArray[Any], native: NativeGrid, path: str | os.PathLike[str]) -> Volume:
    """The label map of ``read_labels`` from voxels (X, Y, Z) and their layout; ``path`` names it in messages.

    Raises:
        UserError: the array is not 3-D, has NaN or infinite voxels, or a value is negative, not whole, or above 2^53.
    """
    stored = array.dtype
    array = _drop_trailing_axes(array, path)
    if array.dtype.kind == "f":
        if not np.isfinite(array).all():
            raise UserError(f"the label map {path} has NaN or infinite voxels")
        whole = np.rint(array)
        wrong = np.abs(array - whole) > _LABEL_TOLERANCE
        if wrong.any():
            raise UserError(f"the label map {path} has values that are not whole, such as {array[wrong][0]:g}")
        array = whole
    if array.min() < 0:
        raise UserError(f"the label map {path} has negative values, such as {array.min():.0f}")
    if array.max() > _MAX_LABEL:
        raise UserError(f"the label map {path} has the id {array.max():.0f}, but ids must not be above {_MAX_LABEL}")
    data = array.astype(np.int64)
    return _volume(data, native, path, stored)


def write_image(
    volume: Volume, path: str | os.PathLike[str], like: Volume | None = None, dtype: np.dtype[Any] | None = None
) -> None:
    """Write a volume as NIfTI in its native axis order, or in that of ``like``.

    Args:
        volume: image or label map; several channels become the fourth axis of the file.
        path: file name ending in .nii or .nii.gz.
        like: volume on the same grid.
        dtype: number type of the file, see ``as_stored``; None is float32 for images, and for label maps the first of
            int16, int32 and int64 that has their ids.

    Raises:
        ValueError: ``like`` is on another grid.
    """
    native = volume.native
    if like is not None:
        if not volume.grid.same_as(like.grid):
            raise ValueError(f"volume on {volume.grid} to be written like a volume on {like.grid}")
        native = like.native
    array = np.moveaxis(volume.data.detach().cpu().numpy(), 0, -1)
    if array.shape[-1] == 1:
        array = array[..., 0]
    if dtype is not None:
        array = as_stored(array, dtype)
    elif array.dtype.kind == "f":
        array = array.astype(np.float32)
    else:
        array = as_stored(array, np.dtype(np.int16 if array.max() <= np.iinfo(np.int16).max else np.int64))
    save_array(native.from_canonical(array), native, path)


def load_array(path: str | os.PathLike[str], series: str | None = None) -> tuple[NDArray[Any], NativeGrid]:
    """Voxels, (X, Y, Z, ...) scaled by the header, and layout of an image file, in the axis order of the file.

    Args:
        path: file, or folder with a DICOM series.
        series: SeriesInstanceUID of a DICOM series; None is the only one.

    Raises:
        UserError: the file is missing, damaged, without three spatial axes, without a usable affine, or its voxels are
            not real numbers; see ``load_dicom``; or ``series`` is given for another format.
    """
    file = Path(path)
    if is_dicom_path(file):
        array, native = load_dicom(file, series)
    elif series is not None:
        raise UserError(f"{file} is not DICOM: it has no series {series} to choose")
    else:
        array, native = load_itk_array(file) if is_itk_path(file) else _load_nibabel(file)
    return array, settled_layout(native, str(file))


def read_layout(path: str | os.PathLike[str], series: str | None = None) -> NativeGrid:
    """The layout of ``load_array``; of the formats of nibabel only the header is read.

    Raises:
        UserError: see ``load_array``; voxels that are damaged are not noticed.
    """
    file = Path(path)
    if series is not None or is_dicom_path(file) or is_itk_path(file):
        return load_array(file, series)[1]
    native = _load_nibabel(file, voxels=False)[1]
    return settled_layout(native, str(file))


def _load_nibabel(file: Path, voxels: bool = True) -> tuple[NDArray[Any], NativeGrid]:
    if not file.is_file():
        raise UserError(f"there is no file {file}")
    try:
        image = nib.load(file)
        if not isinstance(image, SpatialImage):
            raise UserError(f"{file} is not a NIfTI image")
        kind = image.get_data_dtype()
        if kind.kind not in "iufb":
            raise UserError(f"{file} must hold one real number a voxel, not values of type {kind}")
        array = np.asanyarray(image.dataobj) if voxels else np.empty(0)
    except UserError:
        raise
    except (ImageFileError, HeaderDataError, OSError, EOFError, ValueError, zlib.error) as error:
        if "w2 should be positive" in str(error):
            raise UserError(
                f"{file}: where its voxels lie is unknown, the quaternion of its qform is no unit"
            ) from error
        raise UserError(f"{file} is not a readable NIfTI image, or is damaged") from error
    if len(image.shape) < 3 or 0 in image.shape:
        raise UserError(f"{file} must be a 3-D image, but its shape is {image.shape}")
    return array, nibabel_layout(image, str(file), file_header(image))


def nifti_image(array: NDArray[Any], native: NativeGrid) -> nib.Nifti1Image:
    """An array (X, Y, Z, ...) in the axis order of ``native`` with its header."""
    image = nib.Nifti1Image(array, native.affine, dtype=array.dtype)
    image.header.set_xyzt_units("mm")
    image.set_sform(native.affine, code=1)
    if is_rigid(native.affine):
        image.set_qform(native.affine, code=1)
    else:
        # A quaternion cannot represent a shear (gantry tilt): only the sform is valid.
        image.set_qform(None, code=0)
    return image


def save_array(
    array: NDArray[Any], native: NativeGrid, path: str | os.PathLike[str], *, intent: int | None = None
) -> None:
    """Write an array in the axis order of the file as NIfTI, atomically; ``intent`` is a NIfTI intent code."""
    image = nifti_image(array, native)
    if intent is not None:
        image.header.set_intent(intent, allow_unknown=True)
    with atomic_path(path) as temporary:
        if temporary.suffix == ".gz":
            # A tenth of the time of Python's gzip at the same file size.
            with igzip.open(temporary, "wb", compresslevel=1) as stream:
                image.to_stream(stream)
        else:
            nib.save(image, temporary)


def has_vector_intent(path: str | os.PathLike[str]) -> bool:
    """Whether the header of a file readable by ``load_array`` declares a vector as fifth axis (intent 1007)."""
    header = nib.load(path).header
    return isinstance(header, nib.Nifti1Header) and int(header["intent_code"]) == INTENT_VECTOR


def _drop_trailing_axes(array: NDArray[Any], path: str | os.PathLike[str]) -> NDArray[Any]:
    if any(n != 1 for n in array.shape[3:]):
        hint = (
            "; of a series over time take one frame, as `fslroi SERIES FRAME 0 1` does (mmreg-apply warps all of them)"
            if array.ndim == 4
            else ""
        )
        raise UserError(f"{path} must be a 3-D image, but its shape is {array.shape}{hint}")
    return array.reshape(array.shape[:3])


def as_stored(array: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Values rounded and clipped to a number type, or to the next one that NIfTI readers commonly support.

    Whole numbers of 64 bits become int32 where they fit, which every program reads, and stay int64 elsewhere.
    """
    if dtype.kind == "b":
        dtype = np.dtype(np.uint8)
    if dtype.kind not in "iu":
        # NIfTI has no half precision, and few programs read more than double precision.
        return array.astype(np.float64 if dtype.itemsize >= 8 else np.float32)
    # In double: float32 has no number next to the largest int32.
    values = np.rint(array.astype(np.float64))
    if dtype.itemsize == 8:
        narrow = np.iinfo(np.int32)
        fits = values.size == 0 or (values.min() >= narrow.min and values.max() <= narrow.max)
        dtype = np.dtype(np.int32 if fits else np.int64)
    limits = np.iinfo(dtype)
    top = min(limits.max, _MAX_LABEL)  # double has no number next to the largest int64
    return np.clip(values, max(limits.min, -_MAX_LABEL), top).astype(dtype.newbyteorder("="))


def check_fill(fill: float | None, volume: Volume) -> None:
    """Check that a value for places outside of an image or label map can be written in its number type.

    Raises:
        UserError: it is not finite, or the type does not have it.
    """
    if fill is None:
        return
    if not np.isfinite(fill):
        raise UserError(f"fill={fill}: must be a finite number")
    stored = volume.stored
    if stored is not None and stored.kind in "iub" and as_stored(np.array([fill]), stored)[0] != fill:
        raise UserError(f"fill={fill:g}: {volume.path} holds numbers of type {stored}, which has no such value")


def _volume(array: NDArray[Any], native: NativeGrid, path: str | os.PathLike[str], stored: np.dtype[Any]) -> Volume:
    # torch supports neither negative strides nor a foreign byte order.
    canonical = np.ascontiguousarray(native.to_canonical(array))
    return Volume(torch.from_numpy(canonical)[None], native.canonical_grid, native, Path(path), stored)
