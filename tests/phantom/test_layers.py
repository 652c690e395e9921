"""Painting of layers against hand-made ones."""

from __future__ import annotations

import numpy as np
import pytest

from mmreg_lightning.phantom.layers import KEEP, LABEL_IDS, LABELS, Layer, paint_intensity, paint_labels

LAYERS = [
    Layer("fat", np.arange(4), np.array([-5, -5, -5, 5], np.float32), 14),
    Layer("liver", np.array([1, 2]), np.array([-5, 0.5], np.float32), 1),
    Layer("venous blood", np.array([1]), np.array([-5], np.float32), KEEP),
]


def test_label_names_are_unique() -> None:
    assert sorted(LABELS) == list(range(15)) and len(LABEL_IDS) == 15
    assert LABELS[LABEL_IDS["aorta"]] == "aorta"


def test_the_last_layer_with_a_label_names_a_point() -> None:
    assert paint_labels(LAYERS, 5).tolist() == [14, 1, 14, 0, 0]


def test_intensity_with_partial_volume_and_texture() -> None:
    texture = np.array([1, 1, 2, 1, 1], np.float32)
    mean = {"air": 0.0, "fat": 10.0, "liver": 20.0, "venous blood": 30.0}
    image = paint_intensity(LAYERS, 5, mean, {"fat": 1.0}, texture, edge_mm=2.0)
    # Point 2: a quarter of liver (0.5 - 0.5 / 2) on fat of 10 + 2.
    assert image.tolist() == pytest.approx([11, 30, 12 + 0.25 * (20 - 12), 0, 0])
