"""Start states behave as their names say."""

from __future__ import annotations

import random
from collections import Counter

import pytest
import torch

from mmreg_lightning.descent.regularisers import GaussianRegulariser
from mmreg_lightning.descent.start_states import StartStates
from mmreg_lightning.descent.step import DescentStep
from mmreg_lightning.descent.unrolled import descend
from mmreg_lightning.errors import UserError

STEP = DescentStep(GaussianRegulariser())


def start(states, kind, seed=0, carried=None):
    generator = torch.Generator().manual_seed(5)
    features = tuple(torch.rand(1, 2, 8, 8, 8, generator=generator).requires_grad_() for _ in range(2))
    targets = tuple(torch.rand(1, 1, 8, 8, 8, generator=generator) for _ in range(2))
    carried = torch.zeros(1, 3, 8, 8, 8) if carried is None else carried
    return states.start(kind, STEP, features, targets, carried, random.Random(seed)), features, targets


def test_zero_forgets_what_was_carried():
    displacement, _, _ = start(StartStates(), "zero", carried=torch.ones(1, 3, 8, 8, 8))
    assert displacement.abs().max() == 0


def test_labels_follow_the_labels():
    carried = 0.1 * torch.rand(1, 3, 8, 8, 8)
    displacement, _, targets = start(StartStates(max_label_steps=1), "labels", carried=carried)
    assert torch.equal(displacement, descend(STEP, *targets, carried, 1))


def test_own_follows_the_features_without_gradient():
    states = StartStates(max_own_steps=3)
    displacement, features, _ = start(states, "own", seed=4)
    taken = random.Random(4).randint(0, 3)
    assert not displacement.requires_grad
    assert torch.equal(displacement, descend(STEP, *features, torch.zeros(1, 3, 8, 8, 8), taken))


def test_own_starts_are_between_none_and_the_most_steps():
    _, features, _ = start(StartStates(), "zero")
    possible = [descend(STEP, *features, torch.zeros(1, 3, 8, 8, 8), n) for n in range(3)]
    seen = set()
    for seed in range(20):
        displacement, _, _ = start(StartStates(max_own_steps=2), "own", seed=seed)
        seen |= {n for n, state in enumerate(possible) if torch.equal(state, displacement)}
    assert seen == {0, 1, 2}


def test_shares_are_probabilities():
    states = StartStates(zero=0.5, labels=0.0, own=1.5)
    generator = random.Random(0)
    drawn = Counter(states.draw(generator) for _ in range(2000))
    assert drawn["labels"] == 0
    assert drawn["zero"] / 2000 == pytest.approx(0.25, abs=0.04)  # four standard deviations


@pytest.mark.parametrize("shares", [(-0.1, 0.5, 0.6), (0.0, 0.0, 0.0)])
def test_unusable_shares(shares):
    with pytest.raises(UserError, match="descent.start_states"):
        StartStates(*shares)
