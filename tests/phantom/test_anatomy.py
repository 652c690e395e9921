"""The layers of an anatomy."""

from __future__ import annotations

import numpy as np

from mmreg_lightning.phantom.anatomy import Anatomy


def test_anatomical_coordinates_are_a_small_deformation_of_the_world() -> None:
    anatomy = Anatomy(np.random.default_rng(2))
    points = np.random.default_rng(0).uniform(-100, 100, (3, 500)).astype(np.float32)
    moved = np.linalg.norm(anatomy.to_anatomical(points) - points, axis=0)
    assert 1 < moved.mean() and moved.max() < 45


def test_air_has_no_texture() -> None:
    far = np.array([[0.0, 300, 0], [250, 0, 0], [0, 0, 0]], np.float32)
    layers, texture = Anatomy(np.random.default_rng(1)).sample(far)
    assert texture[:2].tolist() == [0, 0] and texture[2] != 0
    assert not {0, 1} & {int(index) for layer in layers for index in layer.index}


def test_organs_hold_content_without_label() -> None:
    """Vessels, pyramids, bowel: tissues that do not follow the labels, at the same places for CT and MR."""
    points = np.random.default_rng(0).uniform(-100, 100, (3, 40000)).astype(np.float32)
    layers, texture = Anatomy(np.random.default_rng(1)).sample(points)
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
