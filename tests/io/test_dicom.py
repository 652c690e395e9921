"""DICOM series and multi-frame files: values and places as pydicom, SimpleITK and highdicom have them, or refused."""

from __future__ import annotations

from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from dicom_images import ORIGIN, SPACING, affine_lps, save, slices, stored_values
from highdicom.legacy import LegacyConvertedEnhancedCTImage, LegacyConvertedEnhancedMRImage
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import CTImageStorage, MRImageStorage

from mmreg_lightning.errors import UserError
from mmreg_lightning.io.images import load_array, read_image

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def enhanced(datasets: list[Dataset], path: Path) -> Dataset:
    """A multi-frame file of the slices, by highdicom; its functional groups may be changed before it is saved."""
    kind = {CTImageStorage: LegacyConvertedEnhancedCTImage, MRImageStorage: LegacyConvertedEnhancedMRImage}
    out = kind[datasets[0].SOPClassUID](
        datasets, series_instance_uid=hd.UID(), series_number=2, sop_instance_uid=hd.UID(), instance_number=1
    )
    out.save_as(path)
    return out


def scale_frames(data: Dataset, scales: NDArray[np.float64]) -> None:
    """Give each frame a slope and intercept of its own."""
    shared = data.SharedFunctionalGroupsSequence[0]
    if "PixelValueTransformationSequence" in shared:
        del shared.PixelValueTransformationSequence
    for group, (slope, intercept) in zip(data.PerFrameFunctionalGroupsSequence, scales.tolist(), strict=True):
        item = Dataset()
        item.RescaleSlope, item.RescaleIntercept, item.RescaleType = slope, intercept, "US"
        group.PixelValueTransformationSequence = [item]


def test_a_series_is_what_simpleitk_and_the_header_say(tmp_path: Path) -> None:
    stored = stored_values()
    folder = save(tmp_path, slices(stored))
    array, native = load_array(folder)
    assert array.dtype == np.int16 and native.notes == ()
    np.testing.assert_array_equal(array, stored - 1024)
    np.testing.assert_allclose(native.affine, LPS @ affine_lps(), atol=1e-6)
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder))
    expected = sitk.ReadImage(names)
    np.testing.assert_array_equal(array, sitk.GetArrayFromImage(expected).transpose(2, 1, 0))
    for index in ((0, 0, 0), (8, 6, 5)):
        place = LPS[:3, :3] @ np.array(expected.TransformIndexToPhysicalPoint(index))
        np.testing.assert_allclose((native.affine @ [*index, 1])[:3], place, atol=1e-4)


def test_the_first_slope_does_not_decide_for_the_others(tmp_path: Path) -> None:
    """ITK takes the number type from the first slice, where the slope is whole, and truncates the others."""
    stored = stored_values()
    datasets = slices(stored)
    scales = np.array([[1, 0], [0.25, 0.5], [3.7, -2], [1, 0], [0.001, 0], [2, 1]])
    for data, (slope, intercept) in zip(datasets, scales.tolist(), strict=True):
        data.RescaleSlope, data.RescaleIntercept = slope, intercept
    array, _ = load_array(save(tmp_path, datasets))
    assert array.dtype == np.float32
    np.testing.assert_allclose(array, stored * scales[:, 0] + scales[:, 1], rtol=1e-6)


@pytest.mark.parametrize("kind", [CTImageStorage, MRImageStorage], ids=["CT", "MR"])
def test_frames_that_are_shuffled_and_scaled_one_by_one(kind: str, tmp_path: Path) -> None:
    stored = stored_values()
    more = {"SOPClassUID": kind, "Modality": "CT" if kind == CTImageStorage else "MR"}
    datasets = slices(stored, **more)
    if kind == MRImageStorage:
        for data in datasets:
            data.EchoTime, data.RepetitionTime, data.FlipAngle = 4.6, 500, 90
            data.ScanningSequence, data.SequenceVariant, data.ScanOptions, data.MRAcquisitionType = "SE", "SK", "", "2D"
            data.EchoTrainLength = 1
            data.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND"]
    data = enhanced([datasets[k] for k in (3, 0, 5, 1, 4, 2)], tmp_path / "enhanced")
    scales = np.random.default_rng(1).uniform(0.5, 2, (6, 2)).round(3)
    scale_frames(data, scales)
    data.save_as(tmp_path / "enhanced")
    expected = hd.imread(tmp_path / "enhanced").get_volume(apply_presentation_lut=False)
    array, native = load_array(tmp_path / "enhanced")
    assert native.notes == ()
    # highdicom's axes are slices, rows, columns; its slices run the other way or ours
    for index in np.ndindex(array.shape):
        place = LPS @ native.affine @ [*index, 1]
        k, j, i = np.rint(expected.map_reference_to_indices(place[None, :3])[0]).astype(int)
        assert array[index] == pytest.approx(expected.array[k, j, i], rel=1e-6)
    positions = [group.PlanePositionSequence[0].ImagePositionPatient for group in data.PerFrameFunctionalGroupsSequence]
    frames = np.argsort([position[2] for position in positions])
    np.testing.assert_allclose(array[2, 3], data.pixel_array[frames, 3, 2] * scales[frames, 0] + scales[frames, 1])
    # A folder that holds the file is the same volume.
    (tmp_path / "folder").mkdir()
    (tmp_path / "enhanced").rename(tmp_path / "folder" / "enhanced.dcm")
    again, layout = load_array(tmp_path / "folder")
    np.testing.assert_array_equal(again, array)
    np.testing.assert_array_equal(layout.affine, native.affine)


@pytest.mark.parametrize("multiframe", [False, True], ids=["classic", "enhanced"])
def test_what_is_no_volume_is_refused_by_name(multiframe: bool, tmp_path: Path) -> None:
    def refused(datasets: list[Dataset], expected: str, name: str) -> None:
        folder = tmp_path / name
        if multiframe:
            folder.mkdir()
            enhanced(datasets, folder / "all.dcm")
        else:
            save(folder, datasets)
        with pytest.raises(UserError, match=expected) as caught:
            read_image(folder)
        assert "Jane" not in str(caught.value) and "\n" not in str(caught.value)

    stored = stored_values((9, 7, 12))
    which = r"frame \d+ of .*all\.dcm" if multiframe else r"\d\d\.dcm"
    datasets = slices(stored)
    refused(datasets[:5] + datasets[6:], f"not evenly spaced: .*{which} is 5 mm from the slice before it", "gap")
    refused(datasets[:1], "single DICOM slice", "single")
    uneven = slices(stored)
    for k, data in enumerate(uneven):
        data.ImagePositionPatient = [0, 0, 2.5 * k + (1 if k > 6 else 0)]
    refused(uneven, "not evenly spaced: .* is 3.5 mm from the slice before it, most are 2.5 mm", "uneven")
    tilted = slices(stored)
    for k, data in enumerate(tilted):
        data.ImagePositionPatient = [0, 0.4 * k, 2.5 * k]
    refused(tilted, r"shifted against each other by up to 4\.4 mm \(a tilted gantry\)", "tilt")
    if multiframe:
        return
    turned = slices(stored)
    turned[4].ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    refused(turned, f"{which} is not parallel to .*{which}", "turned")
    wider = slices(stored)
    wider[4].PixelSpacing = [2, 1.6]
    refused(wider, r"has pixels of \[2\.0, 1\.6\] mm, but", "wider")
    larger = slices(stored)
    larger[4] = slices(stored_values((10, 7, 12)))[4]
    refused(larger, f"{which} has 10 x 7 pixels, but .*{which} has 9 x 7", "larger")
    lost = slices(stored)
    for data in lost:
        del data.PixelSpacing
    refused(lost, "has no usable PixelSpacing", "lost")


def test_images_of_one_place_are_told_apart(tmp_path: Path) -> None:
    stored = stored_values()
    echoes = [*slices(stored, EchoTime=4.6), *slices(stored + 1, EchoTime=9.2)]
    expected = (
        r"holds 12 frames at 6 places, as .*, of which one each must be chosen: they differ in EchoTime \(4.6, 9.2\)"
    )
    with pytest.raises(UserError, match=expected):
        load_array(save(tmp_path / "echoes", echoes, "{:02d}.dcm".format))
    times = [*slices(stored, TemporalPositionIdentifier=1), *slices(stored, TemporalPositionIdentifier=2)]
    (tmp_path / "frames").mkdir()
    enhanced(times, tmp_path / "frames" / "f.dcm")
    with pytest.raises(UserError, match=r"12 frames at 6 places, as frame \d+ of .*TemporalPosition"):
        load_array(tmp_path / "frames")
    with pytest.raises(UserError, match="their headers do not say in what they differ"):
        load_array(save(tmp_path / "alike", [*slices(stored), *slices(stored)], "{:02d}.dcm".format))
    # The same object twice is one.
    once = slices(stored)
    array, native = load_array(save(tmp_path / "copies", [*once, *once[:2]], "{:02d}.dcm".format))
    np.testing.assert_array_equal(array, stored - 1024)
    assert native.notes == (
        f"{tmp_path / 'copies'}: 2 of its DICOM files are second copies of an image and are ignored",
    )


def test_the_spacing_is_that_of_the_positions(tmp_path: Path) -> None:
    stored = stored_values()
    array, native = load_array(save(tmp_path / "a", slices(stored, SpacingBetweenSlices=3.0)))
    np.testing.assert_allclose(native.affine, LPS @ affine_lps(), atol=1e-6)
    assert len(native.notes) == 1 and "2.5 mm apart by their positions" in native.notes[0]
    assert native.notes[0].endswith("SpacingBetweenSlices says, 3 mm")
    # Overlapping slices with the position rounded to a tenth of a millimetre, as some scanners do.
    rounded = slices(stored_values((9, 7, 40)))
    for k, data in enumerate(rounded):
        data.ImagePositionPatient = [*ORIGIN[:2].tolist(), round(0.625 * k, 1)]
    _, native = load_array(save(tmp_path / "b", rounded, "{:02d}.dcm".format))
    assert native.affine[2, 2] == pytest.approx(0.625, abs=0.003)
    assert len(native.notes) == 1 and "deviate by up to 0.0" in native.notes[0]


def test_frames_of_several_references_are_noted(tmp_path: Path) -> None:
    datasets = slices(stored_values())
    datasets[2].FrameOfReferenceUID = "1.2.3"
    _, native = load_array(save(tmp_path, datasets))
    assert [note.split("; ")[0] for note in native.notes] == [
        f"{tmp_path}: its slices name several frames of reference"
    ]


def test_values_shown_inverted_are_as_stored(tmp_path: Path) -> None:
    stored = stored_values()
    array, native = load_array(save(tmp_path, slices(stored, PhotometricInterpretation="MONOCHROME1")))
    np.testing.assert_array_equal(array, stored - 1024)
    assert len(native.notes) == 1 and "MONOCHROME1" in native.notes[0]


def test_patients_stay_unnamed(tmp_path: Path) -> None:
    datasets = slices(stored_values(), SpacingBetweenSlices=3.0)
    _, native = load_array(save(tmp_path, datasets))
    assert native.notes and not any(word in note for note in native.notes for word in ("Doe", "4711", "Series 1"))


def test_a_frame_without_a_place_or_with_a_broken_one(tmp_path: Path) -> None:
    datasets = slices(stored_values())
    data = enhanced(datasets, tmp_path / "e.dcm")
    del data.PerFrameFunctionalGroupsSequence[3].PlanePositionSequence
    data.save_as(tmp_path / "e.dcm")
    with pytest.raises(UserError, match=r"^frame 4 of .*e\.dcm has no usable ImagePositionPatient"):
        load_array(tmp_path / "e.dcm")
    del data.PerFrameFunctionalGroupsSequence
    data.save_as(tmp_path / "e.dcm")
    with pytest.raises(UserError, match="6 frames without a position of each"):
        load_array(tmp_path / "e.dcm")
    assert SPACING[2] == 2.5
