"""The trunk: distances to its skin, wall and cavity, and what is painted of it."""

from __future__ import annotations

import numpy as np
import pytest

from mmreg_lightning.phantom.layers import KEEP, LABEL_IDS
from mmreg_lightning.phantom.trunk import Trunk, TrunkModel

BELOW = -400.0
"""Height (mm) at which the waist has no effect on the outline."""


@pytest.fixture(params=range(4), ids=lambda seed: f"seed {seed}")
def model(request: pytest.FixtureRequest) -> TrunkModel:
    return TrunkModel(np.random.default_rng(request.param))


def framed(model: TrunkModel, *points: tuple[float, float, float]) -> Trunk:
    return model.frame(np.arange(len(points)), np.array(points, np.float32).T)


def lattice() -> np.ndarray:
    axes = [np.arange(-half, half + 1, 8, dtype=np.float32) for half in (160, 130, 180)]
    return np.stack(np.meshgrid(*axes, indexing="ij")).reshape(3, -1)


def test_the_skin_is_as_wide_and_deep_as_the_model_says(model: TrunkModel) -> None:
    wide, deep = model.half_width, model.half_depth
    trunk = framed(model, (wide + 5, 0, BELOW), (3 - wide, 0, BELOW), (0, deep, BELOW), (0, 20 - deep, BELOW))
    np.testing.assert_allclose(trunk.skin, [5, -3, 0, -20], atol=0.02)


def test_what_is_far_outside_is_left_out(model: TrunkModel) -> None:
    trunk = framed(model, (250, 0, 0), (0, 0, 0), (0, -200, 0), (10, 5, 0))
    np.testing.assert_array_equal(trunk.index, [1, 3])
    np.testing.assert_array_equal(trunk.points, [[0, 10], [0, 5], [0, 0]])


def test_fat_lies_under_the_skin_and_the_wall_under_the_fat(model: TrunkModel) -> None:
    points = lattice()
    trunk = model.frame(np.arange(points.shape[1]), points)
    assert (trunk.muscle - trunk.skin).min() >= 5 - 1e-4
    assert (trunk.cavity - trunk.muscle).min() > 0.7 * 11
    np.testing.assert_array_equal(trunk.abdomen, np.maximum(trunk.cavity, trunk.diaphragm))


def test_the_diaphragm_is_a_dome_that_is_higher_on_the_right(model: TrunkModel) -> None:
    def top(x: float) -> float:
        z = np.arange(0.0, 130.0, 0.5)
        trunk = framed(model, *((x, 0.0, height) for height in z))
        return float(trunk.points[2][trunk.diaphragm < 0].max())

    wide = model.half_width
    assert top(60) - top(-60) > 0
    assert top(60) > top(wide - 45) and top(-60) > top(45 - wide), "it falls towards the wall"


def test_the_spine_bows_forwards_and_backwards_by_little(model: TrunkModel) -> None:
    back = model.back(np.arange(-180.0, 180.0, 1.0))
    assert back.min() > -47 - 0.6 * 14 - 10 and back.max() < -47 + 0.6 * 14


def test_layers_are_painted_from_the_skin_inwards(model: TrunkModel) -> None:
    points = lattice()
    trunk = model.frame(np.arange(points.shape[1]), points)
    shell, spine = list(model.shell_layers(trunk)), list(model.spine_layers(trunk))
    assert [layer.tissue for layer in shell[:3]] == ["skin", "fat", "muscle"]
    assert {layer.label for layer in shell} == {0, LABEL_IDS["subcutaneous fat"], LABEL_IDS["lungs"]}
    labelled = {layer.label for layer in spine}
    assert labelled == {0, KEEP, *(LABEL_IDS[n] for n in ("vertebral column", "right psoas", "left psoas"))}
    for layer in (*shell, *spine):
        assert layer.index.shape == layer.distance.shape
        assert (layer.distance < 0).any(), f"{layer.tissue} is nowhere"
    for side, name in ((1, "right psoas"), (-1, "left psoas")):
        (psoas,) = (layer for layer in spine if layer.label == LABEL_IDS[name])
        assert (side * points[0, psoas.index[psoas.distance < 0]]).min() > 0
