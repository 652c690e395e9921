"""mmreg-features from end to end: the files of an image, of a pair and of a data set, and mistakes."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from mmreg_lightning.cli.features import entry, main
from mmreg_lightning.errors import UserError
from mmreg_lightning.geometry.grid import Grid
from mmreg_lightning.geometry.volume import Volume
from mmreg_lightning.inspection import maps_report, study_report
from mmreg_lightning.inspection.maps import MappedImage, organ_effects, similarity
from mmreg_lightning.inspection.study import plan_study


def image(phantom: Path, subject: int, modality: int, kind: str = "imagesTr") -> str:
    return str(phantom / kind / f"PhantomMRCT_{subject:04d}_{modality:04d}.nii.gz")


def mapped(features: torch.Tensor, labels: torch.Tensor | None = None) -> MappedImage:
    """Features of stride 1 on a grid of 2 mm."""
    shape = tuple(features.shape[1:])
    grid = Grid(shape, np.diag([2.0, 2, 2, 1]))
    volume = Volume(torch.zeros(1, *shape), grid)
    own = None if labels is None else Volume(labels[None], grid)
    return MappedImage(volume, "MR", torch.zeros(shape), features, grid, own)


def test_the_most_similar_place_is_found():
    features = torch.rand(4, 8, 7, 6)
    found = similarity(mapped(features), (3, 2, 4), mapped(features.roll((2, 1), (1, 3))))
    assert found.match_voxel == pytest.approx([5, 2, 5]) and found.match_world == pytest.approx([10, 4, 10])
    assert found.world == pytest.approx([6, 4, 8])
    assert float(found.map[5, 2, 5]) == pytest.approx(1) and float(found.map.median()) == pytest.approx(
        np.exp(-1), rel=1e-2
    )


def test_a_point_outside_is_refused():
    scene = mapped(torch.rand(2, 4, 4, 4))
    with pytest.raises(UserError, match="--point 1 9 1: lies outside the image of .4, 4, 4. voxels"):
        similarity(scene, (1, 9, 1), scene)


def test_a_channel_that_is_an_organ_answers_to_it():
    labels = torch.zeros(6, 6, 6, dtype=torch.long)
    labels[:2], labels[4:] = 3, 5
    found = organ_effects(mapped(torch.stack([(labels == 3).float(), torch.rand(6, 6, 6)]), labels))
    assert found is not None
    ids, table = found
    assert ids == [3, 5] and table.shape == (2, 2)
    assert organ_effects(mapped(torch.rand(2, 6, 6, 6))) is None


def test_a_pair(trained, phantom, tmp_path, capsys):
    out = tmp_path / "out"
    argv = ["--image", image(phantom, 4, 0), "--labels", image(phantom, 4, 0, "labelsTr")]
    argv += ["--other-image", image(phantom, 5, 1), "--other-labels", image(phantom, 5, 1, "labelsTr")]
    argv += ["--checkpoint", str(trained), "--out", str(out), "--point", "16", "14", "16"]
    main(argv)
    assert "Best match of the point: voxel" in capsys.readouterr().out
    assert {path.name for path in out.iterdir()} == set(maps_report.OUTPUTS)
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
    with pytest.raises(UserError, match=r"--out .* holds features.nii.gz of an earlier run already"):
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


@pytest.mark.slow
def test_a_data_set(trained, phantom, cache_dir, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("mmreg_lightning.config.CACHE_DIR", cache_dir)
    out = tmp_path / "out"
    main(["--data", str(phantom), "--checkpoint", str(trained), "--out", str(out), "--descent-pairs", "1"])
    assert {path.name for path in out.iterdir()} == {*study_report.OUTPUTS}
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
        (["--image", "a.nii.gz", "--split", "val"], "--split val: not together with --image"),
        (["--data", "folder"], "--data folder: needs --checkpoint, whose features are measured"),
        (["--data", "folder", "--checkpoint", "c.ckpt", "--labels", "l"], "--labels l: not together with --data"),
        (["--data", "folder", "--checkpoint", "no.ckpt"], "--checkpoint no.ckpt: there is no such file"),
    ],
)
def test_a_mistake_is_one_line_and_code_2(argv, message, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["mmreg-features", *argv, "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as stop:
        entry()
    assert stop.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"error: {message}"
    assert not (tmp_path / "out").exists()


def test_what_was_learned_from_is_not_tested_on(trained, phantom):
    with pytest.raises(UserError, match="--probe-split test: must be another split than --split"):
        plan_study(trained, phantom, split="test", probe_split="test")
