from __future__ import annotations

import base64
import zlib
from typing import Any

import numpy as np
import pytest
import torch

from mmreg_lightning.geometry.grid import Grid
from mmreg_lightning.reporting.packed import coarse_grid, pack, pack_coarse, pack_scene, to_bytes

GRID = Grid((6, 5, 4), np.diag([2.0, 2.0, 2.0, 1.0]))


def unpacked(packed: dict[str, Any]) -> np.ndarray:
    """What the page's script finds."""
    differences = np.frombuffer(zlib.decompress(base64.b64decode(packed["data"])), packed["type"])
    return np.cumsum(differences, dtype=differences.dtype).reshape(packed["shape"])


@pytest.mark.parametrize("kind", ["uint8", "uint16", "<i2"])
def test_arrays_come_back(kind: str) -> None:
    limits = np.iinfo(np.dtype(kind))
    array = np.random.default_rng(0).integers(limits.min, limits.max, (2, 3, 4, 5), endpoint=True).astype(kind)
    packed = pack(array, (1.0, 2.0, 3.0))
    assert np.array_equal(unpacked(packed), array) and packed["spacing"] == [1, 2, 3]


def test_bytes_are_rounded_and_bounded() -> None:
    assert to_bytes(torch.tensor([-1.0, 0.0, 0.499 / 255, 0.501 / 255, 1.0, 7.0])).tolist() == [0, 0, 0, 1, 255, 255]


def test_a_coarse_grid_keeps_the_field_of_view() -> None:
    shape, spacing = coarse_grid(torch.zeros(3, 128, 32, 10), (1.0, 2.0, 5.0))
    assert shape == (64, 32, 10) and spacing == [2, 2, 5]
    small, own = coarse_grid(torch.zeros(8, 6, 1), (1.5, 1.5, 9.0))
    assert small == (8, 6, 1) and own == [1.5, 1.5, 9.0]


def test_coarse_values_are_means() -> None:
    values = torch.zeros(1, 128, 4, 4)
    values[0, 1] = 1
    packed = pack_coarse(values, (1.0, 32.0, 32.0))
    assert packed["shape"] == [1, 64, 4, 4]
    assert unpacked(packed)[0, :2].tolist() == [[[128] * 4] * 4, [[0] * 4] * 4]


def test_a_scene_holds_images_labels_and_their_names() -> None:
    image, ids = torch.linspace(0, 1, 120).view(6, 5, 4), torch.zeros(6, 5, 4, dtype=torch.long)
    ids[0], ids[1], ids[2] = -7, 900, 5
    scene = pack_scene(GRID, [1.0, 2.0, 3.0], {"a": image}, {"b": ids, "c": None, "d": ids.clamp(min=0)}, {5: "liver"})
    assert scene["labels"] == ["", "label -7", "liver", "label 900"]
    assert sorted(scene["volumes"]) == ["a", "b", "d"]
    assert unpacked(scene["volumes"]["b"])[:, 0, 0].tolist() == [1, 3, 2, 0, 0, 0]
    assert unpacked(scene["volumes"]["d"])[:, 0, 0].tolist() == [0, 3, 2, 0, 0, 0]
    assert np.array_equal(unpacked(scene["volumes"]["a"]), to_bytes(image))
    assert (scene["shape"], scene["spacing"], scene["focus"]) == ([6, 5, 4], 2.0, [1, 2, 3])
    assert scene["center"] == [5, 4, 3] and scene["direction"] == np.eye(3).tolist()


def test_a_large_image_is_shown_coarser() -> None:
    grid = Grid((300, 8, 8), np.eye(4))
    scene = pack_scene(grid, [0, 0, 0], {"a": torch.zeros(300, 8, 8)}, {}, {})
    assert max(scene["shape"]) == 128 and scene["spacing"] == pytest.approx(300 / 128)


def test_a_volume_must_be_on_the_grid() -> None:
    with pytest.raises(ValueError, match="on a grid of shape"):
        pack_scene(GRID, [0, 0, 0], {"a": torch.zeros(6, 5, 5)}, {}, {})
