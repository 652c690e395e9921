from __future__ import annotations

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mmreg_lightning.reporting.planes import (
    AXIAL,
    CORONAL,
    SAGITTAL,
    View,
    cut,
    extent,
    frame_plane,
    row_heights,
    show_plane,
)


def test_planes_show_the_axes_they_name() -> None:
    i, j, k = torch.meshgrid(torch.arange(4), torch.arange(5), torch.arange(6), indexing="ij")
    volume = 100 * i + 10 * j + k
    spacing = (1.0, 2.0, 3.0)
    # The voxel nearest to the position: (n - 1) / 2 + position / spacing.
    assert np.array_equal(cut(volume, AXIAL, spacing, 7.5)[2], [25, 125, 225, 325])
    assert np.array_equal(cut(volume, CORONAL, spacing, -4.0)[1], [1, 101, 201, 301])
    assert np.array_equal(cut(volume, SAGITTAL, spacing, 99.0)[0], [300, 310, 320, 330, 340])
    assert cut(torch.stack([volume, volume, volume]), CORONAL, spacing, 0).shape == (6, 4, 3)
    assert extent(volume.shape, spacing, SAGITTAL) == (-5, 5, -9, 9)


def test_a_position_outside_shows_the_last_plane() -> None:
    volume = torch.arange(4).view(1, 1, 4).expand(3, 3, 4)
    assert (cut(volume, AXIAL, (1, 1, 2), 1e3) == 3).all()
    assert (cut(volume, AXIAL, (1, 1, 2), -1e3) == 0).all()


@pytest.mark.parametrize("view", [AXIAL, CORONAL, SAGITTAL], ids=lambda view: view.name)
def test_right_and_anterior_are_on_the_left_and_up_is_up(view: View) -> None:
    # One bright voxel at the end of both axes of the plane: on the screen it is at the upper left.
    volume = torch.zeros(3, 3, 3)
    volume[tuple(1 if axis == view.normal else 2 for axis in range(3))] = 1
    figure = Figure(figsize=(3, 3), dpi=30)
    axes = figure.add_axes((0, 0, 1, 1))
    show_plane(axes, volume, (2.0, 2.0, 2.0), view, 0.0, cmap="gray", interpolation="nearest")
    frame_plane(axes, volume.shape, (2.0, 2.0, 2.0), view)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    grey = np.asarray(canvas.buffer_rgba())[:, :, 0]
    assert grey.shape == (90, 90)
    assert grey[15, 15] == 255 and np.delete(grey[15::30, 15::30].ravel(), 0).max() == 0


def test_rows_are_as_high_as_their_planes_within_bounds() -> None:
    assert row_heights((10, 20, 30), (1.0, 1.0, 0.5)) == [2.0, 1.5, 0.75]
    assert row_heights((100, 10, 100), (1.0, 1.0, 1.0)) == [0.35, 1.0, 2.0]
