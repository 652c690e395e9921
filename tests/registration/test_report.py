from __future__ import annotations

import dataclasses
import math

import matplotlib.image
import numpy as np
import pytest
import torch

from mmreg_lightning.evaluation.scores import Scores
from mmreg_lightning.registration.report import score_tables, summary
from mmreg_lightning.reporting.colours import pca_colours
from mmreg_lightning.reporting.pair_figure import ALL, FEATURES, PairPicture, checkerboard, draw_pair
from mmreg_lightning.reporting.planes import AXIAL, CORONAL, SAGITTAL, cut, extent


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


def test_planes_show_the_axes_they_name() -> None:
    i, j, k = torch.meshgrid(torch.arange(4), torch.arange(5), torch.arange(6), indexing="ij")
    volume = 100 * i + 10 * j + k
    spacing = (1.0, 2.0, 3.0)
    # The voxel nearest to the position: (n - 1) / 2 + position / spacing.
    assert np.array_equal(cut(volume, AXIAL, spacing, 7.5)[2], [25, 125, 225, 325])
    assert np.array_equal(cut(volume, CORONAL, spacing, -4.0)[1], [1, 101, 201, 301])
    assert np.array_equal(cut(volume, SAGITTAL, spacing, 99.0)[0], [300, 310, 320, 330, 340])
    assert cut(torch.stack([volume, volume, volume]), CORONAL, spacing, 0).shape == (6, 4, 3)
    assert extent(volume.shape, spacing, SAGITTAL) == (-5, 5, -9, 9)


def test_checkerboard_takes_both_images_in_turn() -> None:
    board = checkerboard(torch.zeros(12, 12, 12), torch.ones(12, 12, 12), (1.0, 1.0, 1.0))
    assert board[:, 0, 0].tolist() == [0, 0, 1, 1] * 3
    assert board[0, 2, :].tolist() == [1, 1, 0, 0] * 3
    # Fields are cubes in millimetres: with spacing 2 one voxel along that axis is a field.
    board = checkerboard(torch.zeros(12, 6, 12), torch.ones(12, 6, 12), (1.0, 2.0, 1.0))
    assert board[0, :, 0].tolist() == [0, 1, 0, 1, 0, 1]


@pytest.fixture
def pair_picture() -> PairPicture:
    torch.manual_seed(0)
    labels = torch.zeros(16, 12, 10, dtype=torch.long)
    labels[4:9, 3:7, 2:6] = 1
    return PairPicture(
        fixed=torch.rand(16, 12, 10),
        moving=torch.rand(16, 12, 10),
        warped=torch.rand(16, 12, 10),
        spacing=(2.0, 2.0, 3.0),
        displacement=torch.randn(3, 16, 16, 16),
        displacement_spacing=(2.0, 2.0, 2.0),
        fixed_features=torch.rand(4, 8, 8, 8),
        warped_features=torch.rand(4, 8, 8, 8),
        feature_spacing=(4.0, 4.0, 4.0),
        fixed_labels=labels,
        moving_labels=labels,
        warped_labels=labels,
    )


def test_planes_cross_in_the_middle_of_the_labels(pair_picture: PairPicture) -> None:
    # Middle voxel (6, 4.5, 3.5), centre (7.5, 5.5, 4.5), spacing (2, 2, 3).
    assert np.allclose(pair_picture.focus(), [-3, -2, -3])
    empty = dataclasses.replace(pair_picture, fixed_labels=None)
    assert np.array_equal(empty.focus(), [0, 0, 0])


@pytest.mark.parametrize("columns", [ALL, FEATURES], ids=["all", "features"])
@pytest.mark.parametrize("labelled", [True, False])
def test_the_figure_can_be_drawn(pair_picture: PairPicture, tmp_path, columns, labelled: bool) -> None:
    if not labelled:
        pair_picture = dataclasses.replace(pair_picture, fixed_labels=None, moving_labels=None, warped_labels=None)
    figure = draw_pair(pair_picture, "a title", columns)
    bars = sum(column.bar is not None for column in columns)
    assert len(figure.axes) == 3 * len(columns) + bars
    titles = [ax.get_title() for ax in figure.axes if ax.get_title()]
    assert titles == [column.title for column in columns]
    if bars:
        assert any(ax.get_xlabel() == "displacement (mm)" for ax in figure.axes)
    figure.savefig(tmp_path / "x.png")
    image = matplotlib.image.imread(tmp_path / "x.png")
    assert image.shape[1] > 900 and image.std() > 0.1


def test_the_patients_right_is_on_the_left(pair_picture: PairPicture) -> None:
    figure = draw_pair(pair_picture, "", FEATURES)
    axial = figure.axes[0]
    assert axial.get_xlim() == (16.0, -16.0)
    assert axial.get_ylim() == (-12.0, 12.0)
    assert [text.get_text() for text in axial.texts] == ["R", "L"]


def test_no_displacement_and_constant_images_are_no_problem(pair_picture: PairPicture, tmp_path) -> None:
    still = dataclasses.replace(
        pair_picture,
        moving=torch.zeros(16, 12, 10),
        displacement=torch.zeros(3, 16, 16, 16),
        warped_features=torch.zeros(4, 8, 8, 8),
        fixed_features=torch.zeros(4, 8, 8, 8),
    )
    draw_pair(still, "").savefig(tmp_path / "x.png")


def test_summary_says_what_was_measured() -> None:
    dice = [{"mean": m, "per_label": {"a": m, "b": math.nan}} for m in (0.5, 0.75)]
    assert summary(Scores(*dice, 8.0, 4.126, 0.01, 0.1234)) == (
        "Dice 0.500 → 0.750 (1 label), TRE 8.00 → 4.13 mm, folds 0.01 %, SD log J 0.123"
    )
    assert summary(Scores(None, None, None, None, 0.0, 0.1)) == "folds 0.00 %, SD log J 0.100"


def test_tables_say_what_was_measured() -> None:
    dice = [{"mean": m, "per_label": {"a": m, "b": math.nan}} for m in (0.5, 0.75)]
    tables = score_tables(Scores(*dice, 8.0, 4.126, 0.01, 0.1234), {"read": 0.5, "resample_field": 1.25})
    assert [heading for heading, _ in tables] == ["Measures", "Dice of each organ", "Seconds by stage"]
    measures, organs, stages = (rows for _, rows in tables)
    assert measures == [
        ["", "before", "after"],
        ["Dice, mean of 1 label", "0.500", "0.750"],
        ["Landmark error (TRE), mm", "8.00", "4.13"],
        ["Folds, % of voxels", "–", "0.010"],
        ["SD of log J", "–", "0.123"],
        ["Seconds until this report", "–", "1.8"],
    ]
    assert organs == [["", "before", "after"], ["a", "0.500", "0.750"], ["b", "–", "–"]]
    assert stages == [["", "s"], ["read", "0.5"], ["resample field", "1.2"]]
    few = score_tables(Scores(None, None, None, None, 0.0, 0.1), {"solver": 2.0})
    assert [heading for heading, _ in few] == ["Measures", "Seconds by stage"]
    assert [row[0] for row in few[0][1]] == ["", "Folds, % of voxels", "SD of log J", "Seconds until this report"]
