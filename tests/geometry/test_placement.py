"""Labels on a crop, or at another resolution, of their image's frame are placed as SimpleITK resamples them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import torch
from headers import oblique_affine

from mmreg_lightning.errors import UserError
from mmreg_lightning.geometry.grid import Grid
from mmreg_lightning.geometry.placement import place_on
from mmreg_lightning.geometry.volume import Volume
from mmreg_lightning.io.images import read_image, read_labels


@pytest.fixture
def whole() -> sitk.Image:
    """A label map of 40 x 36 x 30 voxels on an oblique grid: three boxes and a large id."""
    array = np.zeros((30, 36, 40), np.uint32)
    array[5:14, 6:20, 8:19], array[12:22, 9:30, 20:33], array[16:25, 4:12, 5:18] = 1, 7, 2**31 + 5
    image = sitk.GetImageFromArray(array)
    affine = np.diag([-1.0, -1, 1, 1]) @ oblique_affine()
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((affine[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    return image


def written(image: sitk.Image, path: Path) -> Path:
    sitk.WriteImage(image, str(path))
    return path


def image_on(grid: sitk.Image, path: Path) -> Volume:
    noise = sitk.GetImageFromArray(np.random.default_rng(0).normal(size=grid.GetSize()[::-1]).astype(np.float32))
    noise.CopyInformation(grid)
    return read_image(written(noise, path))


def test_a_crop_is_copied_voxel_by_voxel(whole: sitk.Image, tmp_path: Path) -> None:
    """As 3D Slicer saves segmentations: on the extent of what is segmented."""
    image = image_on(whole, tmp_path / "image.nii.gz")
    expected = read_labels(written(whole, tmp_path / "whole.nrrd"))
    crop = read_labels(written(whole[4:35, 3:32, 5:26], tmp_path / "crop.nrrd"))
    flipped = read_labels(written(sitk.Flip(whole[4:35, 3:32, 5:26], [True, False, True]), tmp_path / "flip.nrrd"))
    for labels in (crop, flipped):
        placed = place_on(labels, image)
        assert torch.equal(placed.data, expected.data)
        assert placed.grid is image.grid and placed.data.dtype == torch.int64 and placed.stored == labels.stored
        marked = int((expected.data != 0).sum())
        (note,) = placed.native.notes
        assert note.startswith(f"{labels.path} (")
        assert f"placed on it voxel by voxel; 0 of its {marked} labelled voxels lie outside of it, and about " in note
        share = 100 * (1 - np.prod(labels.grid.shape) / np.prod(image.grid.shape))
        assert abs(int(note.split("and about ")[1].split(" %")[0]) - share) < 6
    assert place_on(expected, image) is expected


def test_what_lies_outside_is_counted(whole: sitk.Image, tmp_path: Path) -> None:
    image = image_on(whole[2:38, 2:34, 0:20], tmp_path / "image.nii.gz")
    labels = read_labels(written(whole, tmp_path / "whole.nrrd"))
    array = sitk.GetArrayFromImage(whole)
    lost = int((array != 0).sum() - (array[0:20, 2:34, 2:38] != 0).sum())
    placed = place_on(labels, image)
    assert lost > 0 and placed.native.notes[0].endswith(
        f"{lost} of its {int((array != 0).sum())} labelled voxels lie outside of it"
    )
    assert torch.equal(placed.data, read_labels(written(whole[2:38, 2:34, 0:20], tmp_path / "part.nrrd")).data)


@pytest.mark.parametrize("spacing", [(3.1, 3.3, 2.9), (0.7, 0.9, 0.5)])
def test_another_resolution_is_what_simpleitk_makes_of_it(
    spacing: tuple[float, float, float], whole: sitk.Image, tmp_path: Path
) -> None:
    size = [round(n * s / t) for n, s, t in zip(whole.GetSize(), whole.GetSpacing(), spacing, strict=True)]
    other = sitk.Resample(
        whole, size, sitk.Transform(), sitk.sitkNearestNeighbor, whole.GetOrigin(), spacing, whole.GetDirection()
    )
    image = image_on(whole, tmp_path / "image.nii.gz")
    placed = place_on(read_labels(written(other, tmp_path / "other.nrrd")), image)
    back = sitk.Resample(other, whole, sitk.Transform(), sitk.sitkNearestNeighbor, 0)
    expected = read_labels(written(back, tmp_path / "back.nrrd"))
    # Ties, and voxels whose centre lies between the outermost centres and the border, which ITK cuts off.
    assert (placed.data != expected.data).float().mean() < 1e-3
    assert "by the nearest voxel" in placed.native.notes[0]


def test_a_mask_outside_of_its_grid_is_background(whole: sitk.Image, tmp_path: Path) -> None:
    image = image_on(whole, tmp_path / "image.nii.gz")
    crop = read_image(written(sitk.Cast(whole[4:35, 3:32, 5:26] > 0, sitk.sitkFloat32), tmp_path / "crop.nrrd"))
    placed = place_on(crop, image)
    assert placed.data.dtype == torch.float32
    assert int(placed.data.sum()) == int((sitk.GetArrayFromImage(whole) != 0).sum())


def test_another_frame_is_refused() -> None:
    image = Volume(torch.zeros(1, 10, 10, 10), Grid((10, 10, 10), np.eye(4)))

    def labels(shape: tuple[int, int, int], *origin: float, value: int = 1) -> Volume:
        affine = np.eye(4)
        affine[:3, 3] = origin
        return Volume(torch.full((1, *shape), value), Grid(shape, affine))

    with pytest.raises(UserError, match=r"is not on the same grid as .*\)$"):
        place_on(labels((10, 10, 10), 0.5, 0, 0), image)
    with pytest.raises(UserError, match="is not on the same grid as .*, and does not overlap with it$"):
        place_on(labels((4, 4, 4), 50, 0, 0), image)
    with pytest.raises(UserError, match="and 48 of its 64 labelled voxels lie outside of it$"):
        place_on(labels((4, 4, 4), 9, 0, 0), image)
    assert not place_on(labels((4, 4, 4), 9, 0, 0, value=0), image).data.any()
