"""Images that are read by ITK: NRRD, MetaImage and folders with a DICOM series."""

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

SUFFIXES = (".nrrd", ".nhdr", ".mha", ".mhd", ".dcm", ".gipl", ".gipl.gz")
"""Endings of file names that are read by ITK; a folder is a DICOM series."""
_SLICE_TOLERANCE = 0.01  # of the distance of slices: rounding of the positions in the headers


def is_itk_path(path: str | os.PathLike[str]) -> bool:
    """Whether a path is a folder, or a file that is read by ITK."""
    return Path(path).is_dir() or str(path).lower().endswith(SUFFIXES)


def load_itk_array(path: str | os.PathLike[str]) -> tuple[NDArray[Any], NativeGrid]:
    """Voxels, (X, Y, Z) or (X, Y, Z, components) in ITK's index order, and layout of an image file or a DICOM folder.

    Raises:
        UserError: the path does not exist, cannot be read, is not 3-D, or is a folder without a series, with several,
            or with unevenly spaced slices.
    """
    import SimpleITK as sitk  # noqa: N813

    file = Path(path)
    if not file.exists():
        raise UserError(f"there is no file {file}")
    try:
        image = sitk.ReadImage(_series(file) if file.is_dir() else str(file))
    except RuntimeError as error:
        raise UserError(f"{file} is not an image that ITK can read, or is damaged") from error
    array, native = itk_array(image, str(file))
    return array, stated_frame(native, file)


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


def _series(folder: Path) -> list[str]:
    """The files of the series in a folder, in the order of its slices, after ``_check_slices``."""
    import SimpleITK as sitk  # noqa: N813

    series = list(sitk.ImageSeriesReader.GetGDCMSeriesIDs(str(folder)))
    if len(series) > 1:
        counts = [len(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), uid)) for uid in series]
        listed = ", ".join(f"{uid} ({count} files)" for uid, count in zip(series, counts, strict=True))
        raise UserError(f"{folder} holds {len(series)} DICOM series, name a folder with one of them: {listed}")
    if not series:
        raise UserError(f"the folder {folder} holds no DICOM series")
    names = list(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), series[0]))
    _check_slices(folder, names)
    return names


def _check_slices(folder: Path, names: list[str]) -> None:
    """Check the slice positions: ITK uses only the first two, so a missing slice would shift all that follow it."""
    import SimpleITK as sitk  # noqa: N813

    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    origins, normal = [], np.zeros(3)
    for name in names:
        reader.SetFileName(name)
        reader.ReadImageInformation()
        if reader.GetSize()[2:] not in ((), (1,)):
            return  # one file holds all slices
        origins.append(reader.GetOrigin())
        normal = np.array(reader.GetDirection()).reshape(3, 3)[:, 2]
    if len(names) < 2:
        raise UserError(f"the DICOM series in {folder} has a single slice: it must be a volume")
    steps = np.diff(np.array(origins), axis=0)
    distances = steps @ normal
    typical = float(np.median(distances))
    uneven = np.abs(distances - typical) > max(_SLICE_TOLERANCE * abs(typical), 1e-3)
    if uneven.any() or typical == 0:
        where = int(np.flatnonzero(uneven)[0]) if uneven.any() else 0
        raise UserError(
            f"the slices of the DICOM series in {folder} are not evenly spaced: {Path(names[where + 1]).name} is "
            f"{distances[where]:.4g} mm from the slice before it, most are {typical:.4g} mm"
        )
    if np.abs(steps - distances[:, None] * normal).max() > max(_SLICE_TOLERANCE * abs(typical), 1e-3):
        raise UserError(
            f"the slices of the DICOM series in {folder} are sheared (a tilted gantry), which ITK would straighten "
            "silently: resample the series first"
        )
