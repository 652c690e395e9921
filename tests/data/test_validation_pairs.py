"""Whole pairs to validate on."""

from __future__ import annotations

import pytest
import torch

from mmreg_lightning.data.cache import PreprocessingCache
from mmreg_lightning.data.learn2reg import Learn2RegDataset
from mmreg_lightning.data.validation_pairs import ValidationPairs
from mmreg_lightning.errors import UserError


@pytest.fixture
def build(phantom, cache_dir):
    dataset = Learn2RegDataset.read(phantom)
    recipes = {m: {"kind": "percentile", "low": 1.0, "high": 99.0} for m in ("MR", "CT")}
    cache = PreprocessingCache(cache_dir, 12.0, recipes, list(dataset.label_names))
    return lambda ids: ValidationPairs(dataset.pairs["val"], cache, ids)


def test_an_item_is_a_pair_on_one_grid(build):
    pairs = build([1, 2])
    assert len(pairs) == 1
    item = pairs[0]
    assert item["name"] == "0004_to_0004" and "moving_inside" not in item, "there is no mask"
    shapes = {tuple(item[key].shape) for key in ("fixed", "moving", "fixed_labels", "moving_labels", "inside")}
    assert shapes == {(1, 32, 32, 32)}
    assert item["fixed_labels"].dtype == torch.long and set(item["inside"].unique().tolist()) <= {0.0, 1.0}


def test_a_pair_must_share_an_organ(build):
    build([1, 2]).check()
    with pytest.raises(UserError, match=r"0004_0000\.nii\.gz and .*0004_0001\.nii\.gz: their labels share none of the"):
        build([77]).check()
