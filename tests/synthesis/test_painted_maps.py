"""Subjects that are painted once."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np

from mmreg_lightning.synthesis.label_map import LabelMap
from mmreg_lightning.synthesis.painted_maps import PaintedMaps


class Cubes(PaintedMaps):
    """Cubes of one random number each."""

    source, kept_as = "cubes", ("cube_maps", ".npy")

    def paint(self, rng: np.random.Generator, stream: BinaryIO) -> None:
        np.save(stream, np.full((2, 2, 2), rng.integers(100), np.uint8))

    def read(self, file: Path) -> LabelMap:
        return LabelMap(np.load(file), np.ones(3), ["any"] * 100)


def test_a_subject_is_painted_once_and_is_that_of_its_number_and_the_seed(tmp_path: Path) -> None:
    source = Cubes(3, 1.0, (1.0, 1.0), 7)
    source.prepare(tmp_path)
    files = [tmp_path / "cube_maps_7" / f"{n:04d}.npy" for n in range(3)]
    assert sorted(tmp_path.rglob("*.*")) == files
    expected = [int(np.random.default_rng([7, n]).integers(100)) for n in range(3)]
    assert [int(np.load(file)[0, 0, 0]) for file in files] == expected
    files[1].unlink()
    times = [files[n].stat().st_mtime_ns for n in (0, 2)]
    source.prepare(tmp_path)
    assert files[1].exists() and times == [files[n].stat().st_mtime_ns for n in (0, 2)]
    drawn = source.draw(np.random.default_rng(0), tmp_path)
    assert int(drawn.regions[0, 0, 0]) == expected[int(np.random.default_rng(0).integers(3))]
    assert source.draw(np.random.default_rng(0), tmp_path) is drawn
