"""Sampling of label maps, and what sources check."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from mmreg_lightning.errors import UserError
from mmreg_lightning.synthesis.label_map import LabelMap, check_length, check_source, compacted


def test_the_nearest_voxel_as_scipy_finds_it():
    rng = np.random.default_rng(0)
    regions = rng.integers(0, 9, (7, 8, 9)).astype(np.uint8)
    spacing = np.array([1.0, 2.0, 3.0])
    points = rng.uniform(-20, 20, (3, 5, 6, 7)).astype(np.float32)
    found = LabelMap(regions, spacing, ["any"] * 9).sample(points)
    centre = (np.array(regions.shape) - 1) / 2
    voxels = points / spacing[:, None, None, None] + centre[:, None, None, None]
    expected = map_coordinates(regions, np.clip(voxels, 0, np.array(regions.shape)[:, None, None, None] - 1), order=0)
    assert found.dtype == np.int16
    np.testing.assert_array_equal(found, expected)


def test_the_ground_shows_where_the_map_is_0():
    regions = np.zeros((4, 4, 4), np.uint8)
    regions[:2] = 1
    ground = LabelMap(np.full((2, 2, 2), 1, np.uint8), np.full(3, 2.0), ["fat", "bone"])
    own = LabelMap(regions, np.ones(3), ["air", "soft:muscle"], ground)
    points = np.array([[-1.0, 1.0], [0.0, 0.0], [0.0, 0.0]], np.float32)
    assert [own.all_tissues[i] for i in own.sample(points)] == ["soft:muscle", "bone"]
    np.testing.assert_array_equal(own.extent, [4, 4, 4])


def test_labels_become_numbers_without_gaps():
    array = np.array([[[-3, 0], [500, 7]]])
    regions, ids = compacted(array)
    assert ids[0] == 0 and regions.dtype == np.uint8 and sorted(ids) == [-3, 0, 7, 500]
    np.testing.assert_array_equal(np.array(ids)[regions], array)
    assert compacted(np.full((2, 2, 2), 4))[1] == [0, 4]
    with pytest.raises(UserError, match="20001 labels"):
        compacted(np.arange(20001))


@pytest.mark.parametrize("zoom", [[1.0], [0.0, 1.0], [2.0, 1.0], [1.0, float("inf")]])
def test_a_zoom_that_is_none(zoom):
    with pytest.raises(UserError, match=r"^data.sources.x.zoom="):
        check_source("x", 1.0, zoom)


def test_a_weight_and_a_length_that_are_none():
    with pytest.raises(UserError, match=r"^data.sources.x.weight=-1"):
        check_source("x", -1.0, (1.0, 2.0))
    with pytest.raises(UserError, match=r"^data.sources.x.extent=0"):
        check_length("x.extent", 0)
    assert check_source("x", 0.0, [1, 2]) == (1.0, 2.0) and check_length("x.extent", 3) == 3.0
