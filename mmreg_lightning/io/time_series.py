"""Series of images over time in one file, read and written frame by frame."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, cast

import nibabel as nib
import numpy as np
from isal import igzip
from nibabel.spatialimages import SpatialImage
from numpy.typing import NDArray

from mmreg_lightning.errors import UserError
from mmreg_lightning.files import atomic_path
from mmreg_lightning.geometry.native import NativeGrid
from mmreg_lightning.io.dicom_files import is_dicom_path
from mmreg_lightning.io.headers import file_header, nibabel_layout, settled_layout
from mmreg_lightning.io.images import as_stored, nifti_image
from mmreg_lightning.io.itk_headers import stated_frame
from mmreg_lightning.io.itk_images import is_itk_path, itk_array


@dataclass(frozen=True, eq=False)
class TimeSeries:
    """A file of several frames on one grid.

    Attributes:
        path: of the file.
        native: layout of each frame.
        count: number of frames.
        step: time between two, in ``unit``.
        unit: of time, as NIfTI names it: sec, msec, usec, or unknown.
        read: voxels (X, Y, Z) of a frame, counted from 0, scaled by the header. The frames of a compressed file are
            quick to read in their order only.
    """

    path: Path
    native: NativeGrid
    count: int
    step: float
    unit: str
    read: Callable[[int], NDArray[Any]]


def open_time_series(path: str | os.PathLike[str]) -> TimeSeries | None:
    """The frames of a four-dimensional file of NIfTI, NRRD or MetaImage; None for one of fewer axes or another format.

    Raises:
        UserError: the file has frames, but its affine is not usable, or its voxels are not real numbers.
    """
    file = Path(path)
    if not file.is_file() or is_dicom_path(file):
        return None
    try:
        series = _open_itk(file) if is_itk_path(file) else _open_nibabel(file)
    except (nib.filebasedimages.ImageFileError, OSError, EOFError, ValueError, RuntimeError):
        return None  # reading it as one image says what is wrong
    return None if series is None else replace(series, native=settled_layout(series.native, str(file)))


def write_time_series(
    frames: Iterable[NDArray[Any]], like: TimeSeries, native: NativeGrid, path: str | os.PathLike[str], dtype: np.dtype
) -> None:
    """Write frames (X, Y, Z) in the axis order of ``native`` as one NIfTI file, atomically, one at a time.

    Args:
        frames: as many as ``like`` has.
        like: gives the time between two frames.
        native: layout of the frames.
        path: file name ending in .nii or .nii.gz.
        dtype: number type of the file, see ``as_stored``; of 64-bit whole numbers it stays.
    """
    kind = np.dtype(np.int64) if dtype.kind in "iu" and dtype.itemsize == 8 else as_stored(np.zeros(1), dtype).dtype
    # Only the header is made of it: the array takes no memory.
    header = nifti_image(np.broadcast_to(np.zeros((), kind), (*native.shape, like.count)), native).header
    header.set_zooms((*header.get_zooms()[:3], like.step))
    header.set_xyzt_units("mm", like.unit)
    header.set_slope_inter(1, 0)
    with atomic_path(path) as temporary:
        packed = temporary.suffix == ".gz"
        opened = igzip.open(temporary, "wb", compresslevel=1) if packed else open(temporary, "wb")
        with cast(IO[bytes], opened) as stream:
            header.write_to(stream)
            for frame in frames:
                stream.write(as_stored(frame, dtype).astype(kind, copy=False).tobytes(order="F"))


def _open_nibabel(file: Path) -> TimeSeries | None:
    # Open between two frames: a compressed file would otherwise be unpacked from its beginning for each.
    image = nib.load(file, keep_file_open=True)
    if not isinstance(image, SpatialImage) or len(image.shape) != 4 or image.shape[3] < 2:
        return None
    if image.get_data_dtype().kind not in "iufb":
        raise UserError(f"{file} must hold one real number a voxel, not values of type {image.get_data_dtype()}")
    units = image.header.get_xyzt_units() if isinstance(image.header, nib.Nifti1Header) else ("mm", "unknown")
    zooms = image.header.get_zooms()

    def read(index: int) -> NDArray[Any]:
        try:
            return np.asarray(image.dataobj[..., index])
        except (OSError, EOFError, ValueError) as error:
            raise UserError(f"frame {index + 1} of {file} cannot be read, or the file is damaged") from error

    step = float(zooms[3]) if len(zooms) > 3 else 1.0
    return TimeSeries(file, nibabel_layout(image, str(file), file_header(image)), image.shape[3], step, units[1], read)


def _open_itk(file: Path) -> TimeSeries | None:
    import SimpleITK as sitk  # noqa: N813

    reader = sitk.ImageFileReader()
    reader.SetFileName(str(file))
    reader.ReadImageInformation()
    if reader.GetDimension() != 4 or reader.GetNumberOfComponents() != 1 or reader.GetSize()[3] < 2:
        return None
    size = reader.GetSize()

    def read_image(index: int) -> tuple[NDArray[Any], NativeGrid]:
        reader.SetExtractSize([*size[:3], 0])
        reader.SetExtractIndex([0, 0, 0, index])
        try:
            return itk_array(reader.Execute(), f"frame {index + 1} of {file}")
        except RuntimeError as error:
            raise UserError(f"frame {index + 1} of {file} cannot be read, or the file is damaged") from error

    # ITK has no unit of time; its own NIfTI writer calls it seconds.
    native = stated_frame(read_image(0)[1], file)
    return TimeSeries(file, native, size[3], float(reader.GetSpacing()[3]), "sec", lambda index: read_image(index)[0])
