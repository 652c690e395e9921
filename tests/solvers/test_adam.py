"""The energy of instance optimisation against closed forms, and its descent."""

from __future__ import annotations

import pytest
import torch

from mmreg_lightning.errors import UserError
from mmreg_lightning.functional.warp import identity_grid, warp
from mmreg_lightning.solvers.adam import AdamRefinement, AdamSolver, diffusion_energy, feature_ssd


def test_feature_ssd_sums_channels_and_averages_trusted_voxels() -> None:
    fixed, warped = torch.zeros(2, 1, 2, 2, 2, 2)
    fixed[:, 0, 0], fixed[:, 1, 0] = 1.0, 2.0  # 1 + 4 in half of the voxels
    assert feature_ssd(fixed, warped).item() == 2.5
    weight = torch.zeros(1, 1, 2, 2, 2)
    weight[:, :, 0] = 0.5
    assert feature_ssd(fixed, warped, weight).item() == 5.0
    assert feature_ssd(fixed, warped, 0 * weight).item() == 0.0


def test_diffusion_energy_of_a_linear_field() -> None:
    i, j, k = identity_grid((4, 5, 6))[0]
    field = torch.stack([2 * i, 3 * j - k, torch.ones_like(i)])[None]
    assert diffusion_energy(field).item() == pytest.approx(4 + 9 + 1)
    assert diffusion_energy(torch.ones(1, 3, 4, 4, 4)).item() == 0


def test_refinement_lowers_its_energy(moved) -> None:
    fixed, moving, t = moved((24, 24, 24), (1.0, -1.0, 0.5))
    start = torch.zeros(1, 3, 24, 24, 24)
    found = AdamRefinement(iterations=60)(fixed, moving, start)
    assert feature_ssd(fixed, warp(moving, found)) < 0.1 * feature_ssd(fixed, moving)
    assert (found - t)[..., 8:-8, 8:-8, 8:-8].abs().mean() < 0.2


def test_a_stiff_field_is_a_translation(moved) -> None:
    fixed, moving, _ = moved((16, 16, 16), (1.0, 0.0, 0.0))
    start = torch.randn(1, 3, 16, 16, 16)
    rough = AdamRefinement(weight=0.0, iterations=40)(fixed, moving, start)
    stiff = AdamRefinement(weight=1e4, iterations=40)(fixed, moving, start)
    assert diffusion_energy(stiff) < 0.1 * diffusion_energy(rough)


@pytest.mark.parametrize("levels", [(), (1, 2), (2, 0), (2.0, 1)], ids=str)
def test_unusable_levels(levels) -> None:
    with pytest.raises(UserError, match="solver.levels="):
        AdamSolver(AdamRefinement(), levels)


@pytest.mark.parametrize("side", [2, 3, 5])
def test_a_short_axis_keeps_two_voxels_of_the_control_grid(moved, side) -> None:
    fixed, moving, _ = moved((24, 24, side), (1.0, -1.0, 0.0))
    u = AdamSolver(AdamRefinement(iterations=20, control_spacing=4), levels=(2, 1))(fixed, moving)
    assert u.shape == (1, 3, 24, 24, side) and torch.isfinite(u).all()
    assert (fixed - warp(moving, u)).square().mean() < 0.5 * (fixed - moving).square().mean()
