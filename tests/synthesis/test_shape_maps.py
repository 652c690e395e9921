"""Random shapes."""

from __future__ import annotations

import numpy as np
import pytest

from mmreg_lightning.errors import UserError
from mmreg_lightning.synthesis.shape_maps import ShapeMaps, lump, random_shapes


def test_all_numbers_are_of_some_voxel_and_parts_are_solid():
    for seed in range(5):
        regions = random_shapes(np.random.default_rng(seed), 32)
        count = int(regions.max()) + 1
        assert 2 <= count <= 41
        same = np.mean([(np.diff(regions.astype(int), axis=axis) == 0).mean() for axis in range(3)])
        assert same > 0.7, "neighbours mostly belong together, which noise does not"


def test_another_generator_gives_others():
    first, again, other = (ShapeMaps().draw(np.random.default_rng(seed), None) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.regions, again.regions)
    assert first.regions.shape == other.regions.shape and (first.regions != other.regions).any()
    np.testing.assert_allclose(first.extent, 200.0)


def test_a_lump_has_the_volume_of_an_ellipsoid_or_goes_through():
    side = 40
    points = np.stack(np.meshgrid(*[np.arange(side, dtype=np.float32)] * 3, indexing="ij"))
    for seed in range(20):
        inside = lump(np.random.default_rng(seed), points, side) < 1
        assert (
            inside.sum() <= 4 / 3 * np.pi * (side / 6) ** 3 * 1.1
            or inside.any(axis=(1, 2)).sum() > side / 3
            or (inside.any(axis=(0, 2)).sum() > side / 3 or inside.any(axis=(0, 1)).sum() > side / 3)
        )


def test_an_extent_that_is_none():
    with pytest.raises(UserError, match=r"^data.sources.shapes.extent=0"):
        ShapeMaps(extent=0)
