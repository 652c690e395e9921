from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, map_coordinates

from mmreg_lightning.errors import UserError
from mmreg_lightning.geometry.native import NativeGrid
from mmreg_lightning.geometry.transform import warp_volume
from mmreg_lightning.geometry.volume import Volume
from mmreg_lightning.io.l2r_fields import from_l2r, read_l2r_field, to_l2r, write_l2r_field

SHAPE = (18, 16, 14)
AFFINES = {
    "RAS": np.array([[2.0, 0, 0, -10], [0, 2.5, 0, 5], [0, 0, 3.0, 0], [0, 0, 0, 1]]),
    "LPI": np.array([[-2.0, 0, 0, 30], [0, -2.5, 0, 40], [0, 0, -3.0, 42], [0, 0, 0, 1]]),
    "PIR": np.array([[0, 0, 2.0, -10], [-2.5, 0, 0, 40], [0, -3.0, 0, 40], [0, 0, 0, 1]]),
}


def smooth(shape, seed, size):
    return gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 2, axes=(0, 1, 2)) * size


@pytest.mark.parametrize("fixed_axes", AFFINES)
@pytest.mark.parametrize("moving_axes", AFFINES)
def test_map_coordinates_on_the_arrays_of_the_files_gives_our_warped_image(fixed_axes, moving_axes):
    fixed = NativeGrid(SHAPE, AFFINES[fixed_axes])
    moving = NativeGrid((20, 17, 15), AFFINES[moving_axes])
    array = smooth(moving.shape, 1, 50)
    grid = fixed.canonical_grid
    u = torch.from_numpy(np.moveaxis(smooth((*grid.shape, 3), 2, 20), -1, 0)[None]).float()
    canonical = torch.from_numpy(np.ascontiguousarray(moving.to_canonical(array)))[None]
    ours = warp_volume(Volume(canonical, moving.canonical_grid), u, grid, fill=0.0).data[0]
    field = to_l2r(u, fixed, moving)
    theirs = map_coordinates(array, np.moveaxis(field + np.stack(np.indices(SHAPE), -1), -1, 0), order=1, cval=np.nan)
    inside = ~np.isnan(theirs)
    assert inside.mean() > 0.3
    np.testing.assert_allclose(fixed.from_canonical(ours.numpy())[inside], theirs[inside], atol=1e-3 * np.ptp(array))
    torch.testing.assert_close(from_l2r(field, fixed, moving), u, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["disp.npz", "disp.nii.gz"])
def test_written_and_read_again(tmp_path, name):
    layout = NativeGrid(SHAPE, AFFINES["PIR"])
    u = torch.from_numpy(np.moveaxis(smooth((*layout.canonical_grid.shape, 3), 2, 20), -1, 0)[None]).float()
    write_l2r_field(u, layout, layout, tmp_path / name)
    field = read_l2r_field(tmp_path / name, SHAPE)
    assert field.shape == (*SHAPE, 3)
    assert (from_l2r(field, layout, layout) - u).abs().max() < 5e-3  # float16
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_submission_is_rounded_by_1_64_voxel_at_most(tmp_path):
    layout = NativeGrid(SHAPE, AFFINES["RAS"])
    u = torch.rand(1, 3, *SHAPE, generator=torch.Generator().manual_seed(0)) * 128 - 64
    write_l2r_field(u, layout, layout, tmp_path / "disp.npz", np.float16)
    with np.load(tmp_path / "disp.npz") as content:
        assert content["arr_0"].dtype == np.float16 and content["arr_0"].shape == (*SHAPE, 3)
        small = np.abs(to_l2r(u, layout, layout)) < 8
        error = np.abs(content["arr_0"] - to_l2r(u, layout, layout))
    assert 1 / 100 < error.max() <= 1 / 64 and 1 / 1000 < error[small].max() <= 1 / 512


@pytest.mark.parametrize("first", [True, False])
def test_half_resolution_as_submissions_are(tmp_path, first):
    x = np.linspace(-1, 1, 9)[:, None, None, None]
    half = np.broadcast_to(4 * x + np.array([1.0, 2.0, 3.0]), (9, 8, 7, 3))
    np.savez(tmp_path / "disp.npz", (np.moveaxis(half, -1, 0) if first else half).astype(np.float16))
    field = read_l2r_field(tmp_path / "disp.npz", SHAPE)
    assert field.shape == (*SHAPE, 3)
    expected = 4 * np.linspace(-1, 1, 18)[:, None, None, None] + np.array([1.0, 2.0, 3.0])
    # The spline of order 2 that the challenge uses bends a little at the ends.
    np.testing.assert_allclose(field[5:-5], np.broadcast_to(expected, field.shape)[5:-5], atol=0.02)
    np.testing.assert_allclose(field, np.broadcast_to(expected, field.shape), atol=0.2)


def test_fields_that_cannot_be_used(tmp_path):
    def refused(match):
        with pytest.raises(UserError, match=match):
            read_l2r_field(path, SHAPE)

    path = tmp_path / "disp.npz"
    refused("there is no file")
    path.write_bytes(b"hello")
    refused("not a readable .npz")
    np.savez(path, np.zeros((*SHAPE, 3)), np.zeros(3))
    refused("holds 2 arrays")
    np.savez(path, np.zeros(SHAPE))
    refused("must have shape")
    np.savez(path, np.zeros((5, 5, 5, 3)))
    refused("neither its size nor half")
    np.savez(path, np.full((*SHAPE, 3), np.nan))
    refused("NaN")
    np.savez(path, np.full((*SHAPE, 3), 60.0))
    refused("up to 60 voxels in an image of .* must be in voxels")
    path = tmp_path / "disp.nii.gz"
    nib.save(nib.Nifti1Image(np.zeros(SHAPE), np.eye(4)), path)
    refused("must have shape")
