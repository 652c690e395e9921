"""Which files of a folder are read, which are ignored with a note, and how one of several series is chosen."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from dicom_images import save, slices, stored_values
from pydicom import dcmwrite
from pydicom.data import get_testdata_file

from mmreg_lightning.errors import UserError
from mmreg_lightning.io.dicom_files import find_series, is_dicom_path
from mmreg_lightning.io.images import load_array


def shipped(name: str) -> Path:
    """A file that pydicom brings along."""
    path = get_testdata_file(name, download=False)
    assert path is not None
    return Path(path)


def test_nested_folders_and_names_without_ending(tmp_path: Path) -> None:
    stored = stored_values()
    folder = save(tmp_path, slices(stored), lambda k: f"{'ab'[k % 2]}/IM{k}")
    array, native = load_array(folder)
    np.testing.assert_array_equal(array, stored - 1024)
    assert native.notes == ()
    assert is_dicom_path(folder) and is_dicom_path(folder / "a" / "IM0") and not is_dicom_path(tmp_path / "none.nrrd")


@pytest.mark.parametrize("implicit", [True, False])
def test_files_without_preamble_and_file_meta_information(implicit: bool, tmp_path: Path) -> None:
    stored = stored_values()
    for k, data in enumerate(slices(stored)):
        del data.file_meta
        dcmwrite(tmp_path / f"I{k}", data, implicit_vr=implicit, little_endian=True)
        assert (tmp_path / f"I{k}").read_bytes()[:2] == b"\x08\x00"
    array, native = load_array(tmp_path)
    np.testing.assert_array_equal(array, stored - 1024)
    assert native.notes == ()


def test_other_objects_are_ignored_with_a_note(tmp_path: Path) -> None:
    stored = stored_values()
    save(tmp_path, slices(stored))
    localiser = slices(stored[..., :2], ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    save(tmp_path, localiser, "scout{}.dcm".format)
    save(tmp_path, slices(stored[..., :1], series="7", ImagePositionPatient=None), "report{}.dcm".format)
    for name in ("rtstruct.dcm", "test-SR.dcm", "rtdose.dcm", "SC_rgb_rle.dcm", "examples_palette.dcm"):
        shutil.copy(shipped(name), tmp_path / name)
    shutil.copy(shipped("dicomdirtests/DICOMDIR"), tmp_path / "DICOMDIR")
    (tmp_path / "readme.txt").write_text("no image", encoding="utf-8")
    (tmp_path / ".hidden").write_text("no image", encoding="utf-8")
    array, native = load_array(tmp_path)
    np.testing.assert_array_equal(array, stored - 1024)
    (note,) = native.notes
    assert note.startswith(f"{tmp_path}: besides the images of its DICOM series there is ")
    for what in ("2 x localiser", "2 x colour image", "1 x RT Structure Set Storage", "1 x RT Dose Storage"):
        assert what in note
    assert "1 x Media Storage Directory Storage" in note and "1 x not DICOM" in note
    assert "image without a position" in note and " SR Storage" in note


def test_one_of_several_series_is_chosen_by_its_uid(tmp_path: Path) -> None:
    first, second = stored_values(), stored_values((5, 4, 3), seed=1)
    save(tmp_path, slices(first, SeriesDescription="Thorax 2.5"), "a{}".format)
    save(tmp_path / "more", slices(second, series="2", Modality="PT"), "b{}".format)
    listed = r"125\.1 \(CT, 'Thorax 2\.5', 6 files\); .*125\.2 \(PT, 'Series 2', 3 files\)$"
    with pytest.raises(UserError, match=rf"holds 2 DICOM series, choose one by its UID \(--series.*: .*{listed}"):
        load_array(tmp_path)
    with pytest.raises(UserError, match=rf"^series=1\.2\.3: .*holds no such DICOM series of images, it has .*{listed}"):
        load_array(tmp_path, "1.2.3")
    for stored, uid in ((first, "1"), (second, "2")):
        array, native = load_array(tmp_path, f"1.2.826.0.1.3680043.2.1125.{uid}")
        np.testing.assert_array_equal(array, stored - 1024)
        assert not any("Thorax" in note for note in native.notes)


def test_a_series_is_for_dicom_only(tmp_path: Path) -> None:
    (tmp_path / "image.nii.gz").write_bytes(b"")
    with pytest.raises(UserError, match=r"image\.nii\.gz is not DICOM: it has no series 1\.2 to choose$"):
        load_array(tmp_path / "image.nii.gz", "1.2")


@pytest.mark.parametrize("name", ["rtstruct.dcm", "SC_rgb_rle.dcm", "examples_palette.dcm", "rtdose.dcm"])
def test_a_file_that_is_no_image(name: str) -> None:
    what = {"rtstruct.dcm": "RT Structure Set Storage", "rtdose.dcm": "RT Dose Storage"}.get(name, "colour image")
    with pytest.raises(UserError, match=rf"{name} holds no DICOM series of images: it has 1 x {what}$"):
        load_array(shipped(name))


def test_real_slices_are_single() -> None:
    for name in ("CT_small.dcm", "MR_small.dcm"):
        with pytest.raises(UserError, match="is a single DICOM slice: it must be a volume"):
            load_array(shipped(name))


def test_no_file_and_nothing_in_a_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no DICOM series of images$"):
        find_series(tmp_path)
    with pytest.raises(UserError, match=r"^there is no file .*none\.dcm$"):
        load_array(tmp_path / "none.dcm")
    (tmp_path / "broken.dcm").write_bytes(b"\x08\x00" + bytes(range(250)))
    with pytest.raises(UserError, match=r"broken\.dcm holds no DICOM series of images: it has 1 x not DICOM$"):
        load_array(tmp_path / "broken.dcm")
