from __future__ import annotations

import dataclasses
from pathlib import Path

import matplotlib.colors
import matplotlib.image
import numpy as np
import pytest
import torch

from mmreg_lightning.reporting.pair_figure import (
    ALL,
    DISPLACEMENT,
    FEATURES,
    FIXED,
    FIXED_COLOUR,
    FIXED_MASK_COLOUR,
    MOVING,
    MOVING_COLOUR,
    MOVING_MASK_COLOUR,
    WARPED,
    PairPicture,
    checkerboard,
    draw_pair,
)


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
def test_the_figure_can_be_drawn(pair_picture: PairPicture, tmp_path: Path, columns, labelled: bool) -> None:
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


def test_no_displacement_and_constant_images_are_no_problem(pair_picture: PairPicture, tmp_path: Path) -> None:
    still = dataclasses.replace(
        pair_picture,
        moving=torch.zeros(16, 12, 10),
        displacement=torch.zeros(3, 16, 16, 16),
        warped_features=torch.zeros(4, 8, 8, 8),
        fixed_features=torch.zeros(4, 8, 8, 8),
    )
    draw_pair(still, "").savefig(tmp_path / "x.png")


def test_outlines_and_legend_tell_fixed_from_moving(pair_picture: PairPicture) -> None:
    figure = draw_pair(pair_picture, "", [FIXED, WARPED])
    fixed, warped = figure.axes[:2]
    assert len(fixed.collections) == 1 and len(warped.collections) == 2
    colours = [matplotlib.colors.to_hex(c.get_edgecolor()[0]) for c in warped.collections]
    assert colours == [FIXED_COLOUR.lower(), MOVING_COLOUR.lower()]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["labels of fixed", "labels of moving"]
    plain = dataclasses.replace(pair_picture, fixed_labels=None, moving_labels=None, warped_labels=None)
    assert not draw_pair(plain, "", [FIXED, WARPED]).legends


def test_each_mask_is_outlined_on_its_image_in_a_colour_of_its_own(pair_picture: PairPicture) -> None:
    masks = [torch.zeros(16, 12, 10, dtype=torch.bool) for _ in range(3)]
    for n, mask in enumerate(masks):
        mask[2 + n : 14, 2:10, 1:9] = True
    plain = dataclasses.replace(pair_picture, fixed_labels=None, moving_labels=None, warped_labels=None)
    masked = dataclasses.replace(plain, fixed_mask=masks[0], moving_mask=masks[1], warped_mask=masks[2])
    figure = draw_pair(masked, "", [FIXED, MOVING, WARPED])
    colours = [FIXED_MASK_COLOUR, MOVING_MASK_COLOUR, MOVING_MASK_COLOUR]
    for n, (ax, colour) in enumerate(zip(figure.axes[:3], colours, strict=True)):
        (outline,) = ax.collections
        assert matplotlib.colors.to_hex(outline.get_edgecolor()[0]) == colour.lower()
        (path,) = outline.get_paths()
        # Voxels 2 + n to 13 and 2 to 9 of 16 and 12, half a voxel further out, spacing 2 mm.
        assert np.allclose(path.vertices.min(axis=0), [(1.5 + n - 7.5) * 2, (1.5 - 5.5) * 2])
        assert np.allclose(path.vertices.max(axis=0), [(13.5 - 7.5) * 2, (9.5 - 5.5) * 2])
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["mask of fixed", "mask of moving"]
    assert len({FIXED_COLOUR, MOVING_COLOUR, FIXED_MASK_COLOUR, MOVING_MASK_COLOUR}) == 4
    labelled = dataclasses.replace(pair_picture, moving_mask=masks[1])
    figure = draw_pair(labelled, "", [FIXED, MOVING])
    assert [len(ax.collections) for ax in figure.axes[:2]] == [1, 3]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "labels of fixed",
        "labels of moving",
        "mask of moving",
    ]


def test_an_outline_runs_around_its_label(pair_picture: PairPicture) -> None:
    axial = draw_pair(pair_picture, "", [FIXED]).axes[0]
    (outline,) = axial.collections
    # Labels fill the voxels 4 to 8 and 3 to 6 of 16 and 12; the outline is half a voxel further out, spacing 2 mm.
    (path,) = outline.get_paths()
    low, high = path.vertices.min(axis=0), path.vertices.max(axis=0)
    assert np.allclose(low, [(3.5 - 7.5) * 2, (2.5 - 5.5) * 2]) and np.allclose(
        high, [(8.5 - 7.5) * 2, (6.5 - 5.5) * 2]
    )


def test_the_deformation_grid_is_moved_by_the_displacement(pair_picture: PairPicture) -> None:
    shift = torch.tensor([3.0, -1.0, 0.0]).view(3, 1, 1, 1).expand(3, 16, 16, 16)
    axial = draw_pair(dataclasses.replace(pair_picture, displacement=shift), "", [DISPLACEMENT]).axes[0]
    # Along I the first line has its points at the voxels -15, -13, ... 15 mm, moved by 3 mm; its J is -15 - 1 mm.
    x, y = axial.lines[0].get_data()
    assert np.allclose(x, np.arange(-15, 16, 2) + 3) and np.allclose(y, -16)
    assert np.allclose(axial.images[0].get_array(), np.sqrt(10))


def test_the_displacement_scale_ends_at_the_99th_percentile(pair_picture: PairPicture) -> None:
    displacement = torch.zeros(3, 10, 10, 10)
    displacement[0] = torch.arange(1000.0).view(10, 10, 10)
    assert dataclasses.replace(pair_picture, displacement=displacement).displacement_limit == 989


def test_confidence_is_a_column_where_there_is_one(pair_picture: PairPicture) -> None:
    sure = dataclasses.replace(pair_picture, confidence=torch.full((8, 8, 8), 0.25))
    titles = [axes.get_title() for axes in draw_pair(sure, "").axes if axes.get_title()]
    assert titles == [*(column.title for column in ALL), "confidence"]
    last = [axes for axes in draw_pair(sure, "").axes if axes.get_title() == "confidence"][0]
    assert (last.images[0].get_array() == 0.25).all() and last.images[0].get_clim() == (0, 1)


def test_the_scale_in_millimetres_has_round_steps(pair_picture: PairPicture) -> None:
    axial, _, coronal = draw_pair(pair_picture, "", [FIXED, WARPED]).axes[:3]
    assert axial.get_yticks().tolist() == [-10, -5, 0, 5, 10]  # 24 mm: a quarter is 6
    assert coronal.get_yticks().tolist() == [-15, -10, -5, 0, 5, 10, 15]  # 30 mm
