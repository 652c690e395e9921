"""What the solvers share: levels, weights, progress, crop."""

from __future__ import annotations

import pytest
import torch

from mmreg_lightning.errors import UserError
from mmreg_lightning.solvers.protocol import (
    crop,
    pooling_factors,
    short_axes_note,
    step_counter,
    total_weight,
    weighted_pyramid,
)


def test_factors_run_from_coarse_to_fine():
    assert pooling_factors((4, 2, 2, 1)) == [4, 2, 2, 1]
    assert pooling_factors([3]) == [3]


@pytest.mark.parametrize("levels", [(), (1, 2), (2, 0), (2.0, 1), 4, "21"], ids=str)
def test_unusable_factors(levels):
    with pytest.raises(UserError, match="solver.levels=.*coarse to fine"):
        pooling_factors(levels)


def test_steps_are_counted():
    seen = []
    step_done = step_counter(2, lambda done, total: seen.append((done, total)))
    step_done(), step_done()
    assert seen == [(1, 2), (2, 2)]
    step_counter(2, None)()  # nobody is told


def test_the_moving_weight_moves_with_the_displacement():
    fixed, moving = torch.full((1, 1, 4, 4, 4), 0.5), torch.ones(1, 1, 4, 4, 4)
    moving[:, :, 2:] = 0
    u = torch.zeros(1, 3, 4, 4, 4)
    u[:, 0] = 1.0
    assert total_weight(None, None, u) is None
    assert total_weight(fixed, None, u) is fixed
    torch.testing.assert_close(total_weight(None, moving, u)[0, 0, :, 0, 0], torch.tensor([1.0, 0, 0, 0]))
    torch.testing.assert_close(total_weight(fixed, moving, u)[0, 0, :, 0, 0], torch.tensor([0.5, 0, 0, 0]))


def test_levels_hold_the_weights_that_were_given():
    f, m, w, mw = (torch.full((1, 1, 8, 8, 8), float(n)) for n in range(4))
    for given in [(w, mw), (w, None), (None, mw), (None, None)]:
        for factor, level in zip((2, 1), weighted_pyramid(f, m, *given, (2, 1)), strict=True):
            for source, pooled in zip((f, m, *given), level, strict=True):
                assert (pooled is None) == (source is None)
                if pooled is not None:
                    assert pooled.shape[2:] == (8 // factor,) * 3 and pooled.mean() == source.mean()


def test_crop_scales_values_and_cuts_what_was_lengthened():
    level = torch.ones(1, 3, 5, 5, 5)  # covers 10 voxels of a grid of 9
    torch.testing.assert_close(crop(level, 2, (9, 10, 9)), torch.full((1, 3, 9, 10, 9), 2.0))
    thin = torch.ones(1, 3, 5, 5, 6)  # the last axis was not halved
    scale = torch.tensor([2.0, 2.0, 1.0]).view(1, 3, 1, 1, 1)
    torch.testing.assert_close(crop(thin, 2, (9, 10, 6)), scale.expand(1, 3, 9, 10, 6))


class Pyramid:
    """A solver with these levels."""

    levels = (4, 2, 1)


def test_a_short_axis_is_told():
    assert short_axes_note(Pyramid(), (16, 20, 16)) is None
    assert short_axes_note(object(), (4, 4, 4)) is None  # without a pyramid
    assert short_axes_note(Pyramid(), (7, 20, 12)) == (
        "The features have only 7, 12 voxels along I, K (RAS+ axes), so the solver's coarsest level averages 1, 2 of "
        "them instead of 4."
    )
