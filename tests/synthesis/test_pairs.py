"""Training pairs of label maps."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mmreg_lightning.errors import UserError
from mmreg_lightning.functional.warp import warp
from mmreg_lightning.synthesis.folder_maps import FolderMaps
from mmreg_lightning.synthesis.geometry import Geometry
from mmreg_lightning.synthesis.pairs import SyntheticPairs
from mmreg_lightning.synthesis.shape_maps import ShapeMaps
from mmreg_lightning.synthesis.view import Views


@pytest.fixture(scope="module")
def build(maps, tmp_path_factory):
    cache = tmp_path_factory.mktemp("cache")

    def make(seed=3, regions=4, whole=False, **sources):
        sources = sources or {"shapes": ShapeMaps(weight=3.0), "maps": FolderMaps(str(maps), weight=1.0)}
        for source in sources.values():
            source.prepare(cache)
        return SyntheticPairs(sources, Views(), Geometry(), cache, 24, 3.0, regions, 10, seed, whole)

    return make


def test_an_item_depends_on_seed_and_number_alone(build):
    first, again = build(), build()
    again[1]
    np.random.default_rng(0).random()
    torch.rand(3)
    for name, value in first[7].items():
        if isinstance(value, torch.Tensor):
            torch.testing.assert_close(again[7][name], value)
        else:
            assert again[7][name] == value
    assert not torch.equal(first[7]["fixed"], first[8]["fixed"])
    assert not torch.equal(first[7]["fixed"], build(seed=4)[7]["fixed"])
    assert not torch.equal(first[7]["fixed"], build(whole=True)[7]["fixed"])
    assert first[10_000_000]["fixed"].shape == (1, 24, 24, 24)


def test_equal_numbers_are_of_equal_regions(build):
    pairs = build()
    shares = []
    for index in range(12):
        item = pairs[index]
        fixed, moving, u = item["fixed_labels"], item["moving_labels"], item["displacement"]
        shown = [set(labels.unique().tolist()) - {0} for labels in (fixed, moving)]
        assert shown[0] == shown[1] <= {1, 2, 3, 4}
        warped = warp(moving[None].float(), u[None], mode="nearest")[0].long()
        seen = warp(torch.ones(1, 1, 24, 24, 24), u[None], padding="zeros")[0] > 0.99
        if seen.sum() > 200:
            shares.append(float((warped == fixed)[seen].float().mean()))
    assert len(shares) > 5 and np.mean(shares) > 0.85


def test_sources_are_drawn_by_their_weights(build):
    names = [build()[index]["images"] for index in range(60)]
    assert 5 < sum("'maps'" in name for name in names) < 27


def test_pairs_to_validate_on_have_a_name_and_are_seen_whole(build):
    item = build(whole=True)[2]
    assert item["name"].endswith("_2") and bool((item["inside"] == 1).all())


def test_none_to_draw_from(build):
    with pytest.raises(UserError, match="none has a weight"):
        build(shapes=ShapeMaps(weight=0.0))
