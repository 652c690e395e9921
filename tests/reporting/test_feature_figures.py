from __future__ import annotations

import numpy as np
import pytest
import torch

from mmreg_lightning.geometry.grid import Grid
from mmreg_lightning.reporting.feature_figures import (
    FeaturePicture,
    draw_channels,
    draw_colours,
    draw_effects,
    draw_similarity,
)

GRID = Grid((8, 6, 4), np.array([[0, -2.0, 0, 10], [2.0, 0, 0, -5], [0, 0, 2.0, 3], [0, 0, 0, 1]]))


def picture(channels: int = 10) -> FeaturePicture:
    features = torch.arange(float(channels)).view(-1, 1, 1, 1).expand(channels, 4, 3, 2)
    colours = torch.rand(3, 4, 3, 2)
    return FeaturePicture("MR a", torch.rand(8, 6, 4), GRID, features, GRID.pooled(2), colours, point=GRID.center)


def test_focus_is_along_the_axes_of_the_image() -> None:
    # Axis I goes along the world's second axis, J against the first.
    point = GRID.center + [1.0, 2.0, 3.0]
    shown = FeaturePicture(
        "", torch.rand(8, 6, 4), GRID, torch.rand(1, 4, 3, 2), GRID.pooled(2), torch.rand(3, 4, 3, 2)
    )
    assert np.array_equal(shown.focus, [0, 0, 0])
    moved = FeaturePicture("", shown.image, GRID, shown.features, shown.feature_grid, shown.colours, point=point)
    assert np.allclose(moved.focus, [2, -1, 3])


@pytest.mark.parametrize("channels", [1, 8, 10])
def test_every_channel_is_drawn_once_in_each_plane(channels: int) -> None:
    figure = draw_channels(picture(channels), 0, 10)
    panels = [axes for axes in figure.axes if axes.images and axes.get_visible()]
    shown = [float(axes.images[0].get_array().mean()) for axes in panels if axes.images[0].get_cmap().name == "viridis"]
    assert sorted(shown) == [float(n) for n in range(channels) for _ in range(3)]
    titles = {axes.get_title(): axes for axes in panels if axes.get_title()}
    for channel in range(channels):
        assert titles[f"channel {channel}"].images[0].get_array().max() == channel
    blocks = -(-channels // 8)
    assert len(panels) == 3 * (channels + blocks)
    assert {axes.images[0].get_clim() for axes in panels} == {(0, 1), (0, 10)}


def test_colours_are_beside_their_image() -> None:
    first, second = picture(), picture()
    figure = draw_colours([first, second])
    shapes = [axes.images[0].get_array().shape for axes in figure.axes[:4]]
    assert shapes == [(6, 8), (3, 4, 3), (6, 8), (3, 4, 3)]
    middle = second.colours[:, :, :, 1].permute(2, 1, 0).numpy()  # between two voxels the even one is taken
    even = second.colours[:, :, :, 0].permute(2, 1, 0).numpy()
    drawn = figure.axes[3].images[0].get_array()
    assert np.array_equal(drawn, even) and not np.array_equal(drawn, middle)
    assert figure.axes[0].get_title() == "MR a" and figure.axes[1].get_title() == "features, common colours"
    assert figure.axes[0].get_ylabel() == "axial\nP – A" and figure.axes[0].get_xlabel() == "R – L"


def test_effects_are_in_the_order_asked_for() -> None:
    tables = [np.arange(6.0).reshape(3, 2), np.full((3, 2), np.nan)]
    tables[1][0] = 50
    figure = draw_effects(tables, ["MR a", "CT b"], ["liver", "spleen"], ([2, 0, 1], [1, 0]))
    left, right = figure.axes[:2]
    assert left.images[0].get_array().tolist() == [[5, 4], [1, 0], [3, 2]]
    assert [label.get_text() for label in left.get_xticklabels()] == ["spleen", "liver"]
    assert [label.get_text() for label in left.get_yticklabels()] == ["2", "0", "1"]
    assert right.get_title() == "CT\nb"
    # One scale for both, symmetric about no effect.
    assert left.images[0].get_clim() == right.images[0].get_clim()
    low, high = left.images[0].get_clim()
    assert low == -high and 5 < high <= 50


def test_similarity_marks_the_point_and_its_match() -> None:
    alike = torch.rand(4, 3, 2)
    figure = draw_similarity(picture(), (1.0, -2.0, 0.5), picture(), alike, (-3.0, 4.0, 1.0))
    axial, coronal = figure.axes[:3], figure.axes[3:6]
    marks = [tuple(float(v[0]) for v in axes.lines[0].get_data()) for axes in (*axial, *coronal)]
    assert marks == [(1, -2), (-3, 4), (-3, 4), (1, 0.5), (-3, 1), (-3, 1)]
    assert np.array_equal(axial[2].images[0].get_array(), alike[:, :, 1].T)
    assert axial[0].get_title() == "MR a\nthe point" and axial[1].get_title() == "MR a\nits best match"
