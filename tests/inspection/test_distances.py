"""Distances between modalities and organs against closed forms."""

from __future__ import annotations

import math

import pytest
import torch

from mmreg_lightning.inspection.distances import distance_rows, majority_labels, organ_moments

NAMES = {0: "background", 1: "liver", 2: "spleen", 3: "aorta"}


def moments(features: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return organ_moments(features, labels, list(NAMES))


def rows_of(first: torch.Tensor, second: torch.Tensor) -> dict[str, dict[str, float]]:
    rows = distance_rows("learned", first, second, NAMES)
    assert {row["family"] for row in rows} <= {"learned"}
    return {row["organ"]: row for row in rows}


def test_distances_are_those_of_all_pairs_of_voxels():
    labels = torch.randint(0, 3, (6, 5, 4))
    a, b = torch.rand(3, 6, 5, 4), torch.rand(3, 6, 5, 4)
    row = rows_of(moments(a, labels), moments(b, labels))["spleen"]

    def mean_square(first: int, second: int) -> float:
        pairs = torch.cdist(a[:, labels == first].T.double(), b[:, labels == second].T.double())
        return float(pairs.square().mean())

    assert row["between_modalities"] == pytest.approx(math.sqrt(mean_square(2, 2)))
    others = [mean_square(2, 0), mean_square(2, 1), mean_square(0, 2), mean_square(1, 2)]
    assert row["between_organs"] == pytest.approx(math.sqrt(sum(others) / 4))
    assert row["ratio"] == pytest.approx(row["between_modalities"] / row["between_organs"])


def test_features_that_do_not_depend_on_the_modality_have_ratio_0():
    labels = torch.tensor([1, 1, 2, 2]).view(4, 1, 1)
    own = moments(labels[None].float() * 3, labels)
    rows = rows_of(own, own)
    assert list(rows) == ["liver", "spleen", "all"]
    assert [rows["liver"][key] for key in ("between_modalities", "between_organs", "ratio")] == [0, 3, 0]


def test_features_that_depend_on_the_modality_only_have_ratio_1():
    labels = torch.tensor([0, 1, 2, 2]).view(4, 1, 1)
    rows = rows_of(*(moments(torch.full((2, 4, 1, 1), value), labels) for value in (0.0, 5.0)))
    assert [row["ratio"] for row in rows.values()] == pytest.approx([1, 1, 1])


def test_all_is_the_mean_of_the_organs_without_the_background():
    labels = torch.tensor([0, 0, 1, 1, 2, 2]).view(6, 1, 1)
    rows = rows_of(*(moments(torch.rand(2, 6, 1, 1), labels) for _ in range(2)))
    assert set(rows) == {"liver", "spleen", "all"}
    for key in ("between_modalities", "between_organs", "ratio"):
        assert rows["all"][key] == pytest.approx((rows["liver"][key] + rows["spleen"][key]) / 2)


def test_a_single_organ_has_no_ratio():
    labels = torch.ones(2, 1, 1, dtype=torch.long)
    rows = rows_of(*(moments(torch.full((1, 2, 1, 1), value), labels) for value in (0.0, 2.0)))
    assert rows["liver"]["between_modalities"] == 2
    assert all(math.isnan(row[key]) for row in rows.values() for key in ("between_organs", "ratio"))


def test_no_shared_organ_gives_no_rows():
    first, second = (torch.full((2, 1, 1), organ) for organ in (1, 2))
    assert rows_of(moments(torch.rand(1, 2, 1, 1), first), moments(torch.rand(1, 2, 1, 1), second)) == {}


def test_moments_of_images_add_up():
    labels = torch.ones(2, 1, 1, dtype=torch.long)
    total = sum(moments(torch.tensor([[[[a]], [[b]]]]), labels) for a, b in ((1.0, 2.0), (3.0, 4.0)))
    assert total.tolist() == [[0, 0, 0], [4, 30, 10], [0, 0, 0], [0, 0, 0]]


def test_an_organ_that_fills_half_a_feature_voxel_owns_it():
    labels = torch.zeros(1, 4, 2, 2, dtype=torch.long)
    labels[0, 0] = 5  # half of the first feature voxel
    labels[0, 2, 0, 0] = 8  # an eighth of the second
    assert majority_labels(labels, [8, 5], 2).flatten().tolist() == [5, 0]
