"""Transforms of ITK in memory: linear ones, displacement fields, B-splines and composites of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmreg_lightning.errors import UserError
from mmreg_lightning.geometry.frames import RAS_TO_LPS
from mmreg_lightning.geometry.grid import Grid, is_invertible
from mmreg_lightning.geometry.spline_transform import SplineTransform
from mmreg_lightning.geometry.world_transforms import AffineTransform, ChainTransform, FieldTransform, WorldTransform
from mmreg_lightning.io.itk_fields import itk_displacement
from mmreg_lightning.io.itk_images import itk_array

_DEEPEST = 20  # composites within composites; SimpleITK wraps kinds that it does not know into themselves without end


def read_itk_transform(file: Path) -> WorldTransform:
    """Read a file of ``itk::TransformFileReader``.

    Raises:
        UserError: the file is damaged, or holds a transform that is not three-dimensional, not finite, has no inverse,
            or is of a kind other than linear, displacement field and B-spline.
    """
    import SimpleITK as sitk  # noqa: N813

    try:
        transform = sitk.ReadTransform(str(file))
    except RuntimeError as error:
        raise UserError(f"{file} is not a transform file of ITK, or is damaged") from error
    return _of_itk(transform, file, 0)


def read_itk_field_image(file: Path) -> FieldTransform:
    """Read a displacement field from an image of vectors that ITK reads (MetaImage, NRRD), LPS mm.

    Raises:
        UserError: the file is damaged, or not an image of 3 dimensions with 3 finite numbers a voxel.
    """
    import SimpleITK as sitk  # noqa: N813

    try:
        image = sitk.ReadImage(str(file))
    except RuntimeError as error:
        raise UserError(f"{file} is not an image that ITK can read, or is damaged") from error
    return _field(image, file)


def _of_itk(transform: Any, file: Path, depth: int) -> WorldTransform:
    import SimpleITK as sitk  # noqa: N813

    if transform.GetDimension() != 3:
        raise UserError(f"{file} holds a transform of {transform.GetDimension()} dimensions, it must be of 3")
    # Asked first: a MatrixOffsetTransformBase is shown as a composite that holds itself.
    if transform.IsLinear():
        return AffineTransform(_linear(transform, file))
    name = transform.GetName()
    if name == "CompositeTransform" and depth < _DEEPEST:
        composite = sitk.CompositeTransform(transform)
        # ITK applies the transform that was added last first.
        order = reversed(range(composite.GetNumberOfTransforms()))
        links = [_of_itk(composite.GetNthTransform(n), file, depth + 1) for n in order]
        return links[0] if len(links) == 1 else ChainTransform(links)
    if name == "DisplacementFieldTransform":
        return _field(sitk.DisplacementFieldTransform(transform).GetDisplacementField(), file)
    if name == "BSplineTransform":
        return _spline(sitk.BSplineTransform(transform), file)
    raise UserError(
        f"{file} holds a transform of type {name if depth < _DEEPEST else 'that SimpleITK does not know'}, only linear "
        "ones, displacement fields, B-splines and composites of them can be used"
    )


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
    _check_finite(array, file)
    displacement, grid = itk_displacement(array, native)
    return FieldTransform(displacement, grid)


def _spline(transform: Any, file: Path) -> SplineTransform:
    arrays, natives = zip(*(itk_array(image, str(file)) for image in transform.GetCoefficientImages()), strict=True)
    coefficients = np.stack(arrays)
    _check_finite(coefficients, file)
    if transform.GetOrder() not in (1, 2, 3):
        raise UserError(f"{file} holds B-splines of order {transform.GetOrder()}, they must be of order 1, 2 or 3")
    # The axes of the control points stay in ITK's order: their grid need not be RAS+.
    ras = np.einsum("xc,cijk->xijk", RAS_TO_LPS[:3, :3], coefficients)
    return SplineTransform(ras, Grid(natives[0].shape, natives[0].affine), transform.GetOrder())


def _check_finite(array: NDArray[Any], file: Path) -> None:
    if not np.isfinite(array).all():
        raise UserError(f"the displacement field {file} has NaN or infinite values")
