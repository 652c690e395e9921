"""Features of one image: effect sizes, order of clusters, similarity to a point."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from mmreg_lightning.errors import UserError
from mmreg_lightning.geometry.grid import Grid
from mmreg_lightning.geometry.volume import Volume
from mmreg_lightning.inspection.maps import MappedImage, clustered_order, effect_sizes, organ_effects, similarity


def mapped(features: torch.Tensor, labels: torch.Tensor | None = None) -> MappedImage:
    """Features of stride 1 on a grid of 2 mm."""
    shape = tuple(features.shape[1:])
    grid = Grid(shape, np.diag([2.0, 2, 2, 1]))
    volume = Volume(torch.zeros(1, *shape), grid)
    own = None if labels is None else Volume(labels[None], grid)
    return MappedImage(volume, "MR", torch.zeros(shape), features, grid, own)


def test_the_most_similar_place_is_found():
    features = torch.rand(4, 8, 7, 6)
    found = similarity(mapped(features), (3, 2, 4), mapped(features.roll((2, 1), (1, 3))))
    assert found.match_voxel == pytest.approx([5, 2, 5]) and found.match_world == pytest.approx([10, 4, 10])
    assert found.world == pytest.approx([6, 4, 8])
    assert float(found.map[5, 2, 5]) == pytest.approx(1) and float(found.map.median()) == pytest.approx(
        np.exp(-1), rel=1e-2
    )


def test_a_point_outside_is_refused():
    scene = mapped(torch.rand(2, 4, 4, 4))
    with pytest.raises(UserError, match="point=1 9 1: lies outside the image of .4, 4, 4. voxels"):
        similarity(scene, (1, 9, 1), scene)


def test_a_channel_that_is_an_organ_answers_to_it():
    labels = torch.zeros(6, 6, 6, dtype=torch.long)
    labels[:2], labels[4:] = 3, 5
    # Two constant values: 0 and 1 within 3; 1 and 0 elsewhere has no spread, so noise of a known variance is added.
    noise = torch.where(torch.arange(6) % 2 == 0, 0.1, -0.1).expand(6, 6, 6)
    found = organ_effects(mapped(torch.stack([(labels == 3).float() + noise, noise]), labels))
    assert found is not None and set(found) == {3, 5}
    # Means differ by 1; the noise has the variance 0.01 n / (n - 1), n being 72 voxels inside and 144 outside.
    spread = math.sqrt(0.01 * (72 / 71 + 144 / 143) / 2)
    assert found[3] == pytest.approx([1 / spread, 0], abs=1e-5)
    assert organ_effects(mapped(torch.rand(2, 6, 6, 6))) is None


def test_the_title_and_the_focus_of_an_image():
    labels = torch.zeros(6, 6, 6, dtype=torch.long)
    labels[2:4, 1, 5] = 7
    image = mapped(torch.zeros(1, 6, 6, 6), labels)
    assert image.title == "MR image"
    assert image.focus == pytest.approx([5, 2, 10])  # voxel (2.5, 1, 5), 2 mm each
    assert image.from_centre(image.focus) == pytest.approx([0, -3, 5])  # the centre is at 5 mm
    assert mapped(torch.zeros(1, 6, 6, 6)).focus == pytest.approx([5, 5, 5])


def test_is_the_difference_of_means_in_standard_deviations():
    # Within: 4 and 6 (mean 5, variance 2); without: 0, 2, 0, 2 (mean 1, variance 4/3).
    features = torch.tensor([[4.0, 6.0, 0.0, 2.0, 0.0, 2.0], [1.0] * 6]).view(2, 6, 1, 1)
    labels = torch.tensor([7, 7, 0, 0, 0, 0]).view(6, 1, 1)
    table = effect_sizes(features, labels, [7, 9])
    assert table[0, 0] == pytest.approx(4 / math.sqrt((2 + 4 / 3) / 2))
    assert table[1, 0] == 0
    assert np.isnan(table[:, 1]).all()


def test_alike_rows_lie_side_by_side():
    rows, columns = clustered_order(np.array([[0.0, 9], [5, 0], [0, 8], [5, 1]]))
    assert {frozenset(rows[:2]), frozenset(rows[2:])} == {frozenset({0, 2}), frozenset({1, 3})}
    assert columns == [0, 1]
