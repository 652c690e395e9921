"""Transforms of points: inverses, chains, and the files of ITK and ANTs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import torch
from scipy.spatial.transform import Rotation

from mmreg_lightning.errors import UserError
from mmreg_lightning.geometry.frames import RAS_TO_LPS
from mmreg_lightning.geometry.grid import Grid
from mmreg_lightning.geometry.transform import then_affine
from mmreg_lightning.geometry.world_transforms import (
    AffineTransform,
    ChainTransform,
    FieldTransform,
    map_points,
    transform_displacement,
)
from mmreg_lightning.io.itk_fields import write_itk_field
from mmreg_lightning.io.transforms import read_affine, read_transform, write_affine


def an_affine(scale: float = 1.1) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler("xyz", [12, -20, 15], degrees=True).as_matrix() * scale
    matrix[:3, 3] = (25.0, -18.0, 30.0)
    return matrix


@pytest.fixture
def field() -> FieldTransform:
    """A large affine and steep waves without folds, on an oblique grid of 2 x 3 x 2 mm."""
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("z", 25, degrees=True).as_matrix() @ np.diag([2.0, 3.0, 2.0])
    affine[:3, 3] = (-40.0, -50.0, -60.0)
    grid = Grid((40, 36, 44), affine)
    index = torch.stack(torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in grid.shape), indexing="ij"))
    wave = 2.5 * torch.sin(index.roll(1, 0) / 5.0) + 1.5 * torch.sin(index / 4.0)
    return FieldTransform(then_affine(wave[None], grid, an_affine())[0], grid)


def inner_points(grid: Grid, count: int = 500) -> np.ndarray:
    voxels = np.random.default_rng(0).uniform(0.15, 0.85, (count, 3)) * np.array(grid.shape)
    return voxels @ grid.affine[:3, :3].T + grid.affine[:3, 3]


def test_points_come_back(field: FieldTransform) -> None:
    points = inner_points(field.grid)
    there = map_points(field, points)
    assert np.linalg.norm(there - points, axis=1).min() > 5
    errors = np.linalg.norm(map_points(field.inverse(), there) - points, axis=1)
    assert np.median(errors) < 0.01 and errors.max() < 0.1  # mm


def test_an_inverse_field_on_another_grid_brings_points_back(field: FieldTransform) -> None:
    points = inner_points(field.grid)
    there = map_points(field, points)
    low, high = there.min(0) - 10, there.max(0) + 10
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = low
    grid = Grid(tuple(int(n) for n in np.ceil((high - low) / 2)), affine)
    back = FieldTransform(transform_displacement(field.inverse(), grid)[0], grid)
    errors = np.linalg.norm(map_points(back, there) - points, axis=1)
    assert np.median(errors) < 0.1


@pytest.mark.parametrize("shape", [(20, 20, 20), (48, 52, 56)])  # searched directly, and from a coarse grid's inverse
def test_the_inverse_of_every_voxel_is_within_the_tolerance(field: FieldTransform, shape: tuple[int, int, int]) -> None:
    center = map_points(field, field.grid.center[None])[0]
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    affine[:3, 3] = center - np.array(shape) / 2
    grid = Grid(shape, affine)
    inverse = FieldTransform(transform_displacement(field.inverse(), grid)[0], grid)
    voxels = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1).reshape(-1, 3)
    points = voxels @ affine[:3, :3].T + affine[:3, 3]
    errors = np.linalg.norm(map_points(field, map_points(inverse, points)) - points, axis=1)
    assert np.quantile(errors, 0.999) < 0.011  # mm


def test_a_fold_has_no_inverse_but_an_answer() -> None:
    grid = Grid((16, 16, 16), np.eye(4))
    displacement = torch.zeros(3, 16, 16, 16)
    displacement[0, 8:] = -4.0
    out = map_points(FieldTransform(displacement, grid).inverse(), inner_points(grid))
    assert np.isfinite(out).all()


def test_a_chain_is_passed_in_order_and_back(field: FieldTransform) -> None:
    affine = AffineTransform(an_affine(0.9))
    chain = ChainTransform([field, affine])
    points = inner_points(field.grid)
    expected = map_points(affine, map_points(field, points))
    np.testing.assert_allclose(map_points(chain, points), expected)
    np.testing.assert_allclose(map_points(chain.inverse(), expected), points, atol=0.1)


def test_what_a_field_covers(field: FieldTransform) -> None:
    points = torch.from_numpy(np.concatenate([inner_points(field.grid, 5), [[500.0, 0, 0]]]))
    assert field.covers(points).tolist() == [True] * 5 + [False]
    there = field(points)
    assert field.inverse().covers(there[:5]).all()
    assert not ChainTransform([AffineTransform(an_affine()), field]).covers(points + 300).any()


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
