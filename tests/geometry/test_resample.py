from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import torch

from mmreg_lightning.geometry.frames import RAS_TO_LPS
from mmreg_lightning.geometry.grid import Grid
from mmreg_lightning.geometry.resample import resample_volume
from mmreg_lightning.geometry.volume import Volume
from mmreg_lightning.io.images import read_image


def ramp(shape: tuple[int, int, int], affine: np.ndarray) -> Volume:
    """The value of a voxel is R + 2 A - S of its centre, which linear interpolation reproduces exactly."""
    grid = Grid(shape, affine)
    index = np.moveaxis(np.indices(shape), 0, -1)
    world = index @ grid.affine[:3, :3].T + grid.affine[:3, 3]
    return Volume(torch.from_numpy(world @ [1.0, 2.0, -1.0]).float()[None], grid)


def test_the_same_grid_changes_nothing(picture, oblique) -> None:
    volume = Volume(torch.from_numpy(picture)[None], Grid(picture.shape, oblique))
    torch.testing.assert_close(resample_volume(volume, volume.grid).data, volume.data, atol=1e-5, rtol=0)


def test_a_ramp_is_reproduced_on_a_finer_grid(oblique) -> None:
    volume = ramp((10, 12, 14), oblique)
    fine = volume.grid.resampled((1.0, 1.5, 0.7))
    inner = (0, slice(2, -2), slice(2, -2), slice(2, -2))
    torch.testing.assert_close(
        resample_volume(volume, fine).data[inner],
        ramp(fine.shape, fine.affine).data[inner],
        atol=1e-3,
        rtol=0,
    )


def test_prefilter_follows_the_ratio_of_spacings() -> None:
    """An impulse becomes a Gaussian of sigma sqrt(3^2 - 1) / 2.3548 = 1.2011 along the coarse axis only."""
    data = torch.zeros(1, 31, 5, 5)
    data[0, 15, 2, 2] = 1
    volume = Volume(data, Grid((31, 5, 5), np.eye(4)))
    affine = np.diag([3.0, 1, 1, 1])
    out = resample_volume(volume, Grid((11, 5, 5), affine)).data[0]  # samples voxels 0, 3, .., 30
    assert float(out[4, 2, 2] / out[5, 2, 2]) == pytest.approx(np.exp(-0.5 * (3 / 1.2011) ** 2), rel=1e-3)
    assert float(out[:, [1, 3], 2].abs().max()) < 1e-6


def test_a_rotated_grid_of_the_same_spacing_is_not_smoothed() -> None:
    data = torch.zeros(1, 5, 5, 5)
    data[0, 2, 2, 2] = 1
    turn = np.array([[0.0, -1, 0, 4], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    out = resample_volume(Volume(data, Grid((5, 5, 5), np.eye(4))), Grid((5, 5, 5), turn)).data
    torch.testing.assert_close(out, data, atol=1e-5, rtol=0)


def test_outside_is_the_smallest_value_or_fill(picture) -> None:
    volume = Volume(torch.from_numpy(picture)[None] - 1000, Grid(picture.shape, np.eye(4)))
    affine = np.eye(4)
    affine[0, 3] = 8  # voxels 8, 9, 10 of 11, then outside
    grid = Grid(picture.shape, affine)
    out = resample_volume(volume, grid).data
    torch.testing.assert_close(out[:, :3], volume.data[:, 8:], atol=1e-2, rtol=0)
    assert (out[:, 3:] == volume.data.min()).all()
    assert (resample_volume(volume, grid, fill=5.0).data[:, 3:] == 5).all()


def test_labels_keep_their_ids_and_dtype() -> None:
    data = torch.zeros(1, 4, 4, 4, dtype=torch.int64)
    data[0, 1, 2, 3] = 2**31 + 1
    volume = Volume(data, Grid((4, 4, 4), np.eye(4)))
    fine = resample_volume(volume, volume.grid.resampled(0.5), mode="nearest").data
    assert fine.dtype == torch.int64
    assert (fine[0, 2:4, 4:6, 6:8] == 2**31 + 1).all()
    assert int((fine != 0).sum()) == 8


def test_transform_maps_the_new_grid_into_the_volume() -> None:
    volume = ramp((12, 12, 12), np.eye(4))
    shift = np.eye(4)
    shift[:3, 3] = (1, 0, 2)
    out = resample_volume(volume, Grid((4, 4, 4), np.eye(4)), transform=shift).data
    # R + 2 A - S of the shifted place: 1 - 2 more
    torch.testing.assert_close(out, ramp((4, 4, 4), np.eye(4)).data - 1, atol=1e-5, rtol=0)


def test_slabs_are_seamless(picture, monkeypatch: pytest.MonkeyPatch) -> None:
    volume = Volume(torch.from_numpy(picture)[None], Grid(picture.shape, np.eye(4)))
    grid = volume.grid.resampled(0.6)
    whole = resample_volume(volume, grid).data
    monkeypatch.setattr("mmreg_lightning.geometry.sampling._POINTS_AT_ONCE", 2 * grid.shape[1] * grid.shape[2])
    assert resample_volume(volume, grid).data.equal(whole)


def test_agrees_with_simpleitk(picture, oblique, save, tmp_path) -> None:
    path = save(picture, oblique, orientation=np.array([[2, -1], [0, 1], [1, -1]]))
    # another direction and a finer spacing: no prefilter, so both interpolate the same values
    fixed = read_image(
        save(np.random.default_rng(0).random((14, 17, 9), np.float32), np.diag([1, 1, 0.7, 1.0]), "fixed.nii")
    )
    affine = fixed.grid.affine.copy()
    affine[:3, 3] = read_image(path).grid.center - affine[:3, :3] @ np.array([6.5, 8, 4])
    grid = Grid(fixed.grid.shape, affine)
    turn = np.deg2rad(15)
    centre = grid.center
    rotation = np.eye(4)
    rotation[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    rotation[:3, 3] = centre - rotation[:3, :3] @ centre
    ours = resample_volume(read_image(path), grid, transform=rotation, fill=-1.0).data[0]

    moving = sitk.ReadImage(str(path))
    in_lps = RAS_TO_LPS @ rotation @ RAS_TO_LPS
    itk_transform = sitk.AffineTransform(in_lps[:3, :3].ravel().tolist(), in_lps[:3, 3].tolist())
    itk = sitk.Resample(
        moving,
        list(grid.shape),
        itk_transform,
        sitk.sitkLinear,
        (affine[:3, 3] * [-1, -1, 1]).tolist(),
        grid.spacing.tolist(),
        np.diag([-1.0, -1.0, 1.0]).ravel().tolist(),
        -1.0,
    )
    theirs = sitk.GetArrayFromImage(itk).transpose(2, 1, 0)
    assert (theirs == -1).any() and (theirs > 0).any()
    # A few voxels lie on the edge of the field of view but for rounding.
    assert (np.abs(ours.numpy() - theirs) > 1e-3).mean() < 1e-3
