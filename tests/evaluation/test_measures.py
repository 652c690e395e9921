"""The row of a registration and the summary of rows, on boxes whose measures are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mmreg_lightning.data.pair import Image, Pair
from mmreg_lightning.evaluation.measures import MEASURES, evaluate, is_number, summarise
from mmreg_lightning.geometry.grid import Grid
from mmreg_lightning.geometry.native import NativeGrid
from mmreg_lightning.geometry.volume import Volume

SHAPE = (24, 20, 16)
AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])


def volume(data: torch.Tensor) -> Volume:
    """On voxels of 2 mm, in a file whose first axis runs to the left."""
    affine = AFFINE @ np.diag([-1.0, 1, 1, 1])
    affine[0, 3] = 2.0 * (SHAPE[0] - 1)
    return Volume(data, Grid(SHAPE, AFFINE), NativeGrid(SHAPE, affine))


def labels(first: int) -> Volume:
    data = torch.zeros(1, *SHAPE, dtype=torch.long)
    data[:, first : first + 10, 6:14, 5:11] = 4
    return volume(data)


def row(shift: float, landmarks: bool = False) -> dict[str, float | None]:
    image = volume(torch.zeros(1, *SHAPE))
    points = np.array([[6.0, 8.0, 8.0], [9.0, 9.0, 5.0]])
    places = (points, points + [2, 0, 0]) if landmarks else (None, None)
    pair = Pair(*(Image(image, labels(at), landmarks=own) for at, own in zip((6, 8), places, strict=True)))
    u = torch.zeros(1, 3, *SHAPE)
    u[:, 0] = shift
    return evaluate(pair, u, {4: "left kidney"})


def test_a_perfect_field_scores_1_and_0() -> None:
    found = row(2.0, landmarks=True)
    assert set(found) == {*MEASURES, "dice_left_kidney"}
    assert found["dice"] == found["dice_left_kidney"] == found["dice_l2r"] == 1
    zero = ("hd95_mm", "hd95_voxels", "assd_mm", "tre_mm", "folds_percent", "sdlogj", "hd95_l2r", "folds_l2r")
    assert {name: found[name] for name in zero} == dict.fromkeys(zero, pytest.approx(0.0, abs=1e-5))
    assert found["sdlogj_l2r"] == pytest.approx(0.0, abs=1e-6)
    assert found["dice_before"] == pytest.approx(0.8) and found["tre_mm_before"] == pytest.approx(4.0)


def test_a_field_that_is_one_voxel_short() -> None:
    found = row(1.0, landmarks=True)
    assert found["dice"] == found["dice_l2r"] == pytest.approx(0.9)
    assert found["hd95_voxels"] == found["hd95_l2r"] == pytest.approx(1.0) and found["hd95_mm"] == pytest.approx(2.0)
    assert 0 < found["assd_mm"] < 2 and found["tre_mm"] == pytest.approx(2.0)


def test_what_cannot_be_measured_is_none() -> None:
    image = volume(torch.zeros(1, *SHAPE))
    found = evaluate(Pair(Image(image), Image(image)), torch.zeros(1, 3, *SHAPE), {})
    assert {name for name, value in found.items() if value is not None} == {"folds_percent", "sdlogj"}
    assert row(2.0)["tre_mm"] is None


def test_summary_of_cases() -> None:
    rows = [{"case": "a", "dice": 0.4, "tre_mm": None}, {"case": "b", "dice": 0.6}, {"case": "c", "dice": float("nan")}]
    summary = summarise(rows)
    assert summary["dice"] == {"mean": 0.5, "sd": pytest.approx(0.1414, abs=1e-4), "cases": 2}
    assert summary["dice30"] == pytest.approx(0.46)
    assert "tre_mm" not in summary and "case" not in summary


def test_means_are_over_what_is_finite() -> None:
    rows = [{"dice": 0.5, "hd95_l2r": 3.0}, {"dice": 0.7, "hd95_l2r": float("inf")}, {"dice": None, "hd95_l2r": 5.0}]
    summary = summarise(rows)
    assert summary["dice"]["mean"] == pytest.approx(0.6) and summary["dice"]["cases"] == 2
    assert summary["hd95_l2r"]["mean"] == 4.0 and summary["hd95_l2r"]["cases"] == 2


def test_one_case_has_no_deviation_and_none_at_all_no_column() -> None:
    assert summarise([{"dice_l2r": 0.7}]) == {
        "dice_l2r": {"mean": 0.7, "sd": 0.0, "cases": 1},
        "dice30_l2r": pytest.approx(0.7),
    }
    assert summarise([]) == summarise([{"dice": float("nan")}]) == {}


def test_what_counts_as_a_number() -> None:
    assert [is_number(value) for value in (1, 0.5, float("nan"), True, "1", None)] == [True] * 3 + [False] * 3
