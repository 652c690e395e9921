from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import torch

from mmreg_lightning.errors import UserError
from mmreg_lightning.geometry.grid import Grid
from mmreg_lightning.geometry.volume import Volume, check_same_grid
from mmreg_lightning.io.images import read_image, read_labels, write_image

Save = Callable[..., Path]


def test_axis_order_on_disk_changes_nothing(picture, affine, orientation, save: Save, tmp_path: Path) -> None:
    path = save(picture, affine, orientation=orientation)
    volume = read_image(path)
    np.testing.assert_array_equal(volume.data[0].numpy(), picture)
    np.testing.assert_allclose(volume.grid.affine, affine, atol=1e-4)

    # and results go back to the file's own order
    write_image(volume, tmp_path / "copy.nii.gz")
    disk, copy = nib.load(path), nib.load(tmp_path / "copy.nii.gz")
    np.testing.assert_array_equal(copy.get_fdata(), disk.get_fdata())
    np.testing.assert_allclose(copy.affine, disk.affine, atol=1e-5)

    # a voxel of the file and its canonical counterpart are one place
    on_disk = np.array([[1.0, 2.0, 3.0], [0.0, 5.5, 2.0]])
    canonical = volume.native.points_to_canonical(on_disk)
    np.testing.assert_allclose(
        nib.affines.apply_affine(volume.grid.affine, canonical),
        nib.affines.apply_affine(disk.affine, on_disk),
    )
    np.testing.assert_allclose(volume.native.points_from_canonical(canonical), on_disk, atol=1e-9)


def test_written_geometry_is_read_alike_by_itk(picture, oblique, save: Save, tmp_path: Path) -> None:
    path = save(picture, oblique, orientation=np.array([[2, -1], [0, 1], [1, -1]]))
    write_image(read_image(path), tmp_path / "copy.nii.gz")
    image, copy = sitk.ReadImage(str(path)), sitk.ReadImage(str(tmp_path / "copy.nii.gz"))
    assert image.GetSize() == copy.GetSize()
    np.testing.assert_allclose(copy.GetOrigin(), image.GetOrigin(), atol=1e-4)
    np.testing.assert_allclose(copy.GetDirection(), image.GetDirection(), atol=1e-5)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(copy), sitk.GetArrayFromImage(image))


def test_a_sheared_image_keeps_its_geometry(picture, save: Save, tmp_path: Path) -> None:
    affine = np.eye(4)
    affine[1, 2] = 0.3
    write_image(read_image(save(picture, affine)), tmp_path / "copy.nii")
    copy = nib.load(tmp_path / "copy.nii")
    np.testing.assert_allclose(copy.affine, affine, atol=1e-6)
    assert copy.header["qform_code"] == 0


def test_trailing_singleton_axis_and_integers_are_read(save: Save) -> None:
    array = np.arange(24, dtype=np.int16).reshape(2, 3, 4, 1)
    volume = read_image(save(array, np.eye(4)))
    assert volume.data.shape == (1, 2, 3, 4)
    assert volume.data.dtype == torch.float32
    assert volume.data[0, 1, 2, 3] == 23


def test_several_channels_become_the_fourth_axis(tmp_path: Path) -> None:
    data = torch.arange(48.0).reshape(2, 2, 3, 4)
    write_image(Volume(data, Grid((2, 3, 4), np.eye(4))), tmp_path / "features.nii.gz")
    written = nib.load(tmp_path / "features.nii.gz").get_fdata()
    np.testing.assert_array_equal(written[..., 1], data[1].numpy())


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no file .*nowhere.nii.gz"):
        read_image(tmp_path / "nowhere.nii.gz")


@pytest.mark.parametrize("name", ["broken.nii", "broken.nii.gz", "broken.txt"])
def test_unreadable_file(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"this is no image" * 40)
    with pytest.raises(UserError, match=f"{name} is not a readable NIfTI"):
        read_image(tmp_path / name)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_truncated_file(picture, save: Save, suffix: str) -> None:
    path = save(picture, np.eye(4), f"cut{suffix}")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UserError, match="cut.* is damaged"):
        read_image(path)


@pytest.mark.parametrize("shape", [(6, 7), (6, 7, 5, 2)])
def test_wrong_number_of_axes(save: Save, shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match=r"image.nii.gz must be a 3-D image, but its shape is \(6, 7"):
        read_image(save(np.random.default_rng(0).random(shape), np.eye(4)))


def test_colour_and_complex_images(save: Save) -> None:
    rgb = np.zeros((3, 4, 5), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    with pytest.raises(UserError, match="rgb.nii must hold one real number"):
        read_image(save(rgb, np.eye(4), "rgb.nii"))
    with pytest.raises(UserError, match="one real number"):
        read_image(save(np.zeros((3, 4, 5), np.complex64), np.eye(4)))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_voxels_that_are_not_finite(picture, save: Save, value: float) -> None:
    picture[3, 3, 3] = value
    path = save(picture, np.eye(4))
    with pytest.raises(UserError, match="image.nii.gz has NaN or infinite"):
        read_image(path)
    with pytest.raises(UserError, match="image.nii.gz has NaN or infinite"):
        read_labels(path)


def test_constant_image(save: Save) -> None:
    with pytest.raises(UserError, match="constant: every voxel is 7"):
        read_image(save(np.full((3, 4, 5), 7, np.uint8), np.eye(4)))


def test_singular_affine(picture, save: Save) -> None:
    path = save(picture, np.eye(4), "flat.nii")
    raw = bytearray(path.read_bytes())
    raw[280:328] = bytes(48)  # the three rows of the sform
    path.write_bytes(raw)
    with pytest.raises(
        UserError, match="flat.nii: where its voxels lie is unknown, because its sform .code 2. is singular"
    ):
        read_image(path)


def test_labels_of_float_files(save: Save) -> None:
    array = np.zeros((3, 4, 5), np.float32)
    array[1, 2, 3] = 11
    labels = read_labels(save(array, np.eye(4)))
    assert labels.data.dtype == torch.int64
    assert labels.data[0, 1, 2, 3] == 11
    assert labels.data.sum() == 11


@pytest.mark.parametrize(("value", "message"), [(0.5, "not whole, such as 0.5"), (-1, "negative values, such as -1")])
def test_labels_that_are_no_labels(save: Save, value: float, message: str) -> None:
    array = np.zeros((3, 4, 5), np.float32)
    array[0, 0, 0] = value
    with pytest.raises(UserError, match=message):
        read_labels(save(array, np.eye(4)))


@pytest.mark.parametrize(
    ("largest", "dtype"),
    [(13, np.int16), (40000, np.int32), (2**31 - 1, np.int32), (2**31, np.int64), (2**53, np.int64)],
)
def test_labels_are_written_as_small_integers(tmp_path: Path, largest: int, dtype: type) -> None:
    data = torch.zeros(1, 3, 4, 5, dtype=torch.int64)
    data[0, 1, 1, 1] = largest
    write_image(Volume(data, Grid((3, 4, 5), np.eye(4))), tmp_path / "labels.nii.gz")
    assert nib.load(tmp_path / "labels.nii.gz").get_data_dtype() == dtype
    assert read_labels(tmp_path / "labels.nii.gz").data.equal(data)


@pytest.mark.parametrize("stored", [np.uint32, np.int64, np.uint64, np.float64])
@pytest.mark.parametrize("largest", [2**31 - 1, 2**32 - 1])
def test_large_ids_are_kept_in_the_number_type_of_the_file(stored: type, largest: int, tmp_path: Path) -> None:
    array = np.zeros((3, 4, 5), stored)
    array[1, 1, 1] = largest
    nib.save(nib.Nifti1Image(array, np.eye(4), dtype=stored), tmp_path / "in.nii.gz")
    labels = read_labels(tmp_path / "in.nii.gz")
    assert labels.label_ids == [largest]
    write_image(labels, tmp_path / "out.nii.gz", dtype=labels.stored)
    out = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "out.nii.gz")))
    np.testing.assert_array_equal(out.transpose(2, 1, 0), array)
    if np.dtype(stored).itemsize == 8 and stored != np.float64:
        assert out.dtype == (np.int32 if largest < 2**31 else np.int64)


@pytest.mark.parametrize(("stored", "value"), [(np.uint64, 2**63 + 7), (np.int64, 2**53 + 1), (np.float64, 1e19)])
def test_ids_that_no_sampling_keeps_are_refused(stored: type, value: float, tmp_path: Path) -> None:
    array = np.zeros((3, 4, 5), stored)
    array[0, 0, 0] = value
    nib.save(nib.Nifti1Image(array, np.eye(4), dtype=stored), tmp_path / "in.nii.gz")
    with pytest.raises(UserError, match=r"in\.nii\.gz has the id \d+, but ids must not be above 9007199254740992$"):
        read_labels(tmp_path / "in.nii.gz")


def test_write_like_another_volume(picture, save: Save, tmp_path: Path) -> None:
    path = save(picture, np.eye(4), orientation=np.array([[1, -1], [0, 1], [2, 1]]))
    like = read_image(path)
    write_image(Volume(like.data, like.grid), tmp_path / "out.nii", like)
    np.testing.assert_array_equal(nib.load(tmp_path / "out.nii").get_fdata(), nib.load(path).get_fdata())
    with pytest.raises(ValueError, match="to be written like"):
        write_image(Volume(like.data, Grid(like.grid.shape, np.diag([2.0, 2, 2, 1]))), tmp_path / "out.nii", like)


def test_labels_in_another_axis_order_are_on_the_same_grid(picture, save: Save) -> None:
    image = read_image(save(picture, np.eye(4), "image.nii"))
    labels = read_labels(
        save((picture > 0.5).astype(np.uint8), np.eye(4), "mask.nii", np.array([[2, 1], [1, -1], [0, -1]]))
    )
    check_same_grid(labels, image)
