"""Transform files of ITK and ANTs: affines, displacement fields and composites of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmreg_lightning.errors import UserError
from mmreg_lightning.files import atomic_path
from mmreg_lightning.geometry.frames import RAS_TO_LPS
from mmreg_lightning.geometry.grid import is_invertible
from mmreg_lightning.geometry.world_transforms import AffineTransform, ChainTransform, FieldTransform, WorldTransform
from mmreg_lightning.io.itk_fields import itk_displacement, read_itk_field
from mmreg_lightning.io.itk_images import itk_array

TRANSFORM_SUFFIXES = (".tfm", ".txt", ".mat", ".h5", ".hdf5", ".xfm")
"""Files of ``itk::TransformFileReader``."""
_FIELD_SUFFIXES = (".nii", ".nii.gz", ".mha", ".mhd", ".nrrd", ".nhdr")


def read_transform(path: str | os.PathLike[str]) -> WorldTransform:
    """Read a transform of ITK or ANTs: affine, displacement field (also as an image of vectors) or composite.

    Raises:
        UserError: the file is missing or damaged, or the transform is of another kind, not three-dimensional, not
            invertible or not finite.
    """
    file = Path(path)
    name = file.name.lower()
    if not file.is_file():
        raise UserError(f"there is no file {file}")
    if name.endswith((".nii", ".nii.gz")):
        displacement, grid = read_itk_field(file)
        return FieldTransform(displacement, grid)
    import SimpleITK as sitk  # noqa: N813

    if name.endswith(_FIELD_SUFFIXES):
        try:
            image = sitk.ReadImage(str(file))
        except RuntimeError as error:
            raise UserError(f"{file} is not an image that ITK can read, or is damaged") from error
        return _field(image, file)
    if not name.endswith(TRANSFORM_SUFFIXES):
        known = ", ".join((*TRANSFORM_SUFFIXES, *_FIELD_SUFFIXES))
        raise UserError(f"{file}: the name of a transform must end in one of {known}")
    try:
        transform = sitk.ReadTransform(str(file))
    except RuntimeError as error:
        raise UserError(f"{file} is not a transform file of ITK, or is damaged") from error
    return _of_itk(transform, file)


def read_affine(path: str | os.PathLike[str]) -> NDArray[np.float64]:
    """Read an affine, or a chain of affines: 4x4, world RAS mm of the fixed to that of the moving image.

    Raises:
        UserError: ``read_transform`` cannot read the file, or it is not affine.
    """
    transform = read_transform(path)
    links = transform.links if isinstance(transform, ChainTransform) else [transform]
    matrix = np.eye(4)
    for link in links:
        if not isinstance(link, AffineTransform):
            raise UserError(f"{path} holds a displacement field, it must be affine")
        matrix = link.matrix @ matrix
    return matrix


def write_affine(matrix: NDArray[np.float64], path: str | os.PathLike[str]) -> None:
    """Write a 4x4 affine, world RAS mm to world RAS mm, as a transform file of ITK (.tfm, .txt, .mat or .h5)."""
    import SimpleITK as sitk  # noqa: N813

    lps = RAS_TO_LPS @ matrix @ RAS_TO_LPS
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(lps[:3, :3].ravel().tolist())
    transform.SetTranslation(lps[:3, 3].tolist())
    with atomic_path(path) as temporary:
        sitk.WriteTransform(transform, str(temporary))


def _of_itk(transform: Any, file: Path) -> WorldTransform:
    if transform.GetDimension() != 3:
        raise UserError(f"{file} holds a transform of {transform.GetDimension()} dimensions, it must be of 3")
    name = transform.GetName()
    if name == "CompositeTransform":
        import SimpleITK as sitk  # noqa: N813

        composite = sitk.CompositeTransform(transform)
        # ITK applies the transform that was added last first.
        links = [
            _of_itk(composite.GetNthTransform(n), file) for n in reversed(range(composite.GetNumberOfTransforms()))
        ]
        return links[0] if len(links) == 1 else ChainTransform(links)
    if transform.IsLinear():
        return AffineTransform(_linear(transform, file))
    if name == "DisplacementFieldTransform":
        import SimpleITK as sitk  # noqa: N813

        return _field(sitk.DisplacementFieldTransform(transform).GetDisplacementField(), file)
    raise UserError(f"{file} holds a transform of type {name}, only affines and displacement fields can be used")


def _linear(transform: Any, file: Path) -> NDArray[np.float64]:
    origin = np.array(transform.TransformPoint((0.0, 0.0, 0.0)))
    matrix = np.eye(4)
    matrix[:3, :3] = np.stack([np.array(transform.TransformPoint(tuple(axis))) - origin for axis in np.eye(3)], axis=1)
    matrix[:3, 3] = origin
    if not is_invertible(matrix):
        raise UserError(f"{file} holds a transform that has no inverse")
    return RAS_TO_LPS @ matrix @ RAS_TO_LPS


def _field(image: Any, file: Path) -> FieldTransform:
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 3:
        raise UserError(
            f"{file} is not a displacement field, an image of 3 dimensions with 3 numbers a voxel, but one of "
            f"{image.GetDimension()} with {image.GetNumberOfComponentsPerPixel()}"
        )
    array, native = itk_array(image, str(file))
    if not np.isfinite(array).all():
        raise UserError(f"the displacement field {file} has NaN or infinite values")
    displacement, grid = itk_displacement(array, native)
    return FieldTransform(displacement, grid)
