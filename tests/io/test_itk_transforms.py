"""Transforms that ITK writes are where ITK says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from mmreg_lightning.errors import UserError
from mmreg_lightning.geometry.frames import RAS_TO_LPS
from mmreg_lightning.geometry.world_transforms import map_points
from mmreg_lightning.io.itk_transforms import read_itk_transform

FLIP = RAS_TO_LPS[:3, :3]
POINTS = np.random.default_rng(0).uniform(-40, 40, (60, 3))


def itk_says(transform: sitk.Transform, points: np.ndarray = POINTS) -> np.ndarray:
    return np.array([transform.TransformPoint((FLIP @ point).tolist()) for point in points]) @ FLIP


def linear_transforms() -> list[sitk.Transform]:
    rigid = (0.1, -0.2, 0.05), (3.0, 4.0, -5.0)
    found = [sitk.Euler3DTransform((1.0, 2, 3), *rigid[0], rigid[1]), sitk.TranslationTransform(3, rigid[1])]
    for kind in (sitk.VersorRigid3DTransform, sitk.Similarity3DTransform, sitk.ScaleVersor3DTransform):
        transform = kind()
        transform.SetCenter((5.0, -6, 7))
        transform.SetRotation((0.0, 0.6, 0.8), 0.3)
        transform.SetTranslation(rigid[1])
        found.append(transform)
    found[3].SetScale(1.2)
    skew = sitk.ScaleSkewVersor3DTransform()
    skew.SetSkew((0.1, 0, 0, 0.05, 0, 0))
    versor = sitk.VersorTransform((0.0, 1.0, 0.0), 0.4, (1.0, 2, 3))
    affine = sitk.AffineTransform([1, 0.1, 0, 0, 1, 0.2, 0, 0, 0.9], [1, 2, 3], [9, 8, 7])
    return [*found, skew, versor, affine, sitk.ScaleTransform(3, (1.1, 0.9, 1.3)), sitk.Transform(3, sitk.sitkIdentity)]


@pytest.mark.parametrize("transform", linear_transforms(), ids=lambda t: t.GetName())
@pytest.mark.parametrize("suffix", ["tfm", "h5"])
def test_every_linear_kind(transform: sitk.Transform, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"t.{suffix}"
    sitk.WriteTransform(transform, str(path))
    np.testing.assert_allclose(map_points(read_itk_transform(path), POINTS), itk_says(transform), atol=1e-6)


def test_a_matrix_offset_transform_is_read(tmp_path: Path) -> None:
    """The base class, which several programs write and which SimpleITK shows as a composite that holds itself."""
    path = tmp_path / "base.tfm"
    path.write_text(
        "#Insight Transform File V1.0\n#Transform 0\nTransform: MatrixOffsetTransformBase_double_3_3\n"
        "Parameters: 1.1 0.1 0 -0.1 0.9 0.2 0 0 1 5 6 7\nFixedParameters: 10 20 30\n"
    )
    matrix, center = np.array([[1.1, 0.1, 0], [-0.1, 0.9, 0.2], [0, 0, 1]]), np.array([10.0, 20, 30])
    expected = ((POINTS @ FLIP - center) @ matrix.T + center + [5, 6, 7]) @ FLIP
    np.testing.assert_allclose(map_points(read_itk_transform(path), POINTS), expected, atol=1e-6)


def b_spline() -> sitk.BSplineTransform:
    domain = sitk.Image(40, 40, 40, sitk.sitkFloat32)
    domain.SetOrigin((-30.0, -25.0, -20.0))
    spline = sitk.BSplineTransformInitializer(domain, [4, 5, 3], 3)
    spline.SetParameters(np.random.default_rng(1).normal(0, 2, spline.GetNumberOfParameters()).tolist())
    return spline


def test_b_splines_alone_and_in_composites(tmp_path: Path) -> None:
    spline = b_spline()
    composite = sitk.CompositeTransform([sitk.Euler3DTransform((0.0, 0, 0), 0.1, 0.0, 0.2, (1.0, 2, 3)), spline])
    for name, transform in (("spline.tfm", spline), ("spline.h5", spline), ("composite.h5", composite)):
        sitk.WriteTransform(transform, str(tmp_path / name))
        read = read_itk_transform(tmp_path / name)
        np.testing.assert_allclose(map_points(read, POINTS), itk_says(transform), atol=1e-6)
    inside = np.random.default_rng(2).uniform(-8, 8, (30, 3)) + [-10, 5, 0] * np.array([-1, -1, 1])
    back = map_points(read_itk_transform(tmp_path / "spline.tfm").inverse(), itk_says(spline, inside))
    np.testing.assert_allclose(back, inside, atol=0.02)


def test_kinds_that_cannot_be_used(tmp_path: Path) -> None:
    path = tmp_path / "kernel.tfm"
    path.write_text(
        "#Insight Transform File V1.0\n#Transform 0\nTransform: ThinPlateSplineKernelTransform_double_3_3\n"
        "Parameters: 0 0 0 10 0 0 0 10 0 0 0 10\nFixedParameters: 0 0 0 10 0 0 0 10 0 0 0 10\n"
    )
    with pytest.raises(UserError, match="kernel.tfm"):
        read_itk_transform(path)
    stepped = tmp_path / "order0.tfm"
    sitk.WriteTransform(sitk.BSplineTransform(3, 0), str(stepped))
    with pytest.raises(UserError, match="order 0, they must be of order 1, 2 or 3"):
        read_itk_transform(stepped)
