"""The anatomy as a function of world coordinates."""

from __future__ import annotations

import numpy as np

from mmreg_lightning.phantom.anatomy import Anatomy
from mmreg_lightning.phantom.layers import paint_labels


def points(count: int, half: float = 100.0) -> np.ndarray:
    return np.random.default_rng(0).uniform(-half, half, (3, count)).astype(np.float32)


def test_organs_hold_content_without_label() -> None:
    """Vessels, pyramids, bowel: tissues that do not follow the labels, at the same places for CT and MR."""
    layers, texture = Anatomy(np.random.default_rng(1)).sample(points(40000))
    unlabelled = {layer.tissue for layer in layers if layer.label <= 0 and (layer.distance < 0).sum() > 10}
    assert {
        "venous blood",
        "renal medulla",
        "bowel wall",
        "bowel content",
        "cortical bone",
        "bile",
    } <= unlabelled
    assert 0.5 < texture[texture != 0].std() < 1.5
    assert {layer.distance.dtype for layer in layers} == {np.dtype(np.float32)}


def test_without_a_warp_the_coordinates_are_shifted_and_scaled() -> None:
    anatomy = Anatomy(np.random.default_rng(1))
    anatomy.warp_amplitude = 0.0
    anatomy.shift, anatomy.scale = np.array([3.0, -2.0, 5.0]), np.array([2.0, 1.0, 0.5])
    found = anatomy.to_anatomical(np.array([[7.0, 3.0], [0.0, -2.0], [6.0, 5.0]], np.float32))
    np.testing.assert_allclose(found, [[2, 0], [2, 0], [2, 0]], atol=1e-5)


def test_the_warp_is_as_strong_as_its_amplitude() -> None:
    """It has unit variance: over many places the deviation of each component is the amplitude."""
    anatomy = Anatomy(np.random.default_rng(1))
    anatomy.shift, anatomy.scale = np.zeros(3), np.ones(3)
    p = points(20000, half=288.0)  # a whole period
    np.testing.assert_allclose((anatomy.to_anatomical(p) - p).std(axis=1), 4.5, rtol=0.15)


def test_a_point_is_the_same_whatever_points_are_beside_it() -> None:
    p = points(4000)
    alone, together = Anatomy(np.random.default_rng(1)), Anatomy(np.random.default_rng(1))
    layers, texture = together.sample(p)
    few, own = alone.sample(np.ascontiguousarray(p[:, ::5]))
    np.testing.assert_array_equal(paint_labels(few, 800), paint_labels(layers, 4000)[::5])
    np.testing.assert_allclose(own, texture[::5], atol=1e-5)


def test_the_air_has_no_layer_and_no_texture() -> None:
    anatomy = Anatomy(np.random.default_rng(1))
    air = np.array([[300.0, 0.0, -250.0], [0.0, 250.0, 200.0], [0.0, 0.0, 0.0]], np.float32)
    assert len(anatomy.frame(air).index) == 0
    layers, texture = anatomy.sample(air)
    assert all(len(layer.index) == 0 for layer in layers) and not texture.any()
