"""mmreg-apply's words: a known translation, its inverse, chains, and mistakes in one sentence."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from dicom_images import save, slices, stored_values

from mmreg_lightning.cli._app import name_options, run
from mmreg_lightning.cli.apply import build_parser, entry, main
from mmreg_lightning.errors import UserError


@pytest.fixture
def shift(tmp_path: Path) -> Path:
    """Written by ITK, in whose LPS frame it is (-2, 3, 4) mm: (2, -3, 4) in RAS."""
    path = tmp_path / "shift.tfm"
    sitk.WriteTransform(sitk.TranslationTransform(3, (-2.0, 3.0, 4.0)), str(path))
    return path


@pytest.fixture
def points(tmp_path: Path) -> Path:
    path = tmp_path / "points.csv"
    path.write_text("x,y,z,name\n10,20,30,tip\n-1,0,1.5,base\n", encoding="utf-8")
    return path


def moved(points: Path, *transforms: object, more: Sequence[str] = (), frame: str = "ras") -> np.ndarray:
    out = points.with_name("moved.csv")
    argv = ["--transform", *map(str, transforms), "--input", str(points), "--points-frame", frame, "--out", str(out)]
    main([*argv, "--overwrite", *more])
    lines = out.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "x,y,z,name" and [line.rsplit(",", 1)[1] for line in lines[1:]] == ["tip", "base"]
    return np.array([[float(cell) for cell in line.split(",")[:3]] for line in lines[1:]])


def test_defaults() -> None:
    arguments = build_parser().parse_args(["--transform", "a", "b", "--input", "x", "--out", "y"])
    assert arguments.transform == ["a", "b"] and not arguments.inverse and not arguments.overwrite
    assert arguments.labels is arguments.reference is arguments.points_frame is arguments.points_image is None
    assert build_parser().parse_args(["--transform", "a", "--input", "x", "--out", "y", "--labels"]).labels == "nearest"


def test_points_go_where_the_transform_takes_them(shift: Path, points: Path) -> None:
    np.testing.assert_allclose(moved(points, shift), [[12, 17, 34], [1, -3, 5.5]], atol=1e-5)
    np.testing.assert_allclose(moved(points, shift, frame="lps"), [[8, 23, 34], [-3, 3, 5.5]], atol=1e-5)


def test_the_inverse_of_all_and_of_one(shift: Path, points: Path) -> None:
    np.testing.assert_allclose(moved(points, shift, more=["--inverse"]), [[8, 23, 26], [-3, 3, -2.5]], atol=1e-5)
    np.testing.assert_allclose(moved(points, f"[{shift},1]"), [[8, 23, 26], [-3, 3, -2.5]], atol=1e-5)
    np.testing.assert_allclose(moved(points, shift, shift, f"[{shift},1]"), [[12, 17, 34], [1, -3, 5.5]], atol=1e-5)


def test_an_image_is_sampled_where_the_transform_takes_each_voxel(
    shift: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    array = np.arange(8 * 9 * 10, dtype=np.int16).reshape(8, 9, 10)
    nib.save(nib.Nifti1Image(array, np.eye(4)), tmp_path / "image.nii.gz")
    names = [str(tmp_path / name) for name in ("image.nii.gz", "warped.nii.gz")]
    main(["--transform", str(shift), "--input", names[0], "--reference", names[0], "--out", names[1]])
    warped = np.asarray(nib.load(names[1]).dataobj)
    np.testing.assert_array_equal(warped[:-2, 3:, :-4], array[2:, :-3, 4:])
    assert capsys.readouterr().out == f"{names[0]} sampled on the grid of {names[0]}\nResult: {names[1]}\n"


def test_a_file_is_replaced_only_when_asked_for(shift: Path, points: Path) -> None:
    argv = ["--transform", str(shift), "--input", str(points), "--points-frame", "ras", "--out", str(points)]
    before = points.read_text(encoding="utf-8")
    with pytest.raises(UserError, match=r"^out=.*points\.csv: exists, name another file or add overwrite=True$"):
        main(argv)
    assert points.read_text(encoding="utf-8") == before


def test_a_mistake_is_one_line_and_code_2(
    points: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["--transform", "no.tfm", "--input", str(points), "--out", str(tmp_path / "out.csv")]
    monkeypatch.setattr("sys.argv", ["mmreg-apply", *argv])
    with pytest.raises(SystemExit) as stop:
        entry()
    assert stop.value.code == 2 and not (tmp_path / "out.csv").exists()
    err = capsys.readouterr().err
    assert err.startswith("error: ") and "no.tfm" in err and err.count("\n") == 1


def series_over_time(path: Path, array: np.ndarray) -> Path:
    image = nib.Nifti1Image(array, np.eye(4))
    image.header.set_zooms((1, 1, 1, 2.5))
    image.header.set_xyzt_units("mm", "sec")
    nib.save(image, path)
    return path


def test_every_frame_of_a_series_is_sampled(shift: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    array = np.random.default_rng(0).integers(1, 30000, (8, 9, 10, 4)).astype(np.int16)
    array[..., 2] = 7  # a frame without contrast
    source, out = series_over_time(tmp_path / "fmri.nii.gz", array), tmp_path / "out.nii.gz"
    main(["--transform", str(shift), "--input", str(source), "--reference", str(source), "--out", str(out)])
    warped = nib.load(out)
    assert warped.shape == array.shape and warped.header.get_zooms()[3] == 2.5
    assert warped.header.get_xyzt_units() == ("mm", "sec") and warped.get_data_dtype() == np.int16
    np.testing.assert_array_equal(np.asarray(warped.dataobj)[:-2, 3:, :-4], array[2:, :-3, 4:])
    assert capsys.readouterr().out == f"4 frames of {source} sampled on the grid of {source}\nResult: {out}\n"
    # Each frame as by itself
    for index in (0, 3):
        nib.save(nib.Nifti1Image(array[..., index], np.eye(4)), tmp_path / "one.nii")
        one = ["--input", str(tmp_path / "one.nii"), "--out", str(tmp_path / "one_out.nii"), "--overwrite"]
        main(["--transform", str(shift), "--reference", str(source), *one])
        np.testing.assert_array_equal(nib.load(tmp_path / "one_out.nii").dataobj, warped.dataobj[..., index])


def test_every_frame_of_a_series_of_labels(shift: Path, tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 5, (8, 9, 10, 3)).astype(np.uint8)
    source = series_over_time(tmp_path / "labels.nii", array)
    for mode in ("nearest", "vote"):
        out = tmp_path / f"{mode}.nii"
        words = ["--reference", str(source), "--out", str(out), "--labels", mode]
        main(["--transform", str(shift), "--input", str(source), *words])
        warped = np.asarray(nib.load(out).dataobj)
        assert warped.dtype == np.uint8
        np.testing.assert_array_equal(warped[:-2, 3:, :-4], array[2:, :-3, 4:])


def test_a_bad_frame_leaves_no_file(shift: Path, tmp_path: Path) -> None:
    array = np.random.default_rng(0).normal(size=(8, 9, 10, 3)).astype(np.float32)
    array[0, 0, 0, 1] = np.nan
    source, out = series_over_time(tmp_path / "fmri.nii", array), tmp_path / "out.nii"
    with pytest.raises(UserError, match=r"the image frame 2 of .*fmri\.nii has NaN or infinite voxels"):
        main(["--transform", str(shift), "--input", str(source), "--reference", str(source), "--out", str(out)])
    assert [path.name for path in tmp_path.glob("*out*")] == []


def test_forgotten_labels_are_said(shift: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    array = np.zeros((12, 12, 12), np.uint8)
    array[2:8, 2:9, 3:10], array[8:11, 2:9, 3:10] = 1, 4
    nib.save(nib.Nifti1Image(array, np.eye(4)), tmp_path / "organs.nii")
    names = ["--input", str(tmp_path / "organs.nii"), "--reference", str(tmp_path / "organs.nii"), "--out"]
    main(["--transform", str(shift), *names, str(tmp_path / "a.nii")])
    assert f"\nNote: {tmp_path / 'organs.nii'} is read as an image" in capsys.readouterr().out
    main(["--transform", str(shift), *names, str(tmp_path / "b.nii"), "--labels"])
    assert "Note" not in capsys.readouterr().out


def test_dicom_series_by_their_uids(shift: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = stored_values(), stored_values(seed=1)
    folder = save(tmp_path / "study", slices(first), "a{}".format)
    save(folder, slices(second, series="2"), "b{}".format)
    uid = "1.2.826.0.1.3680043.2.1125.{}".format
    argv = ["--transform", str(shift), "--input", str(folder), "--reference", str(folder), "--out"]
    with pytest.raises(UserError, match=r"holds 2 DICOM series, .*\(CT, 'Series 1', 6 files\)"):
        main([*argv, str(tmp_path / "o.nii"), "--series", uid(1)])
    main([*argv, str(tmp_path / "o.nii"), "--series", uid(2), "--reference-series", uid(1)])
    assert capsys.readouterr().out.startswith(f"{folder} sampled on the grid of {folder}\n")
    # What SimpleITK makes of the same series and transform
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder), uid(2))
    image = sitk.ReadImage(names, sitk.sitkFloat64)
    warped = sitk.Resample(image, image, sitk.ReadTransform(str(shift)), sitk.sitkLinear, -9999.0)
    expected = sitk.GetArrayFromImage(warped)
    got = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "o.nii")))
    seen = expected > -9999
    assert seen.sum() > 50
    np.testing.assert_allclose(got[seen], expected[seen], atol=0.51)  # rounded to whole numbers
    capsys.readouterr()
    with pytest.raises(SystemExit):
        wrong = [*argv, str(tmp_path / "p.nii"), "--series", "1.2"]
        run(lambda: main(wrong), lambda message: name_options(message, build_parser()))
    assert f"error: --series 1.2: {folder} holds no such DICOM series" in capsys.readouterr().err
