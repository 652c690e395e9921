"""Transform files of ITK and ANTs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from wavy import an_affine, inner_points, wavy_field

from mmreg_lightning.errors import UserError
from mmreg_lightning.geometry.frames import RAS_TO_LPS
from mmreg_lightning.geometry.world_transforms import AffineTransform, FieldTransform, map_points
from mmreg_lightning.io.itk_fields import write_itk_field
from mmreg_lightning.io.transforms import read_affine, read_transform, write_affine


@pytest.fixture
def field() -> FieldTransform:
    return wavy_field()


@pytest.mark.parametrize("suffix", ["tfm", "txt", "mat", "h5"])
def test_an_affine_goes_to_itk_and_back(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"affine.{suffix}"
    write_affine(an_affine(), path)
    np.testing.assert_allclose(read_affine(path), an_affine(), atol=1e-6)
    point = np.array([10.0, -20.0, 30.0])
    there = sitk.ReadTransform(str(path)).TransformPoint((RAS_TO_LPS[:3, :3] @ point).tolist())
    np.testing.assert_allclose(RAS_TO_LPS[:3, :3] @ there, map_points(AffineTransform(an_affine()), point[None])[0])


@pytest.mark.parametrize("suffix", ["nii.gz", "mha", "nrrd"])
def test_a_field_is_read_from_any_image_format(suffix: str, field: FieldTransform, tmp_path: Path) -> None:
    write_itk_field(field.displacement, field.grid, tmp_path / "field.nii.gz")
    path = tmp_path / f"copy.{suffix}"
    sitk.WriteImage(sitk.ReadImage(str(tmp_path / "field.nii.gz"), sitk.sitkVectorFloat32), str(path))
    points = inner_points(field.grid)
    np.testing.assert_allclose(map_points(read_transform(path), points), map_points(field, points), atol=1e-3)


def test_composites_of_itk_are_applied_last_added_first(field: FieldTransform, tmp_path: Path) -> None:
    write_itk_field(field.displacement, field.grid, tmp_path / "field.nii.gz")
    image = sitk.ReadImage(str(tmp_path / "field.nii.gz"), sitk.sitkVectorFloat64)
    rigid = sitk.Euler3DTransform((3.0, 4.0, 5.0), 0.1, -0.2, 0.05, (6.0, -7.0, 8.0))
    composite = sitk.CompositeTransform([rigid, sitk.DisplacementFieldTransform(image)])
    sitk.WriteTransform(composite, str(tmp_path / "composite.h5"))
    composite = sitk.ReadTransform(str(tmp_path / "composite.h5"))
    points = inner_points(field.grid, 20)
    expected = [composite.TransformPoint((RAS_TO_LPS[:3, :3] @ point).tolist()) for point in points]
    got = map_points(read_transform(tmp_path / "composite.h5"), points)
    np.testing.assert_allclose(got, np.array(expected) @ RAS_TO_LPS[:3, :3], atol=1e-3)
    with pytest.raises(UserError, match="must be affine"):
        read_affine(tmp_path / "composite.h5")


def test_transforms_that_cannot_be_used(tmp_path: Path) -> None:
    flat = tmp_path / "flat.tfm"
    sitk.WriteTransform(sitk.Euler2DTransform(), str(flat))
    with pytest.raises(UserError, match=r"flat.tfm holds a transform of 2 dimensions"):
        read_transform(flat)
    spline = tmp_path / "spline.tfm"
    sitk.WriteTransform(sitk.BSplineTransform(3), str(spline))
    with pytest.raises(UserError, match="BSplineTransform, only affines and displacement fields"):
        read_transform(spline)
    singular = tmp_path / "singular.tfm"
    write_affine(np.diag([1.0, 1.0, 0.0, 1.0]), singular)
    with pytest.raises(UserError, match="no inverse"):
        read_transform(singular)
    for name, text in (("broken.tfm", "nonsense"), ("field.mha", "nonsense"), ("matrix.csv", "1 0 0")):
        (tmp_path / name).write_text(text)
        with pytest.raises(UserError, match=name):
            read_transform(tmp_path / name)
    scalar = tmp_path / "scalar.mha"
    sitk.WriteImage(sitk.Image(4, 4, 4, sitk.sitkFloat32), str(scalar))
    with pytest.raises(UserError, match="3 numbers a voxel"):
        read_transform(scalar)
    with pytest.raises(UserError, match="there is no file"):
        read_transform(tmp_path / "missing.tfm")
