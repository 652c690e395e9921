from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import torch

from mmreg_lightning.errors import UserError
from mmreg_lightning.functional.warp import warp
from mmreg_lightning.geometry.fields import (
    read_itk_field,
    resample_displacement,
    voxels_to_world,
    world_to_voxels,
    write_itk_field,
)
from mmreg_lightning.geometry.grid import Grid
from mmreg_lightning.geometry.images import read_image
from mmreg_lightning.geometry.volume import Volume

Save = Callable[..., Path]


def wave(shape: tuple[int, int, int], size: float = 1.0) -> torch.Tensor:
    """A smooth displacement (3, I, J, K), different in each channel, of about ``size`` voxels."""
    i, j, k = np.meshgrid(*(np.linspace(0, 1, n) for n in shape), indexing="ij")
    channels = [np.sin(3 * j + k), np.cos(2 * i) - 0.5 * k, np.sin(4 * k - i) + 0.3]
    return torch.from_numpy(size * np.stack(channels)).float()


def test_voxels_become_millimetres_along_the_axes_of_the_grid() -> None:
    # i runs to the anterior with 2 mm, j to the left with 3 mm, k to the superior with 4 mm
    affine = np.array([[0, -3.0, 0, 5], [2, 0, 0, 6], [0, 0, 4, 7], [0, 0, 0, 1]])
    grid = Grid((2, 2, 2), affine)
    u = torch.tensor([1.0, 10.0, 100.0]).view(3, 1, 1, 1).expand(3, 2, 2, 2)
    world = voxels_to_world(u, grid)
    assert world[:, 0, 0, 0].tolist() == [-30, 2, 400]
    torch.testing.assert_close(world_to_voxels(world, grid), u)
    assert voxels_to_world(u[None], grid).shape == (1, 3, 2, 2, 2)


def test_resampling_keeps_millimetres() -> None:
    coarse = Grid((6, 5, 4), np.diag([4.0, 4, 4, 1]))
    fine = coarse.resampled((2, 1, 4))
    u = torch.tensor([1.0, -2.0, 0.5]).view(3, 1, 1, 1).expand(3, 6, 5, 4)
    out = resample_displacement(u[None], coarse, fine)
    assert out.shape == (1, 3, 12, 20, 4)
    torch.testing.assert_close(out[0], torch.tensor([2.0, -8.0, 0.5]).view(3, 1, 1, 1).expand(3, 12, 20, 4))


def test_resampling_repeats_the_border_outside() -> None:
    grid = Grid((4, 4, 4), np.eye(4))
    u = torch.zeros(3, 4, 4, 4)
    u[0] = torch.arange(4.0).view(4, 1, 1)
    far = np.eye(4)
    far[0, 3] = 2
    out = resample_displacement(u, grid, Grid((4, 4, 4), far))
    torch.testing.assert_close(out[0, :, 0, 0], torch.tensor([2.0, 3, 3, 3]))


def test_a_field_that_is_not_on_its_grid_is_refused(tmp_path: Path) -> None:
    grid = Grid((4, 4, 4), np.eye(4))
    with pytest.raises(ValueError, match="displacement of shape"):
        resample_displacement(torch.zeros(3, 4, 4, 5), grid, grid)
    with pytest.raises(ValueError, match="displacement of shape"):
        write_itk_field(torch.zeros(2, 3, 4, 4, 4), grid, tmp_path / "u.nii.gz")


def test_itk_file_layout(tmp_path: Path) -> None:
    """One voxel along I, J, K of a 2 x 3 x 4 mm RAS grid is (-2, -3, 4) in LPS mm."""
    grid = Grid((5, 6, 7), np.diag([2.0, 3, 4, 1]))
    write_itk_field(torch.ones(1, 3, 5, 6, 7), grid, tmp_path / "u.nii.gz")
    image = nib.load(tmp_path / "u.nii.gz")
    assert image.shape == (5, 6, 7, 1, 3)
    assert image.header["intent_code"] == 1007
    assert image.get_data_dtype() == np.float32
    assert image.get_fdata()[1, 2, 3, 0].tolist() == [-2, -3, 4]


def test_itk_round_trip_in_every_axis_order(picture, affine, orientation, save: Save, tmp_path: Path) -> None:
    path = save(picture, affine, orientation=orientation)
    fixed = read_image(path)
    u = wave(fixed.grid.shape)
    write_itk_field(u, fixed.grid, tmp_path / "u.nii.gz", fixed)
    assert nib.load(tmp_path / "u.nii.gz").shape[:3] == nib.load(path).shape
    read, grid = read_itk_field(tmp_path / "u.nii.gz")
    assert grid.same_as(fixed.grid, tol=1e-4)
    torch.testing.assert_close(read, u, atol=1e-4, rtol=0)


# RAS as written, LAS, ASR, PSR: the axes as (axis of RAS+, flip), one row for each axis of the array
HEADERS = {
    "RAS": [[0, 1], [1, 1], [2, 1]],
    "LAS": [[0, -1], [1, 1], [2, 1]],
    "ASR": [[2, 1], [0, 1], [1, 1]],
    "PSR": [[2, 1], [0, -1], [1, 1]],
}


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
def test_simpleitk_warps_as_we_do(picture, affine, header, save: Save, tmp_path: Path) -> None:
    path = save(picture, affine, orientation=np.array(header))
    image = read_image(path)
    u = wave(image.grid.shape)
    write_itk_field(u, image.grid, tmp_path / "u.nii.gz", image)

    itk = sitk.ReadImage(str(path))
    field = sitk.ReadImage(str(tmp_path / "u.nii.gz"), sitk.sitkVectorFloat64)
    assert field.GetSize() == itk.GetSize()
    warped = sitk.Resample(itk, itk, sitk.DisplacementFieldTransform(field), sitk.sitkLinear, -1.0)
    native = sitk.GetArrayFromImage(warped).transpose(2, 1, 0)
    theirs = image.native.to_canonical(native)

    ours = warp(image.data[None], u[None])[0, 0].numpy()
    inside = theirs != -1
    assert inside.mean() > 0.6
    assert np.abs(ours - picture)[inside].max() > 0.1 * np.ptp(picture)
    assert np.abs(ours - theirs)[inside].max() < 1e-3 * np.ptp(picture)


def test_header_names_are_what_nibabel_calls_them(picture, save: Save) -> None:
    for name, header in HEADERS.items():
        image = nib.load(save(picture, np.eye(4), orientation=np.array(header)))
        assert "".join(nib.aff2axcodes(image.affine)) == name


def test_a_working_grid_field_is_written_on_the_image_grid(picture, oblique, save: Save, tmp_path: Path) -> None:
    """A translation by 2 mm to the right, estimated on a grid of 3 mm, is (-2, 0, 0) LPS mm in the file."""
    fixed = read_image(save(picture, oblique, orientation=np.array(HEADERS["PSR"])))
    working = fixed.grid.resampled(3)
    right = torch.tensor([2.0, 0.0, 0.0]).view(3, 1, 1, 1).expand(3, *working.shape)
    write_itk_field(world_to_voxels(right, working), working, tmp_path / "u.nii.gz", fixed)
    image = nib.load(tmp_path / "u.nii.gz")
    assert image.shape[:3] == fixed.native.shape
    np.testing.assert_allclose(image.get_fdata()[..., 0, :] - [-2, 0, 0], 0, atol=1e-5)


def test_files_that_are_no_itk_field(picture, save: Save, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="image.nii.gz is not an ITK displacement field"):
        read_itk_field(save(picture, np.eye(4)))
    # right shape, no vector intent: the unit and the sign of such a file are unknown
    with pytest.raises(UserError, match="intent 1007"):
        read_itk_field(save(np.zeros((4, 4, 4, 1, 3), np.float32), np.eye(4)))
    write_itk_field(torch.full((3, 4, 4, 4), torch.nan), Grid((4, 4, 4), np.eye(4)), tmp_path / "nan.nii")
    with pytest.raises(UserError, match="nan.nii has NaN"):
        read_itk_field(tmp_path / "nan.nii")


def test_writing_to_a_volume_made_in_memory(tmp_path: Path) -> None:
    grid = Grid((4, 5, 6), np.eye(4))
    u = wave(grid.shape)
    write_itk_field(u, grid, tmp_path / "u.nii", Volume(u[:1], grid))
    torch.testing.assert_close(read_itk_field(tmp_path / "u.nii")[0], u)
