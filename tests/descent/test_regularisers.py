"""Regularisers against the functions that they are made of."""

from __future__ import annotations

import pytest
import torch

from mmreg_lightning.descent.regularisers import DiffusionRegulariser, GaussianRegulariser, NoRegulariser
from mmreg_lightning.errors import UserError
from mmreg_lightning.functional.taylor import TaylorSystem


def system(force):
    """Identity matrices, whose voxel-wise solution is the force."""
    matrix = torch.zeros(1, 6, *force.shape[2:])
    matrix[:, [0, 3, 5]] = 1
    return TaylorSystem(matrix, force)


@pytest.fixture
def impulse():
    force = torch.zeros(1, 3, 15, 15, 15)
    force[0, 0, 7, 7, 7] = 1
    return force


def test_none_is_the_voxelwise_solution(impulse):
    assert torch.equal(NoRegulariser().update(system(impulse), 0 * impulse), impulse)
    assert NoRegulariser().field(impulse) is impulse


def test_gaussian_smooths_update_and_field_on_their_own(impulse):
    regulariser = GaussianRegulariser(sigma_update=0.0, sigma_field=1.0)
    assert torch.equal(regulariser.update(system(impulse), 0 * impulse), impulse)
    field = regulariser.field(impulse)[0, 0]
    assert (field[8, 7, 7] / field[7, 7, 7]).item() == pytest.approx(0.6065307, rel=1e-5)  # exp(-1/2)
    assert torch.equal(GaussianRegulariser(1.0, 0.0).update(system(impulse), 0 * impulse)[0, 0], field)


def test_diffusion_smooths_the_whole_displacement(impulse):
    regulariser = DiffusionRegulariser(weight=100.0, iterations=40)
    update = regulariser.update(system(0 * impulse), impulse)  # no force: only the rough displacement acts
    assert (impulse + update).abs().max() < 0.1
    assert regulariser.field(impulse) is impulse
    assert torch.equal(DiffusionRegulariser(weight=0.0).update(system(impulse), impulse), impulse)


@pytest.mark.parametrize(
    ("build", "name"),
    [
        (lambda: GaussianRegulariser(sigma_update=-1.0), "sigma_update=-1.0"),
        (lambda: GaussianRegulariser(sigma_field=-1.0), "sigma_field=-1.0"),
        (lambda: DiffusionRegulariser(weight=-1.0), "weight=-1.0"),
        (lambda: DiffusionRegulariser(iterations=0), "iterations=0"),
    ],
)
def test_unusable_values(build, name):
    with pytest.raises(UserError, match=f"regulariser.{name}"):
        build()
