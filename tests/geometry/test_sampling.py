"""Interpolation at points of the torch cube."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mmreg_lightning.geometry.frames import Frame
from mmreg_lightning.geometry.grid import Grid
from mmreg_lightning.geometry.sampling import sample_affine, sample_at, slabs

LINE = torch.tensor([1.0, 3.0, 7.0, 15.0]).view(1, 4, 1, 1).expand(1, 4, 2, 2).contiguous()
CUBE = Grid((4, 2, 2), np.eye(4)).matrix(Frame.VOXEL, Frame.TORCH_CUBE)


def shifted(by: float) -> np.ndarray:
    """Voxel i of a grid of one row is voxel i + by of ``LINE``."""
    move = np.eye(4)
    move[0, 3] = by
    return CUBE @ move


@pytest.mark.parametrize(("by", "mode", "expected"), [(0.5, "linear", [2, 5, 11]), (0.4, "nearest", [1, 3, 7])])
def test_between_voxels(by: float, mode, expected: list[float]) -> None:
    out = sample_affine(LINE, shifted(by), (3, 1, 1), mode=mode)
    assert out.flatten().tolist() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(("fill", "expected"), [(None, [15, 15, 15]), (-1.0, [15, 15, -1])])
def test_beyond_the_field_of_view(fill, expected: list[float]) -> None:
    # Voxels 3, 3.49 and 3.98: the field of view ends at 3.5.
    matrix = shifted(3.0)
    matrix[:, 0] *= 0.49
    assert sample_affine(LINE, matrix, (3, 1, 1), fill=fill).flatten().tolist() == pytest.approx(expected, abs=1e-5)


def test_points_are_in_the_order_of_the_cube() -> None:
    data = torch.arange(8.0).view(1, 2, 2, 2)
    corner = torch.tensor([0.5, -0.5, -0.5]).view(1, 1, 1, 3)  # centre of the voxel (0, 0, 1)
    assert sample_at(data, corner).item() == pytest.approx(1.0)


def test_slabs_cover_the_first_axis_once() -> None:
    assert [(s.start, s.stop) for s in slabs((5, 2, 3), points=12)] == [(0, 2), (2, 4), (4, 5)]
    assert len(list(slabs((5, 20, 30), points=12))) == 5  # at least one row


def test_the_border_reaches_as_far_as_is_said() -> None:
    # Voxels 3, 4, ... 8: the field of view ends at 3.5, and two more voxels are repeated.
    for reach, expected in {(2.0, 0, 0): [15, 15, 15, -1, -1, -1], (0, 2.0, 2.0): [15, -1, -1, -1, -1, -1]}.items():
        out = sample_affine(LINE, shifted(3.0), (6, 1, 1), fill=-1.0, reach=reach)
        assert out.flatten().tolist() == expected
    across = np.diag([1.0, 1, 1, 1])
    across[1, 3] = 2.0  # voxel 2 along J, of two
    out = [
        sample_affine(LINE, CUBE @ across, (4, 1, 1), fill=-1.0, reach=(0, r, 0)).flatten().tolist() for r in (0.4, 1)
    ]
    assert out == [[-1, -1, -1, -1], [1, 3, 7, 15]]
