"""Matrices and warps of FSL, against fslpy (FSL's own Python library) and nitransforms."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from wavy import an_affine

from mmreg_lightning.errors import UserError
from mmreg_lightning.geometry.frames import transform_points
from mmreg_lightning.io.fsl import FlirtMatrix, from_fsl, fsl_layout, write_flirt_matrix

Save = Callable[..., Path]
SHAPES = (9, 8, 7), (10, 12, 6)


@pytest.fixture(params=["fixed", "moving", "both", "none"])
def images(request: pytest.FixtureRequest, save: Save, oblique: np.ndarray) -> tuple[Path, Path]:
    """Fixed and moving image; of those named, the determinant is negative, which FSL treats otherwise."""
    paths = []
    for name, shape, spacing in zip(("fixed", "moving"), SHAPES, ((1.5, 2, 0.8), (3, 1, 2.5)), strict=True):
        turned = oblique @ np.diag([s / t for s, t in zip(spacing, (1.5, 2.0, 0.8), strict=True)] + [1.0])
        if request.param in (name, "both"):
            turned = turned @ np.diag([-1.0, 1, 1, 1])
        paths.append(save(np.random.default_rng(0).random(shape, dtype=np.float32), turned, f"{name}.nii.gz"))
    return paths[0], paths[1]


def test_a_matrix_is_read_and_written_as_by_fsl(images: tuple[Path, Path], tmp_path: Path) -> None:
    pytest.importorskip("fsl", reason="fslpy is in the extra dev")
    from fsl.data.image import Image
    from fsl.transform import flirt

    fixed, moving = (fsl_layout(path) for path in images)
    write_flirt_matrix(an_affine(), fixed, moving, tmp_path / "m.mat")
    reference, source = (Image(str(path)) for path in images)
    # fslpy gives what FLIRT's matrix does, which is input (moving) to reference (fixed).
    theirs = flirt.fromFlirt(flirt.readFlirt(str(tmp_path / "m.mat")), source, reference, "world", "world")
    np.testing.assert_allclose(np.linalg.inv(theirs), an_affine(), atol=1e-6)
    matrix = FlirtMatrix(np.loadtxt(tmp_path / "m.mat"))
    np.testing.assert_allclose(matrix.world(fixed, moving), an_affine(), atol=1e-6)
    back = FlirtMatrix(matrix.matrix, inverse=True).world(moving, fixed)
    np.testing.assert_allclose(back @ an_affine(), np.eye(4), atol=1e-6)


def test_nitransforms_reads_our_matrix_alike(images: tuple[Path, Path], tmp_path: Path) -> None:
    io = pytest.importorskip("nitransforms.io.fsl", reason="nitransforms is in the extra dev")
    fixed, moving = (fsl_layout(path) for path in images)
    write_flirt_matrix(an_affine(), fixed, moving, tmp_path / "m.mat")
    loaded = io.FSLLinearTransform.from_filename(str(tmp_path / "m.mat"))
    theirs = loaded.to_ras(moving=nib.load(images[1]), reference=nib.load(images[0]))
    np.testing.assert_allclose(theirs, an_affine(), atol=1e-4)  # it reads single precision


@pytest.mark.parametrize("absolute", [False, True])
def test_a_warp_leads_where_fsl_says(images: tuple[Path, Path], absolute: bool, tmp_path: Path) -> None:
    pytest.importorskip("fsl", reason="fslpy is in the extra dev")
    from fsl.data.image import Image
    from fsl.transform import nonlinear

    fixed, moving = (fsl_layout(path) for path in images)
    reference, source = (Image(str(path)) for path in images)
    index = np.stack(np.meshgrid(*map(np.arange, SHAPES[0]), indexing="ij"), axis=-1).astype(float)
    warp = np.sin(index / 2) + [1, 0, -1]
    if absolute:
        warp += transform_points(reference.getAffine("voxel", "fsl"), index)
    field = nonlinear.DeformationField(warp, source, reference, srcSpace="fsl", refSpace="fsl", xform=fixed.affine)
    points = transform_points(fixed.affine, index).reshape(-1, 3)
    expected = field.transform(points, "world", "world")
    got, told = from_fsl(warp, fixed, moving)
    known = np.isfinite(expected).all(axis=1)
    assert told == absolute and known.mean() > 0.5
    np.testing.assert_allclose(got.reshape(-1, 3)[known], expected[known], atol=1e-4)


def test_images_that_fsl_does_not_read(tmp_path: Path) -> None:
    for name in ("a.mha", "folder"):
        path = tmp_path / name
        path.mkdir() if name == "folder" else path.write_bytes(b"")
        with pytest.raises(UserError, match=f"{name} is not NIfTI"):
            fsl_layout(path)


def test_a_header_that_fsl_reads_otherwise(tmp_path: Path) -> None:
    """FSL ignores units, and takes a file without forms for radiological."""
    image = nib.Nifti1Image(np.zeros((4, 5, 6), np.uint8), None)
    image.header.set_xyzt_units("mm")
    image.header.set_qform(None, 0)
    image.header.set_sform(None, 0)
    nib.save(image, tmp_path / "none.nii")
    image = nib.Nifti1Image(np.zeros((4, 5, 6), np.uint8), np.diag([2.0, 2, 2, 1]))
    image.header.set_xyzt_units("micron")
    nib.save(image, tmp_path / "micron.nii")
    for name in ("none", "micron"):
        with pytest.raises(UserError, match=rf"{name}.nii: a transform of FSL cannot be used with this file"):
            fsl_layout(tmp_path / f"{name}.nii")
