"""B-splines, against ITK's own."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from scipy.spatial.transform import Rotation

from mmreg_lightning.geometry.frames import RAS_TO_LPS
from mmreg_lightning.geometry.grid import Grid
from mmreg_lightning.geometry.spline_transform import SplineTransform
from mmreg_lightning.geometry.world_transforms import map_points

FLIP = RAS_TO_LPS[:3, :3]


def both(order: int) -> tuple[SplineTransform, sitk.BSplineTransform]:
    """The same spline on an oblique grid of control points, here and in ITK."""
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", [10, 20, -15], degrees=True).as_matrix() @ np.diag([12.0, 15, 10])
    affine[:3, 3] = (-30.0, -40, -20)
    grid = Grid((9, 8, 10), affine)
    coefficients = np.random.default_rng(order).normal(0, 2.0, (3, *grid.shape))
    lps = Grid(grid.shape, RAS_TO_LPS @ affine)
    images = []
    for values in np.einsum("xc,cijk->xijk", FLIP, coefficients):
        image = sitk.GetImageFromArray(np.ascontiguousarray(values.transpose(2, 1, 0)))
        image.SetSpacing(lps.spacing.tolist())
        image.SetDirection(lps.direction.ravel().tolist())
        image.SetOrigin(lps.affine[:3, 3].tolist())
        images.append(image)
    return SplineTransform(coefficients, grid, order), sitk.BSplineTransform(images, order)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_points_go_where_itk_takes_them(order: int) -> None:
    ours, theirs = both(order)
    voxels = np.random.default_rng(9).uniform(-2, 11, (400, 3))
    points = voxels @ ours.grid.affine[:3, :3].T + ours.grid.affine[:3, 3]
    expected = np.array([theirs.TransformPoint((FLIP @ point).tolist()) for point in points]) @ FLIP
    np.testing.assert_allclose(map_points(ours, points), expected, atol=1e-6)
    moved = (expected != points).any(axis=1)
    assert 0.05 < moved.mean() < 0.9, "points outside of the domain stay"


def test_points_come_back_inside_and_outside_of_the_domain() -> None:
    ours, _ = both(3)
    voxels = np.concatenate([np.random.default_rng(0).uniform(2.5, 5.5, (100, 3)), [[-30.0, 4, 4], [4, 4, 40]]])
    points = voxels @ ours.grid.affine[:3, :3].T + ours.grid.affine[:3, 3]
    back = map_points(ours.inverse(), map_points(ours, points))
    np.testing.assert_allclose(back, points, atol=0.03)
