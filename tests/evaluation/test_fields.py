"""mmreg-evaluate on the fields of a phantom, as a user calls it."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
import torch

from mmreg_lightning.cli.evaluate import main
from mmreg_lightning.data.learn2reg import Learn2RegDataset
from mmreg_lightning.data.pair import pair_files, read_pair
from mmreg_lightning.errors import UserError
from mmreg_lightning.evaluation.measures import evaluate
from mmreg_lightning.io.images import read_image
from mmreg_lightning.io.itk_fields import write_itk_field
from mmreg_lightning.io.l2r_fields import write_l2r_field
from mmreg_lightning.phantom.dataset import write_phantom


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    """Two validation subjects: pairs of one subject with a known displacement between MR and CT, and of two."""
    folder = tmp_path_factory.mktemp("evaluate") / "phantom"
    return write_phantom(folder, 3, (32, 28, 32), spacing=12.0, val=2, test=0, intra_displacement=24.0)


@pytest.fixture
def pairs(phantom):
    return Learn2RegDataset.read(phantom).pairs["val"]


def displacement(image):
    generator = torch.Generator().manual_seed(1)
    coarse = torch.randn(1, 3, 4, 4, 4, generator=generator)
    return torch.nn.functional.interpolate(coarse, size=image.grid.shape, mode="trilinear") * 1.5


@pytest.fixture
def call(phantom, tmp_path, capsys):
    def run(*arguments):
        folders = ["--dataset", phantom, "--fields", tmp_path / "fields", "--out", tmp_path / "out"]
        main([*map(str, folders), *arguments])
        return capsys.readouterr().out

    (tmp_path / "fields").mkdir()
    return run


def table(folder):
    with open(folder / "metrics.csv", encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_every_form_of_a_field_gets_the_same_scores(call, pairs, phantom, tmp_path):
    pair = next(p for p in pairs if p.same_subject)  # it has landmarks
    fixed, moving = read_image(pair.fixed.image), read_image(pair.moving.image)
    stem = tmp_path / "fields" / f"disp_{pair.fixed.subject}_{pair.moving.subject}"
    u = displacement(fixed)
    scores = {}
    for suffix in (".npz", ".nii.gz", ".itk.nii.gz"):
        path = stem.with_name(stem.name + suffix)
        if "itk" in suffix:
            write_itk_field(u, fixed.grid, path, like=fixed)
        else:
            write_l2r_field(u, fixed.native, moving.native, path)
        out = call("--overwrite")
        path.unlink()
        rows = table(tmp_path / "out")
        assert [row["case"] for row in rows] == [pair.name]
        scores[suffix] = rows[0]
        assert "dice" in out and "metrics.csv" in out
    expected = evaluate(read_pair(pair_files(pair)), u, Learn2RegDataset.read(phantom).label_names)
    for row in scores.values():
        for name in ("dice", "hd95_mm", "assd_mm", "sdlogj", "dice_l2r", "hd95_l2r", "sdlogj_l2r", "tre_mm"):
            assert float(row[name]) == pytest.approx(expected[name], rel=0.02)
    assert expected["dice"] == pytest.approx(expected["dice_l2r"], abs=5e-3)  # rounding at half voxels
    assert expected["hd95_mm"] == pytest.approx(expected["hd95_voxels"] * fixed.grid.spacing[0], rel=1e-6)
    assert expected["sdlogj"] > 2 * expected["sdlogj_l2r"]
    summary = json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))
    assert summary["measures"]["dice"]["cases"] == 1
    assert len(summary["missing"]) == len(pairs) - 1


def test_no_displacement_scores_as_before(call, pairs, tmp_path):
    for pair in pairs:
        shape = read_image(pair.fixed.image).native.shape
        name = f"disp_{pair.fixed.subject}_{pair.moving.subject}.npz"
        np.savez(tmp_path / "fields" / name, np.zeros((*(n // 2 for n in shape), 3), np.float16))
    call()
    rows = table(tmp_path / "out")
    assert len(rows) == len(pairs)
    for row in rows:
        assert float(row["dice"]) == float(row["dice_before"]) < 1
        assert float(row["sdlogj"]) == float(row["folds_percent"]) == 0
    with pytest.raises(UserError, match="holds metrics.csv of an earlier run already"):
        call()


def test_fields_that_cannot_be_found_or_used(call, pairs, tmp_path):
    with pytest.raises(UserError, match="no field for any of the"):
        call()
    stem = f"disp_{pairs[0].fixed.subject}_{pairs[0].moving.subject}"
    np.savez(tmp_path / "fields" / f"{stem}.npz", np.zeros((3, 3, 3, 3)))
    with pytest.raises(UserError, match="neither its size nor half"):
        call()
    assert not (tmp_path / "out").exists()
    (tmp_path / "fields" / f"{stem}.nii.gz").touch()
    with pytest.raises(UserError, match="are fields of the same pair"):
        call()
    with pytest.raises(UserError, match="nowhere: there is no such folder"):
        call("--fields", str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match="no pairs of the split 'test'"):
        call("--split", "test")


def test_a_perfect_field_scores_1_and_0(tmp_path):
    # MR and CT of one subject without a displacement between them: no displacement is the true field.
    root = write_phantom(tmp_path / "still", 3, (32, 28, 32), spacing=12.0, intra_displacement=0.0)
    pair = Learn2RegDataset.read(root).pairs["val"][0]
    data = read_pair(pair_files(pair))
    row = evaluate(data, torch.zeros(1, 3, *data.fixed.grid.shape), Learn2RegDataset.read(root).label_names)
    assert row["dice"] == row["dice_l2r"] == 1
    assert row["tre_mm"] == row["hd95_mm"] == row["assd_mm"] == row["hd95_l2r"] == 0
    assert all(value == value for value in row.values())


def test_an_organ_of_one_image_only_leaves_no_nan(tmp_path):
    root = write_phantom(tmp_path / "still", 3, (32, 28, 32), spacing=12.0, intra_displacement=0.0)
    pair = Learn2RegDataset.read(root).pairs["val"][0]
    data = read_pair(pair_files(pair))
    data.labels[1].data[data.labels[1].data == 1] = 0
    row = evaluate(data, torch.zeros(1, 3, *data.fixed.grid.shape), {1: "liver"})
    assert "dice_liver" not in row and row["dice"] == row["dice_l2r"] == 1
    assert all(value == value for value in row.values())
