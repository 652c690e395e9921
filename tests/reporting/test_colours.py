from __future__ import annotations

import torch

from mmreg_lightning.reporting.colours import pca_colours


def test_colours_mean_the_same_in_both_maps() -> None:
    torch.manual_seed(0)
    features = torch.rand(5, 4, 6, 3)
    # A part of the same map keeps its colours.
    first, second = pca_colours(features, features[:, :, :2])
    assert first.shape == (3, 4, 6, 3)
    assert torch.equal(first[:, :, :2], second)
    assert first.min() == 0 and first.max() == 1


def test_the_first_component_is_the_direction_of_most_variance() -> None:
    ramp = torch.linspace(0, 1, 101).view(1, 101, 1, 1)
    first, _ = pca_colours(
        torch.cat([0.01 * ramp.flip(1) ** 2, 3 * ramp, torch.zeros_like(ramp)]), torch.zeros(3, 1, 1, 1)
    )
    red = first[0].flatten()
    assert bool((red.diff() >= 0).all()) and red[0] == 0 and red[-1] == 1
    assert bool((first[2] == 0.5).all())


def test_one_channel_is_enough() -> None:
    first, _ = pca_colours(torch.rand(1, 4, 4, 4), torch.rand(1, 4, 4, 4))
    assert bool((first[1:] == 0.5).all())


def test_a_few_outliers_do_not_grey_the_rest() -> None:
    values = torch.linspace(0, 1, 1000)
    values[-5:] = 1000
    red = pca_colours(values.view(1, 1000, 1, 1), torch.zeros(1, 1, 1, 1))[0][0].flatten()
    assert red[-1] == 1 and 0.45 < red[500] < 0.55
