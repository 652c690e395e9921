"""Label maps are told from images by their values alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from shapes import cubes

from mmreg_lightning.io.images import read_image
from mmreg_lightning.io.label_like import is_label_like


def test_shapes_are_labels_and_textures_are_not() -> None:
    shapes = cubes()[0][0, 0].numpy()
    noise = np.random.default_rng(0).integers(0, 255, (16, 16, 16))
    ramp = np.broadcast_to(np.arange(16, dtype=np.uint8)[:, None, None] * 7, (16, 16, 16))
    for array in (shapes, shapes.astype(np.uint8) * 40, shapes.astype(np.float32), shapes > 0):
        assert is_label_like(array)
    for array in (noise, noise.astype(np.uint8), ramp + noise % 3, shapes * 0.5, shapes - 1, shapes * 0):
        assert not is_label_like(array)


def test_such_an_image_has_a_note(save: Callable[..., Path]) -> None:
    path = save(cubes()[0][0, 0].numpy().astype(np.uint8), np.eye(4), "labels.nii.gz")
    (note,) = read_image(path).native.notes
    assert note.startswith(f"{path} is read as an image") and note.endswith("as a label map does")
    texture = np.random.default_rng(0).integers(0, 255, (8, 8, 8)).astype(np.uint8)
    assert read_image(save(texture, np.eye(4), "image.nii.gz")).native.notes == ()


@pytest.mark.parametrize("cells", [2, 117])
def test_many_organs_are_labels_too(cells: int) -> None:
    seeds = np.random.default_rng(1).uniform(0, 60, (cells, 3))
    places = np.stack(np.meshgrid(*[np.arange(60)] * 3, indexing="ij"), -1).reshape(-1, 1, 3)
    nearest = np.concatenate([((part - seeds) ** 2).sum(-1).argmin(1) for part in np.array_split(places, 20)])
    assert is_label_like((nearest + 1).reshape(60, 60, 60).astype(np.uint8))
