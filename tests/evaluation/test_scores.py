"""Scores of a registration whose result is known: boxes that are shifted by whole voxels."""

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

SHAPE = (20, 16, 12)
GRID = Grid(SHAPE, np.diag([1.0, 2.0, 3.0, 1.0]))
IMAGE = Volume(torch.zeros(1, *SHAPE), GRID)


def labels(**boxes: tuple[int, int]) -> Volume:
    """Slabs along I, by name as ``l3`` of label 3: from, to."""
    data = torch.zeros(1, *SHAPE, dtype=torch.long)
    for name, (first, last) in boxes.items():
        data[:, first:last, 4:12, 3:9] = int(name[1:])
    return Volume(data, GRID)


def shift(i: float, j: float = 0.0, k: float = 0.0) -> torch.Tensor:
    return torch.tensor([i, j, k]).view(1, 3, 1, 1, 1).expand(1, 3, *SHAPE).clone()


def pair(fixed: Volume, moving: Volume) -> Pair[Image]:
    return Pair(Image(IMAGE, fixed), Image(IMAGE, moving))


def test_a_shift_of_two_voxels_of_five_is_undone() -> None:
    found = score(pair(labels(l3=(5, 10)), labels(l3=(7, 12))), shift(2.0), {3: "spleen"})
    # Three of five slices overlap before.
    assert found.dice_before == {"mean": pytest.approx(0.6), "per_label": {"spleen": pytest.approx(0.6)}}
    assert found.dice_after == {"mean": 1.0, "per_label": {"spleen": 1.0}}
    assert (found.folds_percent, found.sdlogj) == (0.0, 0.0)
    assert found.tre_mm_before is found.tre_mm_after is None


def test_the_other_direction_makes_it_worse() -> None:
    found = score(pair(labels(l3=(5, 10)), labels(l3=(7, 12))), shift(-2.0), {3: "spleen"})
    assert found.dice_after is not None and found.dice_after["mean"] == pytest.approx(0.2)


def test_an_organ_of_one_image_is_named_and_does_not_count() -> None:
    found = score(pair(labels(l1=(2, 6), l2=(8, 12)), labels(l1=(2, 6), l7=(8, 12))), shift(0.0), {1: "liver"})
    assert found.dice_after is not None
    per_label = found.dice_after["per_label"]
    assert list(per_label) == ["liver", "label 2", "label 7"] and per_label["liver"] == found.dice_after["mean"] == 1
    assert math.isnan(per_label["label 2"]) and math.isnan(per_label["label 7"])


def test_before_is_as_the_headers_place_the_images() -> None:
    """The moving grid begins three voxels further to the right: the same voxels do not lie at the same place."""
    affine = GRID.affine.copy()
    affine[0, 3] = 3.0
    moving = Volume(labels(l3=(5, 10)).data, Grid(SHAPE, affine))
    data = Pair(Image(IMAGE, labels(l3=(5, 10))), Image(Volume(torch.zeros(1, *SHAPE), moving.grid), moving))
    found = score(data, shift(3.0), {})
    assert found.dice_before is not None and found.dice_after is not None
    assert found.dice_before["per_label"] == {"label 3": pytest.approx(0.4)}
    assert found.dice_after["mean"] == 1


def test_landmarks_are_millimetres_before_and_after() -> None:
    points = np.array([[4.0, 5.0, 6.0], [10.0, 8.0, 2.0]])
    data = Pair(Image(IMAGE, landmarks=points), Image(IMAGE, landmarks=points + [3, 2, 0]))
    found = score(data, shift(3.0, 0.0), {})
    # 3 mm and 2 x 2 mm off before, 4 mm afterwards.
    assert found.tre_mm_before == pytest.approx(5.0) and found.tre_mm_after == pytest.approx(4.0)
    assert found.dice_before is found.dice_after is None


def test_folds_are_those_of_the_field() -> None:
    u = torch.zeros(1, 3, *SHAPE)
    u[:, 0, 10:] = -4.0  # central differences: J = -1 in the two slices at the jump
    found = score(Pair(Image(IMAGE), Image(IMAGE)), u, {})
    assert found.folds_percent == pytest.approx(10.0)
    assert found.sdlogj == pytest.approx(-math.log(1e-9) * math.sqrt(0.1 * 0.9))


@pytest.fixture
def cube() -> Pair[Image]:
    """Twice the same cube, with a landmark at its corner."""
    grid = Grid((8, 8, 8), np.eye(4))
    labels = torch.zeros(1, 8, 8, 8, dtype=torch.int64)
    labels[:, 2:5, 2:5, 2:5] = 1
    image = Image(Volume(labels.float(), grid), Volume(labels, grid), landmarks=np.array([[2.0, 2.0, 2.0]]))
    return Pair(image, image)


def test_a_field_that_moves_nothing(cube: Pair[Image]) -> None:
    scores = score(cube, torch.zeros(1, 3, 8, 8, 8), {1: "cube"})
    assert scores.row() == {
        "dice_before": 1.0,
        "dice": 1.0,
        "tre_mm_before": 0.0,
        "tre_mm": 0.0,
        "folds_percent": 0.0,
        "sdlogj": 0.0,
    }


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_field_that_is_not_finite(cube: Pair[Image], value: float) -> None:
    u = torch.zeros(1, 3, 8, 8, 8)
    u[0, 0, 7, 7, 7] = value  # neither in the cube nor beside the landmark
    scores = score(cube, u, {1: "cube"})
    assert scores.dice_before == {"mean": 1.0, "per_label": {"cube": 1.0}} and scores.tre_mm_before == 0
    assert scores.dice_after is not None and math.isnan(scores.dice_after["per_label"]["cube"])
    row = evaluate(cube, u, {1: "cube"})
    after = {key: found for key, found in row.items() if not key.endswith("_before")}
    assert set(after) >= {"dice", "hd95_mm", "assd_mm", "tre_mm", "folds_percent", "sdlogj", "sdlogj_l2r", "folds_l2r"}
    assert all(found is not None and math.isnan(found) for found in after.values()), after
