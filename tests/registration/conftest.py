"""A registration's folder, on which saved transforms are tried."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scenes import files_of, register_to
from scipy.spatial.transform import Rotation

from mmreg_lightning.io.transforms import write_affine


@pytest.fixture
def registered(write_scene: Callable, tmp_path: Path) -> Path:
    """A folder with the files of both images, and the result of their registration under ``out``."""
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler("z", 10, degrees=True).as_matrix()
    turn[:3, 3] = (6.0, -4.0, 3.0)
    write_affine(turn, tmp_path / "initial.tfm")
    fixed, moving = write_scene("f", axes="PSR"), write_scene("m", (40, 38, 36), shift=(8, -3, 2), axes="LAS")
    files = files_of(fixed.image, moving.image, fixed.labels, moving.labels)
    register_to(files, tmp_path / "out", affine=str(tmp_path / "initial.tfm"), overrides=["solver.iterations=20"])
    return tmp_path
