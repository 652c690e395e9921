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
from mmreg_lightning.geometry.fields import world_to_voxels
from mmreg_lightning.geometry.grid import Grid
from mmreg_lightning.geometry.volume import Volume
from mmreg_lightning.io.images import read_image
from mmreg_lightning.io.itk_fields import read_itk_field, write_itk_field

Save = Callable[..., Path]


def wave(shape: tuple[int, int, int], size: float = 1.0) -> torch.Tensor:
    """A smooth displacement (3, I, J, K), different in each channel, of about ``size`` voxels."""
    i, j, k = np.meshgrid(*(np.linspace(0, 1, n) for n in shape), indexing="ij")
    channels = [np.sin(3 * j + k), np.cos(2 * i) - 0.5 * k, np.sin(4 * k - i) + 0.3]
    return torch.from_numpy(size * np.stack(channels)).float()


HEADERS = {
    "RAS": [[0, 1], [1, 1], [2, 1]],
    "LAS": [[0, -1], [1, 1], [2, 1]],
    "ASR": [[2, 1], [0, 1], [1, 1]],
    "PSR": [[2, 1], [0, -1], [1, 1]],
}


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
