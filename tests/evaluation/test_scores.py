"""Scores of displacements that are no numbers: none, and never 0."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from mmreg_lightning.data.pair import Image, Pair
from mmreg_lightning.evaluation.measures import evaluate
from mmreg_lightning.evaluation.scores import score
from mmreg_lightning.geometry.grid import Grid
from mmreg_lightning.geometry.volume import Volume


@pytest.fixture
def pair() -> Pair[Image]:
    """Twice the same cube, with a landmark at its corner."""
    grid = Grid((8, 8, 8), np.eye(4))
    labels = torch.zeros(1, 8, 8, 8, dtype=torch.int64)
    labels[:, 2:5, 2:5, 2:5] = 1
    image = Image(Volume(labels.float(), grid), Volume(labels, grid), landmarks=np.array([[2.0, 2.0, 2.0]]))
    return Pair(image, image)


def test_a_field_that_moves_nothing(pair: Pair[Image]) -> None:
    scores = score(pair, torch.zeros(1, 3, 8, 8, 8), {1: "cube"})
    assert scores.row() == {
        "dice_before": 1.0,
        "dice": 1.0,
        "tre_mm_before": 0.0,
        "tre_mm": 0.0,
        "folds_percent": 0.0,
        "sdlogj": 0.0,
    }


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_field_that_is_not_finite(pair: Pair[Image], value: float) -> None:
    u = torch.zeros(1, 3, 8, 8, 8)
    u[0, 0, 7, 7, 7] = value  # neither in the cube nor beside the landmark
    scores = score(pair, u, {1: "cube"})
    assert scores.dice_before == {"mean": 1.0, "per_label": {"cube": 1.0}} and scores.tre_mm_before == 0
    assert scores.dice_after is not None and math.isnan(scores.dice_after["per_label"]["cube"])
    row = evaluate(pair, u, {1: "cube"})
    after = {key: found for key, found in row.items() if not key.endswith("_before")}
    assert set(after) >= {"dice", "hd95_mm", "assd_mm", "tre_mm", "folds_percent", "sdlogj", "sdlogj_l2r", "folds_l2r"}
    assert all(found is not None and math.isnan(found) for found in after.values()), after
