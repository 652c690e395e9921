from __future__ import annotations

import numpy as np
import pytest
import torch

from mmreg_lightning.geometry.grid import Grid
from mmreg_lightning.geometry.transform import then_affine, vote_labels, warp_volume
from mmreg_lightning.geometry.volume import Volume


def ramp(grid: Grid) -> Volume:
    """R + 2 A + 3 S in world mm at every voxel: linear interpolation reproduces it."""
    voxels = np.stack(np.meshgrid(*(np.arange(n) for n in grid.shape), indexing="ij"), axis=-1)
    world = voxels @ grid.affine[:3, :3].T + grid.affine[:3, 3]
    return Volume(torch.from_numpy((world @ [1.0, 2.0, 3.0]).astype(np.float32))[None], grid)


@pytest.fixture
def fixed() -> Grid:
    return Grid((6, 5, 4), np.array([[2.0, 0, 0, 1], [0, 3.0, 0, -4], [0, 0, 1.5, 2], [0, 0, 0, 1]]))


@pytest.fixture
def moving(oblique: np.ndarray) -> Grid:
    affine = oblique.copy()
    affine[:3, 3] = (-40, -40, -40)
    return Grid((60, 50, 90), affine)


def test_warping_samples_the_moving_image_in_the_world(fixed: Grid, moving: Grid) -> None:
    u = torch.tensor([0.5, -1.0, 2.0]).view(1, 3, 1, 1, 1).expand(1, 3, *fixed.shape)
    warped = warp_volume(ramp(moving), u, fixed)
    # 0.5 voxels of 2 mm, -1 of 3 mm and 2 of 1.5 mm are 1, -3 and 3 mm: the ramp rises by 1 - 6 + 9.
    assert torch.allclose(warped.data, ramp(fixed).data + 4, atol=1e-3)


def test_warping_in_slabs_is_seamless(fixed: Grid, moving: Grid, monkeypatch: pytest.MonkeyPatch) -> None:
    u = torch.rand(1, 3, *fixed.shape)
    whole = warp_volume(ramp(moving), u, fixed).data
    monkeypatch.setattr("mmreg_lightning.geometry.sampling._POINTS_AT_ONCE", 40)
    assert torch.allclose(warp_volume(ramp(moving), u, fixed).data, whole, atol=1e-3)


def test_labels_keep_their_ids_and_are_0_outside(fixed: Grid) -> None:
    labels = Volume(torch.full((1, *fixed.shape), 70_001), fixed)
    u = torch.zeros(1, 3, *fixed.shape)
    u[:, 0, 3:] = 3.0
    warped = warp_volume(labels, u, fixed, "nearest").data[0]
    assert warped.dtype == torch.int64
    assert bool((warped[:3] == 70_001).all()) and bool((warped[3:] == 0).all())


def test_outside_is_the_smallest_value_or_what_was_asked_for(fixed: Grid) -> None:
    image = Volume(torch.arange(120.0).view(1, *fixed.shape) - 7, fixed)
    u = torch.full((1, 3, *fixed.shape), 99.0)
    assert bool((warp_volume(image, u, fixed).data == -7).all())
    assert bool((warp_volume(image, u, fixed, fill=5.0).data == 5).all())


def test_a_displacement_of_another_grid_is_refused(fixed: Grid) -> None:
    with pytest.raises(ValueError, match="displacement of shape"):
        warp_volume(ramp(fixed), torch.zeros(1, 3, 2, 2, 2), fixed)


def test_affine_after_a_displacement(fixed: Grid) -> None:
    u = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1, 1).expand(1, 3, *fixed.shape)
    affine = np.diag([1.0, 2.0, 1.0, 1.0])
    affine[:3, 3] = (4, 0, 3)
    out = then_affine(u, fixed, affine)[0]
    # World: (x + 2, y, z) -> (x + 6, 2 y, z + 3); y = 3 j - 4 grows by y, which is j - 4/3 voxels.
    assert torch.allclose(out[0], torch.tensor(3.0))
    assert torch.allclose(out[1], (torch.arange(5.0) - 4 / 3).view(1, 5, 1).expand(6, 5, 4), atol=1e-5)
    assert torch.allclose(out[2], torch.tensor(2.0))


def test_identity_changes_no_bit(fixed: Grid) -> None:
    u = torch.rand(1, 3, *fixed.shape)
    assert torch.equal(then_affine(u, fixed, np.eye(4)), u)


def test_a_vote_places_surfaces_between_voxels() -> None:
    grid = Grid((12, 6, 6), np.eye(4))
    data = torch.zeros(1, 12, 6, 6, dtype=torch.int64)
    data[0, :5], data[0, 5:9] = 70_001, 3
    coarse = Grid((4, 6, 6), np.diag([3.0, 1, 1, 1]))  # voxels at 0, 3, 6 and 9 mm
    u = torch.zeros(1, 3, 4, 6, 6)
    u[:, 0] = 1.4 / 3  # 1.4, 4.4, 7.4 and 10.4 mm: the border lies at 4.5
    voted = vote_labels(Volume(data, grid), u, coarse).data
    assert voted.dtype == torch.int64
    assert voted[0, :, 2, 2].tolist() == [70_001, 70_001, 3, 0]
