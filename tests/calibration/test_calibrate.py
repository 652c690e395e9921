"""`mmreg-calibrate` and `mmreg-register --confidence` as a user runs them, on a tiny phantom without a checkpoint."""

from __future__ import annotations

import csv
import json

import nibabel as nib
import numpy as np
import pytest

from mmreg_lightning.cli._app import run
from mmreg_lightning.cli.calibrate import main as calibrate
from mmreg_lightning.cli.register import main as register
from mmreg_lightning.confidence.model import ConfidenceModel, read_confidence
from mmreg_lightning.errors import UserError
from mmreg_lightning.files import sha256

SOLVER = ["--set", "solver.iterations=2", "solver.levels=[2,1]"]


@pytest.fixture(scope="module")
def calibrated(pairs_phantom, tmp_path_factory):
    out = tmp_path_factory.mktemp("calibrated") / "out"
    argv = ["--data", str(pairs_phantom), "--out", str(out), "--pairs", "2", "--variants", "2", *SOLVER]
    calibrate(argv)
    return out, argv


@pytest.mark.slow
def test_it_fits_on_one_split_and_tests_on_the_other(calibrated, capsys):
    out, argv = calibrated
    model = read_confidence(out / "confidence.json")
    assert model.tolerance_mm == 24.0 and model.checkpoint_sha256 is None
    assert model.calibrated_on["registrations"] == 6 and 0 < model.calibrated_on["wrong_percent"] < 100
    with open(out / "cases.csv", newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["role"] for row in rows].count("test") == 6
    assert not {r["case"] for r in rows if r["role"] == "test"} & {r["case"] for r in rows if r["role"] != "test"}
    assert all(0 <= float(row["confidence"]) <= 1 for row in rows)
    summary = json.loads((out / "risk_coverage.json").read_text(encoding="utf-8"))
    area = summary["cases"]["all"]
    assert area["oracle"] <= area["area"] and area["cases"] == 6 and area["groups"] == 2
    assert (out / "risk_coverage.png").is_file() and "risk_coverage.png" in (out / "report.md").read_text()
    # Again: nothing is registered, and the same comes out.
    times = {path: path.stat().st_mtime_ns for path in (out / "cases").rglob("*.npz")}
    assert len(times) == 12
    calibrate(argv)
    assert {path: path.stat().st_mtime_ns for path in (out / "cases").rglob("*.npz")} == times
    assert read_confidence(out / "confidence.json") == model
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        run(lambda: calibrate([*argv, "solver.iterations=3"]))
    assert stop.value.code == 2 and "holds results with solver.iterations=2, not 3" in capsys.readouterr().err


@pytest.mark.slow
def test_a_registration_says_where_it_is_likely_wrong(calibrated, pairs_phantom, tmp_path, capsys):
    out, _ = calibrated
    fixed, moving = (pairs_phantom / "imagesTr" / f"PhantomMRCT_{name}.nii.gz" for name in ("0004_0000", "0005_0001"))
    argv = ["--fixed", str(fixed), "--moving", str(moving), *SOLVER]
    register([*argv, "--out", str(tmp_path / "plain")])
    assert "confidence" not in json.loads((tmp_path / "plain" / "metrics.json").read_text(encoding="utf-8"))
    assert "onfidence" not in capsys.readouterr().out
    strict = read_confidence(out / "confidence.json")
    strict = ConfidenceModel(**{**vars(strict), "low": 1.0})  # every case is below it
    strict.write(tmp_path / "strict.json")
    for name, path in (("trusted", out / "confidence.json"), ("strict", tmp_path / "strict.json")):
        register([*argv, "--out", str(tmp_path / name), "--confidence", str(path)])
        folder = tmp_path / name
        said = capsys.readouterr().out
        metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        assert f"Confidence {metrics['confidence']:.2f}\n" in said
        assert ("Warning: this registration is likely wrong here" in said) == metrics["confidence_low"]
        image = nib.load(folder / "confidence.nii.gz")
        assert image.shape == nib.load(fixed).shape and np.allclose(image.affine, nib.load(fixed).affine)
        values = image.get_fdata()
        assert 0 <= values.min() < values.max() <= 1
        page = (folder / "report.html").read_text(encoding="utf-8")
        assert "Confidence (expected Dice)" in page and '"confidence":{"shape"' in page
    assert metrics["confidence_low"] and "This registration is likely wrong here" in page
    # An older folder's map does not outlive a registration without one.
    register([*argv, "--out", str(folder), "--overwrite"])
    assert not (folder / "confidence.nii.gz").exists()
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        wrong = [*argv[:-2], "solver.iterations=3", "--out", str(tmp_path / "x"), "--confidence", str(path)]
        run(lambda: register(wrong))
    err = capsys.readouterr().err
    assert stop.value.code == 2 and "was calibrated with solver.levels=" in err and err.count("\n") == 1
    assert not (tmp_path / "x").exists()
    with pytest.raises(UserError, match="was calibrated with body_mask=True, not False"):
        register([*argv, "--no-body-mask", "--out", str(tmp_path / "x"), "--confidence", str(path)])


@pytest.mark.parametrize(
    ("extra", "match"),
    [
        (["--report", "val"], "report=val: must be another split"),
        (["--pairs", "0"], "pairs=0"),
        (["--variants", "-1"], "variants=-1"),
        (["--tolerance", "0"], "tolerance=0.0"),
        (["--checkpoint", "none.ckpt"], "none.ckpt: there is no such file"),
    ],
)
def test_wrong_options_are_one_sentence(pairs_phantom, tmp_path, capsys, extra, match):
    with pytest.raises(SystemExit) as stop:
        run(lambda: calibrate(["--data", str(pairs_phantom), "--out", str(tmp_path / "out"), *extra]))
    err = capsys.readouterr().err
    assert stop.value.code == 2 and match in err and err.count("\n") == 1


def test_the_folder_of_another_command_is_left_alone(pairs_phantom, tmp_path):
    (tmp_path / "report.html").write_text("of another")
    with pytest.raises(UserError, match="report.html of another run"):
        calibrate(["--data", str(pairs_phantom), "--out", str(tmp_path), "--pairs", "1"])
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


@pytest.mark.slow
def test_weights_are_calibrated_for_the_modalities_of_the_data(weights, pairs_phantom, tmp_path, capsys):
    out = tmp_path / "out"
    features = ["--features", str(weights), *SOLVER]
    calibrate(["--data", str(pairs_phantom), "--out", str(out), "--pairs", "1", "--variants", "1", *features])
    model = read_confidence(out / "confidence.json")
    assert model.checkpoint_sha256 == sha256(weights)
    assert (model.setting["fixed_modality"], model.setting["moving_modality"]) == ("MR", "CT")
    fixed, moving = (pairs_phantom / "imagesTr" / f"PhantomMRCT_{name}.nii.gz" for name in ("0004_0000", "0005_0001"))
    argv = ["--fixed", str(fixed), "--moving", str(moving), *features, "--confidence", str(out / "confidence.json")]
    with pytest.raises(UserError, match="was calibrated with fixed_modality=MR, not unnamed"):
        register([*argv, "--out", str(tmp_path / "unnamed")])
    with pytest.raises(UserError, match="was calibrated with another checkpoint than none"):
        register([*argv[:4], "--confidence", str(out / "confidence.json"), "--out", str(tmp_path / "mind")])
    capsys.readouterr()
    register([*argv, "--fixed-modality", "mr", "--moving-modality", "ct", "--out", str(tmp_path / "named")])
    assert "Confidence 0." in capsys.readouterr().out
