"""mmreg-features from end to end: the files of an image, of a pair and of a data set, and mistakes."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import yaml

from mmreg_lightning.cli.features import entry, main
from mmreg_lightning.errors import UserError
from mmreg_lightning.inspection import maps_report, study_report


def image(phantom: Path, subject: int, modality: int, kind: str = "imagesTr") -> str:
    return str(phantom / kind / f"PhantomMRCT_{subject:04d}_{modality:04d}.nii.gz")


def test_a_pair(trained, phantom, tmp_path, capsys):
    out = tmp_path / "out"
    argv = ["--image", image(phantom, 4, 0), "--labels", image(phantom, 4, 0, "labelsTr")]
    argv += ["--other-image", image(phantom, 5, 1), "--other-labels", image(phantom, 5, 1, "labelsTr")]
    argv += ["--checkpoint", str(trained), "--out", str(out), "--point", "16", "14", "16"]
    main(argv)
    assert "Best match of the point: voxel" in capsys.readouterr().out
    assert {path.name for path in out.iterdir()} == {*maps_report.OUTPUTS, "run.yaml", "features.json"}
    content = json.loads((out / "features.json").read_text())
    assert content["channels"] == 16 and [one["modality"] for one in content["images"]] == ["MR", "CT"]
    assert content["similarity"]["point_voxel"] == [16, 14, 16]
    features = nib.load(out / "features.nii.gz")
    assert features.shape[3] == 16 and np.allclose(features.affine, content["images"][0]["feature_grid"]["affine"])
    # The feature grid lies about the image's centre, so that a viewer overlays it.
    source = nib.load(image(phantom, 4, 0))
    centres = [nib.affines.apply_affine(one.affine, (np.array(one.shape[:3]) - 1) / 2) for one in (features, source)]
    assert np.allclose(*centres)
    assert np.allclose(np.asarray(features.dataobj).sum(axis=3), 1, atol=1e-3)  # softmax
    assert nib.load(out / "colours.nii.gz").get_data_dtype().names == ("R", "G", "B")
    with open(out / "effect_sizes.csv", encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 32 and "liver" in rows[0]
    with pytest.raises(UserError, match="holds features.nii.gz of an earlier run already"):
        main(argv)


def test_mind_ssc_of_one_image(phantom, tmp_path):
    out = tmp_path / "out"
    main(["--image", image(phantom, 4, 0), "--out", str(out)])
    names = {path.name for path in out.iterdir()}
    assert names == {"features.nii.gz", "colours.nii.gz", "channels.png", "colours.png"} | {
        "features.html",
        "run.yaml",
        "features.json",
    }
    main(["--image", image(phantom, 4, 0), "--out", str(out), "--overwrite", "--point", "3", "4", "5"])
    assert (out / "similarity.nii.gz").is_file()
    assert json.loads((out / "features.json").read_text())["channels"] == 12


def test_a_modality_that_the_checkpoint_does_not_know_is_named_by_its_option(trained, phantom, tmp_path):
    argv = ["--image", image(phantom, 4, 0), "--checkpoint", str(trained), "--out", str(tmp_path / "out")]
    with pytest.raises(UserError, match="^modality=PET: the checkpoint knows only CT, MR$"):
        main([*argv, "--modality", "PET"])
    with pytest.raises(UserError, match="^other_modality=PET: the checkpoint knows only CT, MR$"):
        main([*argv, "--other-image", image(phantom, 5, 1), "--other-modality", "PET"])


def test_shipped_weights_of_one_image(weights, phantom, tmp_path, capsys):
    out = tmp_path / "out"
    main(["--image", image(phantom, 4, 1), "--features", str(weights), "--out", str(out)])
    assert "Note: " in (said := capsys.readouterr().out) and "its modality is not named" in said
    assert json.loads((out / "features.json").read_text())["channels"] == 16
    assert yaml.safe_load((out / "run.yaml").read_text())["inputs"]["weights"]["path"] == str(weights)


@pytest.mark.slow
def test_a_data_set_and_weights_that_never_saw_it(weights, phantom, cache_dir, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("mmreg_lightning.config.CACHE_DIR", cache_dir)
    out = tmp_path / "out"
    main(["--data", str(phantom), "--features", str(weights), "--out", str(out), "--descent-pairs", "1"])
    content = json.loads((out / "features.json").read_text())
    assert set(content["distance_ratio"]) == {"generalist-1", "mind_ssc", "intensity"}
    said = capsys.readouterr().out
    assert "| generalist-1 |" in said and "| learned |" not in said
    assert yaml.safe_load((out / "run.yaml").read_text())["spacing_mm"] == 12.0
    with pytest.raises(UserError, match="^features=mind_ssc: are not trained, and what is measured are trained"):
        main(["--data", str(phantom), "--features", "mind_ssc", "--out", str(tmp_path / "other")])


@pytest.mark.slow
def test_a_data_set(trained, phantom, cache_dir, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("mmreg_lightning.config.CACHE_DIR", cache_dir)
    out = tmp_path / "out"
    main(["--data", str(phantom), "--checkpoint", str(trained), "--out", str(out), "--descent-pairs", "1"])
    assert {path.name for path in out.iterdir()} == {*study_report.OUTPUTS, "run.yaml", "features.json"}
    content = json.loads((out / "features.json").read_text())
    assert content["aligned_by"] == "known displacement"
    # The tiny phantom has no displacement: landmarks that stay where they are are right.
    assert content["retrieval_landmarks"]["before"]["median_mm"] == pytest.approx(0, abs=1e-3)
    ratios = content["distance_ratio"]
    assert set(ratios) == {"learned", "mind_ssc", "intensity"} and all(0 < r < 2 for r in ratios.values())
    assert set(content["probe_balanced_accuracy"]["mind_ssc"]) == {"MR to MR", "MR to CT", "CT to MR", "CT to CT"}
    labels = [row for row in content["capture_cosine"] if row["family"] == "labels" and row["kind"] == "rigid"]
    assert max(row["cosine"] for row in labels) > 0.7
    assert content["landscape"]["labels"]["lowest_off_by_mm"] == 0
    assert "| learned |" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--image", "no.nii.gz"], "there is no file no.nii.gz"),
        (["--image", "a.nii.gz", "--other-labels", "b.nii.gz"], "--other-labels b.nii.gz: needs --other-image"),
        (["--image", "a.nii.gz", "--split", "val"], "--split val: cannot be used together with --image"),
        (["--image", "a.nii.gz", "--other-modality", "CT"], "--other-modality CT: needs --other-image"),
        (["--image", "a.nii.gz", "--spacing", "-1"], "--spacing -1.0: must be a positive number of millimetres"),
        (["--data", "folder"], "--data folder: needs --checkpoint or --features, which are measured"),
        (
            ["--data", "folder", "--checkpoint", "c.ckpt", "--labels", "l"],
            "--labels l: cannot be used together with --data",
        ),
        (["--data", "folder", "--checkpoint", "no.ckpt"], "--checkpoint no.ckpt: there is no such file"),
    ],
)
def test_a_mistake_is_one_sentence_and_code_2(argv, message, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["mmreg-features", *argv, "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as stop:
        entry()
    assert stop.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"error: {message}"
    assert not (tmp_path / "out").exists()
