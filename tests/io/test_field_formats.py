"""Other programs warp with our field files exactly as we do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import torch
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from mmreg_lightning.geometry.transform import warp_volume
from mmreg_lightning.geometry.volume import Volume
from mmreg_lightning.io.field_formats import FIELD_FORMATS, write_field
from mmreg_lightning.io.images import read_image, write_image
from mmreg_lightning.io.l2r_fields import mapped_voxels

Save = Callable[..., Path]
FIXED_SHAPE, MOVING_SHAPE = (14, 11, 9), (12, 15, 10)


def turned(spacing: tuple[float, float, float], degrees: tuple[float, float]) -> NDArray[np.float64]:
    """RAS+ affine turned about S and R, whose centre lies at the same place for both images."""
    a, b = np.deg2rad(degrees)
    about_s = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_r = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    affine = np.eye(4)
    affine[:3, :3] = about_s @ about_r @ np.diag(spacing)
    return affine


def centred(affine: NDArray[np.float64], shape: tuple[int, int, int]) -> NDArray[np.float64]:
    affine = affine.copy()
    affine[:3, 3] = np.array([12.0, -30.0, 7.0]) - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine


def smooth_field(shape: tuple[int, int, int]) -> torch.Tensor:
    """(1, 3, I, J, K), voxels: a shift, a stretch and something smooth."""
    index = torch.stack(torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in shape), indexing="ij"))
    wave = torch.sin(index.flip(0) / 3.0) * torch.tensor([0.7, -0.5, 0.4]).view(3, 1, 1, 1)
    return (wave + 0.05 * index - torch.tensor([0.8, 0.1, -0.5]).view(3, 1, 1, 1))[None]


@pytest.fixture(params=[((0.7, 2.0, 6.0), (2.0, 2.0, 5.0)), ((1.5, 1.5, 1.5), (0.9, 3.0, 1.2))], ids=str)
def scene(
    request: pytest.FixtureRequest, orientation: NDArray, save: Save, tmp_path: Path
) -> tuple[Volume, Volume, torch.Tensor]:
    """Fixed and moving image with different oblique axes, spacings and axis orders, and a displacement."""
    fixed_spacing, moving_spacing = request.param
    rng = np.random.default_rng(3)
    fixed = save(
        rng.random(FIXED_SHAPE, dtype=np.float32),
        centred(turned(fixed_spacing, (20, 10)), FIXED_SHAPE),
        "fixed.nii.gz",
        orientation,
    )
    # The moving file's axes are ordered and flipped in yet another way.
    other = np.roll(orientation, 1, axis=0) * [[1, -1], [1, 1], [1, 1]]
    picture = rng.random(MOVING_SHAPE, dtype=np.float32)
    moving = save(picture, centred(turned(moving_spacing, (-15, 5)), MOVING_SHAPE), "moving.nii.gz", other)
    return read_image(fixed), read_image(moving), smooth_field(FIXED_SHAPE)


def ours(scene: tuple[Volume, Volume, torch.Tensor], folder: Path) -> tuple[NDArray, NDArray]:
    """Our warped image as it is on disk, and where it sees the moving image, (X, Y, Z) each."""
    fixed, moving, displacement = scene
    write_image(warp_volume(moving, displacement, fixed.grid), folder / "warped.nii.gz", like=fixed)
    mapped = mapped_voxels(displacement, fixed.native, moving.native)
    inside = ((mapped >= 0) & (mapped <= np.array(moving.native.shape) - 1)).all(axis=-1)
    assert inside.mean() > 0.1
    return np.asarray(nib.load(folder / "warped.nii.gz").dataobj), inside


def fsl_warp(image: nib.Nifti1Image, reference: nib.Nifti1Image, warp: nib.Nifti1Image) -> NDArray:
    """``applywarp --rel`` by FSL's published rule.

    FSL's manual (FLIRT, on the format of its matrices; FNIRT, on warp fields): coordinates are voxels times their size,
    and where the determinant of an image's sform is positive its x axis is reversed first, x -> (nx - 1 - x). The
    warp's vectors, mm, are added to the reference's coordinates and give those of the image.
    """

    def coordinates(voxels: NDArray, of: nib.Nifti1Image, back: bool = False) -> NDArray:
        size = np.array(of.header.get_zooms()[:3], dtype=float)
        out = voxels / size if back else voxels.astype(float)
        if np.linalg.det(of.affine) > 0:
            out = out * [-1, 1, 1] + [of.shape[0] - 1, 0, 0]
        return out if back else out * size

    index = np.stack(np.meshgrid(*(np.arange(n) for n in reference.shape), indexing="ij"), axis=-1)
    place = coordinates(index, reference) + np.asarray(warp.dataobj)
    voxels = coordinates(place, image, back=True)
    return map_coordinates(np.asarray(image.dataobj), np.moveaxis(voxels, -1, 0), order=1)


def test_every_program_warps_likewise(scene: tuple[Volume, Volume, torch.Tensor], tmp_path: Path) -> None:
    fixed, moving, displacement = scene
    expected, inside = ours(scene, tmp_path)
    files = {kind: write_field(displacement, fixed, moving, tmp_path, "d", kind) for kind in FIELD_FORMATS}

    def assert_equal(got: NDArray) -> None:
        assert got.shape == expected.shape
        assert np.abs(got - expected)[inside].max() < 1e-3

    field = sitk.ReadImage(str(files["itk"]), sitk.sitkVectorFloat64)
    images = [sitk.ReadImage(str(tmp_path / f"{role}.nii.gz"), sitk.sitkFloat32) for role in ("moving", "fixed")]
    resampled = sitk.Resample(*images, sitk.DisplacementFieldTransform(field), sitk.sitkLinear, 0.0)
    assert_equal(sitk.GetArrayFromImage(resampled).transpose(2, 1, 0))

    moving_file = nib.load(tmp_path / "moving.nii.gz")
    array = np.asarray(moving_file.dataobj)
    with np.load(files["l2r"]) as content:
        l2r = content["arr_0"]
    index = np.stack(np.meshgrid(*(np.arange(n) for n in expected.shape), indexing="ij"), axis=-1)
    assert_equal(map_coordinates(array, np.moveaxis(index + l2r, -1, 0), order=1))

    grid = torch.load(files["torch"], weights_only=True)
    sampled = torch.nn.functional.grid_sample(torch.from_numpy(array)[None, None], grid, align_corners=False)
    assert_equal(sampled[0, 0].numpy())

    fsl = nib.load(files["fsl"])
    assert fsl.header["intent_code"] == 2006 and fsl.shape == (*expected.shape, 3)
    assert_equal(fsl_warp(moving_file, nib.load(tmp_path / "fixed.nii.gz"), fsl))


def test_ants_warps_likewise(scene: tuple[Volume, Volume, torch.Tensor], tmp_path: Path) -> None:
    ants = pytest.importorskip("ants", reason="antspyx is in the extra peers")
    fixed, moving, displacement = scene
    expected, inside = ours(scene, tmp_path)
    field = write_field(displacement, fixed, moving, tmp_path, "d", "itk")
    images = [ants.image_read(str(tmp_path / f"{role}.nii.gz")) for role in ("fixed", "moving")]
    got = ants.apply_transforms(*images, transformlist=[str(field)], interpolator="linear").numpy()
    assert np.abs(got - expected)[inside].max() < 1e-3


@pytest.mark.parametrize("flip", [1, -1], ids=["keeps handedness", "reverses it"])
def test_both_handednesses_of_fsl_occur(flip: int, save: Save, tmp_path: Path) -> None:
    affine = np.diag([2.0 * flip, 2.0, 2.0, 1.0])
    image = read_image(save(np.random.default_rng(0).random((8, 9, 10)), affine, "fixed.nii.gz"))
    shift = torch.zeros(1, 3, 8, 9, 10)
    shift[:, 0] = 1.0  # a voxel to the right, of the RAS+ array
    path = write_field(shift, image, image, tmp_path, "d", "fsl")
    # One voxel is 2 mm; FSL's x runs to the left in both: it reverses the axis of the first file itself.
    np.testing.assert_allclose(np.asarray(nib.load(path).dataobj)[..., 0], -2.0, atol=1e-5)
