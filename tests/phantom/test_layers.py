"""Painting of layers: the last one wins, and a boundary is a ramp."""

from __future__ import annotations

import numpy as np
import pytest

from mmreg_lightning.phantom.layers import KEEP, LABEL_IDS, LABELS, Layer, paint_intensity, paint_labels

INTENSITY = {"air": -10.0, "fat": 100.0, "bone": 500.0}


def layer(tissue: str, distance: list[float], label: int = 0, index: list[int] | None = None) -> Layer:
    places = np.arange(len(distance)) if index is None else np.array(index)
    return Layer(tissue, places, np.array(distance, np.float32), label)


def painted(layers: list[Layer], count: int, edge: float = 2.0, grain: dict | None = None) -> np.ndarray:
    texture = np.arange(count, dtype=np.float32)
    return paint_intensity(layers, count, INTENSITY, grain or {}, texture, edge)


def test_names_and_ids_are_each_others_inverse() -> None:
    assert [LABEL_IDS[LABELS[n]] for n in range(15)] == list(range(15)) and KEEP not in LABELS


def test_the_last_layer_that_contains_a_point_names_it() -> None:
    layers = [
        layer("fat", [-1, -1, -1, 1, 0], label=14),
        layer("bone", [-1, 1], label=10, index=[1, 2]),
        layer("vessel", [-5, -5, -5, -5, -5], label=KEEP),
    ]
    labels = paint_labels(layers, 5)
    np.testing.assert_array_equal(labels, [14, 10, 14, 0, 0])  # a point on the surface lies outside
    assert labels.dtype == np.uint8


def test_a_layer_without_a_label_takes_it_away() -> None:
    np.testing.assert_array_equal(paint_labels([layer("a", [-1, -1], 3), layer("b", [-1], 0, [1])], 2), [3, 0])


def test_a_boundary_is_a_ramp_as_wide_as_a_voxel() -> None:
    # Shares of 1, 3/4, 1/2, 1/4 and 0 of fat before air.
    found = painted([layer("fat", [-5, -0.5, 0, 0.5, 1])], 5)
    np.testing.assert_allclose(found, [100, 72.5, 45, 17.5, -10])


def test_a_layer_is_mixed_with_what_is_behind_it() -> None:
    found = painted([layer("fat", [-5, -5, -5]), layer("bone", [-5, 0], index=[1, 2])], 3)
    np.testing.assert_allclose(found, [100, 500, 300])


def test_grain_is_texture_of_its_tissue_only() -> None:
    found = painted([layer("fat", [-5, -5, 5]), layer("bone", [-5], index=[1])], 3, grain={"bone": 3.0})
    assert found.tolist() == pytest.approx([100, 503, -10])
