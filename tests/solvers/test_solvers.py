"""What every solver must do, whatever its method."""

from __future__ import annotations

import pytest
import torch

from mmreg_lightning.config import instantiate
from mmreg_lightning.errors import UserError
from mmreg_lightning.evaluation.jacobian import jacobian_statistics
from mmreg_lightning.functional.warp import warp
from mmreg_lightning.registration.families import family_of_config
from mmreg_lightning.registration.settings import solver_config
from mmreg_lightning.solvers.protocol import Solver

FAMILY = family_of_config("mind_ssc")  # without a checkpoint: the shipped step


NAMES = ("demons", "adam", "convex_adam")
INSIDE = (..., slice(8, -8), slice(8, -8), slice(8, -8))


def build(name: str, *overrides: str) -> Solver:
    """A shipped solver, with the step's noise floor for clean features."""
    config = solver_config(name, FAMILY, ["solver.step.alpha=0.05"] if name == "demons" else [])
    for override in overrides:
        key, value = override.split("=")
        node = config
        *parents, last = key.split(".")
        for parent in parents:
            node = node[parent]
        assert last in node
        node[last] = float(value) if "." in value else int(value)
    return instantiate(config)


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


@pytest.mark.parametrize("shape", [(32, 32, 32), (33, 35, 34)], ids=str)
def test_translation_is_recovered(moved, name, shape):
    fixed, moving, t = moved(shape, (3.0, -2.0, 2.5))
    u = build(name)(fixed, moving)
    assert u.shape == (1, 3, *shape) and not u.requires_grad
    assert (u - t)[INSIDE].abs().mean() < 0.25  # voxels
    assert (fixed - warp(moving, u)).square().mean() < 0.1 * (fixed - moving).square().mean()
    assert jacobian_statistics(u).folds_percent < 0.1


def test_a_batch_is_registered_pair_by_pair(moved, name):
    fixed, moving, _ = moved((24, 24, 24), (2.0, 0.0, -1.0))
    solver = build(name)
    both = solver(torch.cat([fixed, moving]), torch.cat([moving, fixed]))
    assert (both[:1] - solver(fixed, moving)).abs().max() < 0.2
    assert (both[1:] - solver(moving, fixed)).abs().max() < 0.2


def test_equal_images_stay_in_place(moved, name):
    features, _, _ = moved((24, 24, 24), (0.0, 0.0, 0.0))
    # Adam divides by the gradient's own size, so it does not rest where the gradient is nothing but rounding.
    assert build(name)(features, features).abs().max() < (0.1 if name != "demons" else 1e-4)


def test_what_is_not_trusted_does_not_lead_astray(moved, name):
    fixed, moving, t = moved((32, 32, 32), (2.0, -1.0, 1.5))
    spoilt = fixed.clone()
    spoilt[:, :, :, :, 16:] = 0.5
    weight = torch.ones(1, 1, 32, 32, 32)
    weight[..., 16:] = 0
    solver = build(name)
    seen = (..., slice(8, -8), slice(8, -8), slice(6, 13))

    def error(u):
        return float((u - t)[seen].abs().mean())

    assert error(solver(spoilt, moving, weight=weight)) < 0.35
    assert error(solver(spoilt, moving, weight=weight)) < error(solver(spoilt, moving))


def test_works_on_features_of_inference_mode(moved, name):
    with torch.inference_mode():
        fixed, moving, _ = moved((16, 16, 16), (1.0, 0.0, 0.0))
        weight = torch.ones(1, 1, 16, 16, 16)
        assert build(name)(fixed, moving, weight=weight).isfinite().all()


def test_progress_ends_complete(moved, name):
    fixed, moving, _ = moved((16, 16, 16), (1.0, 0.0, 0.0))
    seen: list[tuple[int, int]] = []
    build(name)(fixed, moving, progress=lambda done, total: seen.append((done, total)))
    assert [done for done, _ in seen] == list(range(1, len(seen) + 1))
    assert {total for _, total in seen} == {len(seen)}


def test_a_displacement_beyond_the_reach_of_local_steps(moved):
    # More than half a period of the pattern along each axis: only the search gets there.
    fixed, moving, t = moved((48, 48, 48), (9.0, -8.0, 8.0))
    u = build("convex_adam", "grid_spacing=3")(fixed, moving)
    inside = (..., slice(16, -16), slice(16, -16), slice(16, -16))
    assert (u - t)[inside].abs().mean() < 0.5
    assert (build("demons")(fixed, moving) - t)[inside].abs().mean() > 2


@pytest.mark.parametrize("shape", [(7, 32, 32), (32, 12, 4), (24, 24, 2), (4, 4, 4)], ids=str)
def test_thin_features_are_registered(moved, name, shape):
    t = [1.0 if n > 4 else 0.0 for n in shape]
    fixed, moving, _ = moved(shape, (t[0], t[1], t[2]))
    u = build(name)(fixed, moving)
    assert u.shape == (1, 3, *shape) and torch.isfinite(u).all()
    assert (fixed - warp(moving, u)).square().mean() <= 0.5 * (fixed - moving).square().mean() + 1e-4


@pytest.mark.parametrize(
    ("name", "override"),
    [
        ("adam", "refinement.iterations=0"),
        ("adam", "refinement.weight=-1.0"),
        ("adam", "refinement.control_spacing=0"),
        ("convex_adam", "radius=0"),
        ("convex_adam", "grid_spacing=0"),
        ("convex_adam", "coupling=-1.0"),
    ],
)
def test_unusable_values(name, override):
    with pytest.raises(UserError, match=override.split("=")[0].split(".")[-1]):
        build(name, override)


def test_what_is_not_trusted_in_the_moving_image_moves_with_it(moved, name):
    fixed, moving, t = moved((32, 32, 32), (4.0, 0.0, 0.0))
    # The moving image's far part is of something else. On the fixed grid it begins 4 voxels earlier.
    spoilt = moving.clone()
    spoilt[:, :, 20:] = 0.5
    mask = torch.ones(1, 1, 32, 32, 32)
    mask[:, :, 20:] = 0
    solver = build(name)
    seen = (..., slice(8, 15), slice(8, -8), slice(8, -8))

    def error(u):
        return float((u - t)[seen].abs().mean())

    masked = error(solver(fixed, spoilt, moving_weight=mask))
    assert masked < 0.5
    assert masked < error(solver(fixed, spoilt))
