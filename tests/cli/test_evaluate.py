"""mmreg-evaluate as a user calls it: the printed means, what is missing, and mistakes in one sentence."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from mmreg_lightning.cli.evaluate import build_parser, entry, main

SHAPE = (24, 24, 24)


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Two validation pairs: a box of 10 x 8 x 6 voxels of 2 mm, which lies 2 voxels further along I in the CT."""
    root = tmp_path / "data"
    for folder in ("imagesTr", "labelsTr"):
        (root / folder).mkdir(parents=True)
    noise = np.random.default_rng(0).random(SHAPE).astype(np.float32)
    for subject in ("0001", "0002"):
        for modality, first in (("0000", 6), ("0001", 8)):
            labels = np.zeros(SHAPE, np.uint8)
            labels[first : first + 10, 8:16, 9:15] = 1
            for folder, array in (("imagesTr", noise), ("labelsTr", labels)):
                image = nib.Nifti1Image(array, np.diag([2.0, 2, 2, 1]))
                nib.save(image, root / folder / f"Boxes_{subject}_{modality}.nii.gz")
    pairs = [
        {role: f"./imagesTr/Boxes_{subject}_{n:04d}.nii.gz" for n, role in enumerate(("fixed", "moving"))}
        for subject in ("0001", "0002")
    ]
    organs = {"0": "background", "1": "box"}
    description = {
        "name": "Boxes",
        "modality": {"0": "MR", "1": "CT"},
        "labels": {"0": organs, "1": organs},
        "registration_direction": {"fixed": 0, "moving": 1},
        "registration_val": pairs,
    }
    (root / "Boxes_dataset.json").write_text(json.dumps(description), encoding="utf-8")
    return root


@pytest.fixture
def call(dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    def run(*more: str) -> str:
        (tmp_path / "fields").mkdir(exist_ok=True)
        main(["--dataset", str(dataset), "--fields", f"{tmp_path}/fields", "--out", f"{tmp_path}/out", *more])
        return capsys.readouterr().out

    return run


def write_shift(folder: Path, subject: str, voxels: float) -> None:
    """A field of Learn2Reg: so many voxels along the first axis everywhere."""
    folder.mkdir(exist_ok=True)
    field = np.zeros((*SHAPE, 3), np.float32)
    field[..., 0] = voxels
    np.savez(folder / f"disp_{subject}_{subject}.npz", field)


def test_defaults() -> None:
    arguments = build_parser().parse_args(["--dataset", "d", "--fields", "f", "--out", "o"])
    assert (arguments.split, arguments.overwrite) == ("val", False)


def test_means_of_known_shifts_and_what_has_no_field(call: Callable, tmp_path: Path) -> None:
    write_shift(tmp_path / "fields", "0001", 2.0)
    out = call()
    # Of 10 voxels 8 overlap before; afterwards the boxes are one.
    assert out.splitlines()[:4] == [
        "dice_before    0.8000 +- 0.0000  (1 cases)",
        "dice           1.0000 +- 0.0000  (1 cases)",
        "hd95_mm        0.0000 +- 0.0000  (1 cases)",
        "assd_mm        0.0000 +- 0.0000  (1 cases)",
    ]
    assert "tre_mm" not in out, "there are no landmarks"
    assert "without a field, not in the means: 0002_to_0002\n" in out
    assert out.endswith(f"Results: {tmp_path}/out/metrics.csv, {tmp_path}/out/summary.json\n")


def test_what_was_assumed_of_the_files_is_said(call: Callable, dataset: Path, tmp_path: Path) -> None:
    write_shift(tmp_path / "fields", "0001", 2.0)
    for folder in ("imagesTr", "labelsTr"):
        for modality in ("0000", "0001"):
            path = dataset / folder / f"Boxes_0001_{modality}.nii.gz"
            image = nib.load(path)
            array = np.asarray(image.dataobj)
            image = nib.Nifti1Image(array, None)
            image.header.set_zooms((2, 2, 2))
            nib.save(image, path)
            image = nib.load(path)
            assert image.header["sform_code"] == image.header["qform_code"] == 0
    out = call()
    assert "4 notes about the headers of files, the first 3 of which are:\n" in out
    assert "Boxes_0001_0000.nii.gz: it has no sform and no qform" in out
    assert len(json.loads((tmp_path / "out" / "summary.json").read_text())["notes"]) == 4
    assert "dice           1.0000" in out


def test_two_cases_have_a_mean_and_a_deviation(call: Callable, tmp_path: Path) -> None:
    write_shift(tmp_path / "fields", "0001", 2.0)
    write_shift(tmp_path / "fields", "0002", 1.0)
    out = call()
    # Dice 1 and 0.9: their standard deviation is 0.1 / sqrt(2).
    assert "dice           0.9500 +- 0.0707  (2 cases)" in out and "without a field" not in out
    with open(tmp_path / "out" / "metrics.csv", encoding="utf-8", newline="") as stream:
        rows = {row["case"]: row for row in csv.DictReader(stream)}
    assert {name: float(row["dice_box"]) for name, row in rows.items()} == {
        "0001_to_0001": pytest.approx(1.0),
        "0002_to_0002": pytest.approx(0.9),
    }
    # A face of the box that lies one voxel off.
    assert float(rows["0002_to_0002"]["hd95_mm"]) == pytest.approx(2.0)
    assert float(rows["0002_to_0002"]["hd95_l2r"]) == pytest.approx(1.0)


def test_a_mistake_is_one_line_and_code_2(
    dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["--dataset", str(dataset), "--fields", f"{tmp_path}/none", "--out", f"{tmp_path}/out"]
    monkeypatch.setattr("sys.argv", ["mmreg-evaluate", *argv])
    with pytest.raises(SystemExit) as stop:
        entry()
    assert stop.value.code == 2
    assert capsys.readouterr().err == f"error: --fields {tmp_path}/none: there is no such folder\n"
    assert not (tmp_path / "out").exists()
