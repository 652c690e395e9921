"""Series over time are read frame by frame and written with their time step, as nibabel and SimpleITK read them."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from headers import oblique_affine

from mmreg_lightning.errors import UserError
from mmreg_lightning.geometry.native import NativeGrid
from mmreg_lightning.io.images import load_array
from mmreg_lightning.io.time_series import TimeSeries, open_time_series, write_time_series


@pytest.fixture
def array() -> np.ndarray:
    return np.random.default_rng(0).integers(-900, 2000, (6, 5, 4, 3)).astype(np.int16)


def opened(path: Path) -> TimeSeries:
    series = open_time_series(path)
    assert series is not None
    return series


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_nifti_there_and_back(name: str, array: np.ndarray, tmp_path: Path) -> None:
    image = nib.Nifti1Image(array, oblique_affine())
    image.header.set_zooms((*image.header.get_zooms()[:3], 2500.0))
    image.header.set_xyzt_units("mm", "msec")
    nib.save(image, tmp_path / name)
    series = opened(tmp_path / name)
    assert (series.count, series.step, series.unit) == (3, 2500.0, "msec")
    frames = [series.read(index) for index in range(3)]
    np.testing.assert_array_equal(np.stack(frames, -1), array)
    out = tmp_path / f"out_{name}"
    write_time_series(frames, series, series.native, out, np.dtype(np.int16))
    again = nib.load(out)
    np.testing.assert_array_equal(np.asanyarray(again.dataobj), array)
    np.testing.assert_allclose(again.affine, oblique_affine(), atol=1e-5)
    assert again.header.get_zooms()[3] == 2500 and again.header.get_xyzt_units() == ("mm", "msec")
    read = sitk.ReadImage(str(out))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(read).transpose(3, 2, 1, 0), array)


def test_scaled_values_are_read_scaled(array: np.ndarray, tmp_path: Path) -> None:
    image = nib.Nifti1Image(array, np.eye(4))
    image.header.set_slope_inter(0.5, -3)
    image.to_filename(tmp_path / "a.nii")
    expected = nib.load(tmp_path / "a.nii").get_fdata()
    np.testing.assert_allclose(opened(tmp_path / "a.nii").read(2), expected[..., 2])


def test_metaimage_of_four_dimensions(array: np.ndarray, tmp_path: Path) -> None:
    image = sitk.GetImageFromArray(array.transpose(3, 2, 1, 0), isVector=False)
    image.SetSpacing((1.5, 2.0, 0.8, 3.5))
    image.SetOrigin((-12.0, 30.0, 7.0, 0.0))
    direction = np.eye(4)
    direction[:2, :2] = [[0.8, -0.6], [0.6, 0.8]]
    image.SetDirection(direction.ravel().tolist())
    sitk.WriteImage(image, str(tmp_path / "a.mha"))
    series = opened(tmp_path / "a.mha")
    assert (series.count, series.step) == (3, 3.5)
    np.testing.assert_array_equal(np.stack([series.read(index) for index in range(3)], -1), array)
    sitk.WriteImage(image[..., 0], str(tmp_path / "first.nrrd"))
    np.testing.assert_allclose(series.native.affine, load_array(tmp_path / "first.nrrd")[1].affine, atol=1e-6)


def test_large_ids_stay(tmp_path: Path) -> None:
    array = np.full((3, 3, 3, 2), 5, np.int64)
    array[0, 0, 0, 1] = 2**33
    nib.save(nib.Nifti1Image(array, np.eye(4), dtype=np.int64), tmp_path / "a.nii")
    series = opened(tmp_path / "a.nii")
    frames = [series.read(0), series.read(1)]
    write_time_series(frames, series, series.native, tmp_path / "b.nii", frames[0].dtype)
    np.testing.assert_array_equal(np.asanyarray(nib.load(tmp_path / "b.nii").dataobj), array)


def test_one_frame_or_another_format_is_no_series(array: np.ndarray, tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(array[..., 0], np.eye(4)), tmp_path / "3d.nii")
    nib.save(nib.Nifti1Image(array[..., :1], np.eye(4)), tmp_path / "one.nii")
    sitk.WriteImage(sitk.Image([4, 4, 4], sitk.sitkVectorUInt8, 3), str(tmp_path / "colour.nrrd"))
    (tmp_path / "broken.nii").write_bytes(b"nothing")
    for name in ("3d.nii", "one.nii", "colour.nrrd", "broken.nii", "missing.nii", "."):
        assert open_time_series(tmp_path / name) is None


def test_a_file_that_ends_early(array: np.ndarray, tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(array, np.eye(4)), tmp_path / "a.nii")
    content = (tmp_path / "a.nii").read_bytes()
    (tmp_path / "a.nii").write_bytes(content[:-60])
    series = opened(tmp_path / "a.nii")
    with pytest.raises(UserError, match=r"^frame 3 of .*a\.nii cannot be read, or the file is damaged$"):
        series.read(2)


def test_memory_is_that_of_a_frame(tmp_path: Path) -> None:
    frame = np.random.default_rng(0).integers(0, 9, (64, 64, 32)).astype(np.int16)
    like = TimeSeries(tmp_path / "x", NativeGrid((64, 64, 32), np.eye(4)), 40, 1.0, "sec", lambda index: frame)
    tracemalloc.start()
    write_time_series((frame + n for n in range(40)), like, like.native, tmp_path / "a.nii.gz", frame.dtype)
    series = opened(tmp_path / "a.nii.gz")
    for n in range(40):
        assert series.read(n)[0, 0, 0] == frame[0, 0, 0] + n
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 * frame.nbytes < 40 * frame.nbytes
