"""The linear probe: its model, its samples, its rows."""

from __future__ import annotations

import sys

import pytest
import torch

from mmreg_lightning.errors import UserError
from mmreg_lightning.inspection.probe import Samples, fit_probe, probe_rows, recalls, sample_voxels


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def image(offset: float) -> tuple[torch.Tensor, torch.Tensor]:
    labels = torch.randint(0, 3, (8, 8, 8))
    centres = torch.tensor([[0.0, 0], [4, 0], [0, 4]])
    return centres[labels].movedim(-1, 0) + offset + 0.2 * torch.randn(2, 8, 8, 8), labels


def samples(offset: float) -> Samples:
    return sample_voxels(*image(offset), [0, 1, 2], 50, generator())


def test_rows_of_features_that_shift_with_the_modality():
    train, same, shifted = (samples(offset) for offset in (0.0, 0.0, 4.0))
    names = {0: "background", 1: "liver", 2: "spleen"}
    rows = probe_rows("learned", {"MR": train}, {"MR": same, "CT": shifted}, names)
    assert [(row["trained_on"], row["tested_on"], row["organ"]) for row in rows] == [
        ("MR", tested, organ) for tested in ("MR", "CT") for organ in ("background", "liver", "spleen", "all")
    ]
    assert [row["recall"] for row in rows[:4]] == [1, 1, 1, 1]
    assert rows[7]["recall"] == pytest.approx(sum(row["recall"] for row in rows[4:7]) / 3)
    assert rows[7]["recall"] < 0.7


@pytest.mark.parametrize("labels", [[0, 2, 5], [0, 5]])
def test_the_fit_is_a_minimum_of_the_loss(labels):
    """At the minimum the gradient of the documented loss vanishes; counts of labels and scales of channels differ."""
    target = torch.cat([torch.full((20 * (n + 1),), n) for n in range(len(labels))])
    features = torch.randn(len(target), 3) * torch.tensor([1.0, 10, 0.1]) + target[:, None]
    probe = fit_probe(Samples(features, torch.tensor(labels)[target]), penalty=0.01)
    weights, intercept = (torch.tensor(x) for x in (probe[-1].coef_, probe[-1].intercept_))
    if len(labels) == 2:  # scikit-learn keeps the difference of the two weight vectors
        weights, intercept = torch.cat([-weights, weights]) / 2, torch.cat([-intercept, intercept]) / 2
    weights.requires_grad_()
    intercept.requires_grad_()
    x = torch.tensor(probe[0].transform(features.double().numpy()))
    assert x.mean(dim=0).tolist() == pytest.approx([0, 0, 0], abs=1e-9)
    losses = -(x @ weights.T + intercept).log_softmax(dim=1)[range(len(target)), target]
    by_label = torch.stack([losses[target == n].mean() for n in range(len(labels))])
    (by_label.mean() + 0.01 * weights.square().sum()).backward()
    assert float(weights.grad.abs().max()) < 1e-5 and float(intercept.grad.abs().max()) < 1e-5
    assert probe.predict(features.double().numpy()).tolist()[:3] == [0, 0, 0]


def test_a_constant_channel_does_no_harm():
    features, labels = image(0.0)
    drawn = sample_voxels(torch.cat([features, torch.ones(1, 8, 8, 8)]), labels, [0, 1, 2], 50, generator())
    predicted = torch.from_numpy(fit_probe(drawn).predict(drawn.features.double().numpy()))
    assert recalls(predicted, drawn.labels) == {0: 1, 1: 1, 2: 1}


def test_recall_is_counted_for_each_label():
    truth = torch.tensor([1] * 8 + [2] * 2)
    assert recalls(torch.tensor([1] * 9 + [2]), truth) == {1: 1, 2: 0.5}


def test_samples_are_those_of_the_label():
    _, labels = image(0.0)
    drawn = sample_voxels(labels[None].float(), labels, [0, 2, 9], 30, generator())
    assert (drawn.features[:, 0].long() == drawn.labels).all()
    assert drawn.labels.tolist() == [0] * 30 + [2] * 30


def test_the_same_generator_draws_the_same_voxels_for_all_features():
    features, labels = image(0.0)
    first = sample_voxels(features, labels, [0, 1, 2], 30, generator()).features
    second = sample_voxels(2 * features, labels, [0, 1, 2], 30, generator()).features
    assert torch.equal(2 * first, second)


def test_without_scikit_learn_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(UserError, match=r"extra inspection: pip install 'mmreg-lightning\[inspection\]'$"):
        fit_probe(samples(0.0))
