"""A sheared fixed image on a rigid grid: voxels, labels, mask and landmarks keep their places in the world."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from headers import oblique_affine, smooth_array
from scipy.ndimage import map_coordinates

from mmreg_lightning.data.pair import Image
from mmreg_lightning.data.straight import straight_image, straight_layout
from mmreg_lightning.geometry.frames import transform_points
from mmreg_lightning.geometry.native import NativeGrid
from mmreg_lightning.geometry.rigid import is_rigid
from mmreg_lightning.geometry.volume import Volume

SHAPE = (20, 16, 12)


def layout(axes: tuple[int, int] = (1, 2)) -> NativeGrid:
    """A file with the axes L, P, S whose slices lie each further along one of its other axes."""
    affine = oblique_affine() @ np.diag([-1.0, -1, 1, 1])
    affine[:3, axes[1]] += 0.2 * affine[:3, axes[0]]
    return NativeGrid(SHAPE, affine)


def image(native: NativeGrid) -> Image:
    array = native.to_canonical(smooth_array(SHAPE) + 1).copy()
    grid = native.canonical_grid
    volume = Volume(torch.from_numpy(array)[None], grid, native, Path("f.nii"), np.dtype(np.int16))
    labels = Volume((volume.data > 2).long(), grid, native, Path("l.nii"))
    return Image(volume, labels, landmarks=np.array([[3.0, 4.0, 5.0], [10.0, 2.5, 7.0]]), modality="CT")


def test_a_rigid_image_is_left_alone() -> None:
    native = NativeGrid(SHAPE, oblique_affine())
    own = image(native)
    assert straight_image(own) is own
    assert straight_layout(native, "f.nii") is native


@pytest.mark.parametrize("axes", [(1, 2), (0, 1), (2, 0)])
def test_everything_keeps_its_place(axes: tuple[int, int]) -> None:
    own = image(layout(axes))
    straight = straight_image(own)
    grid = straight.volume.grid
    assert is_rigid(grid.affine) and straight.straight and straight.modality == "CT"
    assert straight.volume.stored == np.int16 and straight.volume.path == Path("f.nii")
    # SciPy's linear interpolation at the same places, where they are inside
    index = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1)
    source = transform_points(grid.voxel_to(own.volume.grid), index)
    inside = ((source >= 0) & (source <= np.array(SHAPE) - 1)).all(axis=-1)
    expected = map_coordinates(own.volume.data[0].numpy(), np.moveaxis(source, -1, 0), order=1)
    np.testing.assert_allclose(straight.volume.data[0].numpy()[inside], expected[inside], atol=1e-3)
    nearest = map_coordinates(own.labels.data[0].numpy(), np.moveaxis(source, -1, 0), order=0)  # type: ignore[union-attr]
    assert straight.labels is not None and straight.mask is not None and straight.landmarks is not None
    assert np.mean(straight.labels.data[0].numpy()[inside] != nearest[inside]) < 0.01  # half-way between voxels
    # The corners are no part of the image.
    seen = ((source > -0.5) & (source < np.array(SHAPE) - 0.5)).all(axis=-1)
    assert np.mean((straight.mask.data[0].numpy() > 0) != seen) < 0.02 and seen.mean() < 0.96  # but for ties
    assert (straight.labels.data[0].numpy()[~seen] == 0).mean() > 0.99
    np.testing.assert_allclose(
        transform_points(grid.affine, straight.landmarks),
        transform_points(own.volume.grid.affine, own.landmarks),  # type: ignore[arg-type]
    )


def test_a_mask_stays_one() -> None:
    own = image(layout())
    mask = torch.zeros(1, *SHAPE)
    mask[:, 5:9, 5:9, 5:9] = 1
    straight = straight_image(Image(own.volume, mask=Volume(mask, own.volume.grid)))
    assert straight.mask is not None and straight.labels is None and straight.landmarks is None
    assert set(straight.mask.data.unique().tolist()) == {0.0, 1.0}
    assert float(straight.mask.data.sum()) == pytest.approx(64, rel=0.2)


def test_the_axis_order_of_the_file_stays_and_the_note_says_what_is_done() -> None:
    straight = straight_image(image(layout()))
    assert straight.volume.native.affine[0, 0] < 0 and straight.volume.native.affine[1, 1] < 0
    (note,) = straight.notes
    assert note.startswith("f.nii: its grid is sheared") and "20 x 19 x 12 voxels of 1.5 x 2 x 0.8 mm." in note
