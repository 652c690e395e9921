"""mmreg-apply's words: a known translation, its inverse, chains, and mistakes in one sentence."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

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
