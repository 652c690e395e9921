"""A volume and its grid."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mmreg_lightning.errors import UserError
from mmreg_lightning.geometry.grid import Grid
from mmreg_lightning.geometry.native import NativeGrid
from mmreg_lightning.geometry.volume import Volume, check_same_grid

CUBE = Grid((4, 4, 4), np.eye(4))


def moved(by: float, shape: tuple[int, int, int] = (4, 4, 4)) -> Grid:
    affine = np.eye(4)
    affine[0, 3] = by
    return Grid(shape, affine)


@pytest.mark.parametrize("ids", [[0, 3, 7], [0, 5, 70_001]], ids=["counted", "sorted"])
def test_label_ids_are_sorted_and_without_background(ids: list[int]) -> None:
    data = torch.zeros(1, 4, 4, 4, dtype=torch.int64)
    data[0, 0, 0], data[0, 1, 0] = ids[2], ids[1]
    assert Volume(data, CUBE).label_ids == ids[1:]


def test_a_volume_must_fit_its_grid() -> None:
    with pytest.raises(ValueError, match="data of shape"):
        Volume(torch.zeros(1, 2, 2, 2), Grid((2, 2, 3), np.eye(4)))
    with pytest.raises(ValueError, match="native layout"):
        Volume(torch.zeros(1, 4, 4, 4), CUBE, NativeGrid.of(moved(1.0)))


def test_the_same_grid_to_a_tenth_of_a_voxel() -> None:
    image = Volume(torch.zeros(1, 4, 4, 4), CUBE)
    check_same_grid(Volume(torch.zeros(1, 4, 4, 4), moved(0.09)), image)
    with pytest.raises(UserError, match="not on the same grid"):
        check_same_grid(Volume(torch.zeros(1, 4, 4, 4), moved(0.11)), image)


def test_both_volumes_are_named() -> None:
    image = Volume(torch.zeros(1, 4, 4, 4), CUBE)
    labels = Volume(torch.zeros(1, 4, 4, 5), moved(1.0, (4, 4, 5)))
    image.path, labels.path = "image.nii", "mask.nii"
    sentence = (
        r"mask.nii \(4 x 4 x 5 voxels of 1 x 1 x 1 mm, centre 2.5, 1.5, 2\) is not on the same grid as "
        r"image.nii \(4 x 4 x 4 voxels of 1 x 1 x 1 mm, centre 1.5, 1.5, 1.5\)"
    )
    with pytest.raises(UserError, match=sentence):
        check_same_grid(labels, image)
