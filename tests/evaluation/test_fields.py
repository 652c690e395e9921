"""mmreg-evaluate on the fields of a phantom, as a user calls it."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from mmreg_lightning.cli.evaluate import main
from mmreg_lightning.data.learn2reg import Learn2RegDataset
from mmreg_lightning.data.pair import ImageFiles, Pair
from mmreg_lightning.errors import UserError
from mmreg_lightning.evaluation.fields import case_names, evaluate_fields, field_names
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


def with_other_ids(phantom, out):
    """A copy whose CT label maps and description have other ids for the same organs."""
    root = shutil.copytree(phantom, out)
    path = next(root.glob("*_dataset.json"))
    content = json.loads(path.read_text(encoding="utf-8"))
    content["labels"]["1"] = {str((int(i) + 20) * (i != "0")): n for i, n in content["labels"]["1"].items()}
    path.write_text(json.dumps(content), encoding="utf-8")
    for file in (root / "labelsTr").glob("*_0001.nii.gz"):
        image = nib.load(file)
        array = np.asarray(image.dataobj)
        file.unlink()  # the copy may be a link to the original
        nib.save(nib.Nifti1Image(np.where(array == 0, 0, array + 20).astype(np.uint8), image.affine), file)
    return root


def test_organs_are_matched_by_name(pairs, phantom, tmp_path):
    (tmp_path / "fields").mkdir()
    for pair in pairs:
        fixed, moving = read_image(pair.fixed.image), read_image(pair.moving.image)
        name = f"disp_{pair.fixed.subject}_{pair.moving.subject}.npz"
        write_l2r_field(displacement(fixed), fixed.native, moving.native, tmp_path / "fields" / name)
    roots = {"own": phantom, "other": with_other_ids(phantom, tmp_path / "copy")}
    found = {key: evaluate_fields(root, tmp_path / "fields", tmp_path / key) for key, root in roots.items()}
    assert found["own"]["measures"] == found["other"]["measures"]
    assert found["own"]["measures"]["dice_liver"]["mean"] > 0


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
    expected = evaluate(pair.read(), u, Learn2RegDataset.read(phantom).label_names)
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


def listed(*names):
    """A pair of files for each (fixed, moving)."""
    return [Pair(*(ImageFiles(Path(f"imagesTr/{n}.nii.gz"), subject=n.split("_")[-2]) for n in pair)) for pair in names]


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        # The names that Learn2Reg's evaluation.py asks for; the short one from modality 1 to 0 and within one.
        ([("A_0012_0000", "A_0034_0001")], ["disp_0012_0034"]),
        ([("A_0012_0001", "A_0034_0001")], ["disp_0012_0034"]),
        ([("A_0012_0001", "A_0034_0000")], ["disp_0012_0001_0034_0000"]),
        (
            [("A_0001_0000", "A_0001_0001"), ("A_0001_0000", "A_0001_0002")],
            ["disp_0001_0001", "disp_0001_0000_0001_0002"],
        ),
        # Two sites with one number each: no other name tells them apart.
        (
            [("SiteA_003_0000", "SiteA_003_0001"), ("SiteB_003_0000", "SiteB_003_0001")],
            ["disp_SiteA_003_0000_SiteA_003_0001", "disp_SiteB_003_0000_SiteB_003_0001"],
        ),
    ],
)
def test_names_of_fields(pairs, expected):
    assert [names[0] for names in field_names(listed(*pairs))] == expected


def test_other_names_are_read_where_they_are_clear():
    first, second = field_names(listed(("A_0001_0000", "A_0001_0001"), ("A_0001_0000", "A_0001_0002")))
    assert first[:2] == ["disp_0001_0001", "disp_0001_0000_0001_0001"]
    assert "disp_0001_0001" not in second
    assert field_names(listed(("A_0012_0001", "A_0034_0000")))[0][1] == "disp_0012_0034"
    twice = Pair(*(ImageFiles(Path(f"imagesTs/{name}.nii.gz"), subject="1") for name in ("A_1_0000", "A_1_0001")))
    with pytest.raises(UserError, match="another pair of the split has the same file names"):
        field_names([*listed(("A_1_0000", "A_1_0001")), twice])


def test_cases_of_the_same_subjects_have_names_of_their_own():
    pairs = listed(("A_0001_0000", "A_0001_0001"), ("A_0001_0000", "A_0001_0002"), ("A_0002_0000", "A_0003_0001"))
    assert case_names(pairs) == ["0001_0001", "0001_0000_0001_0002", "0003_to_0002"]
    assert case_names([pairs[2], pairs[2]]) == ["0003_to_0002"] * 2


def test_names_with_modalities_are_read(call, pairs, tmp_path):
    for pair in pairs[:2]:
        name = f"disp_{pair.fixed.subject}_0000_{pair.moving.subject}_0001.npz"
        np.savez(tmp_path / "fields" / name, np.zeros((32, 28, 32, 3), np.float16))
    out = call()
    assert [row["case"] for row in table(tmp_path / "out")] == [pair.name for pair in pairs[:2]]
    without = ", ".join(pair.name for pair in pairs[2:])
    assert f"without a field, not in the means: {without}\n" in out and "without labels" not in out
    np.savez(tmp_path / "fields" / f"disp_{pairs[0].fixed.subject}_{pairs[0].moving.subject}.npz", np.zeros(1))
    with pytest.raises(UserError, match="are fields of the same pair"):
        call("--overwrite")


def test_a_pair_without_labels_is_scored_by_what_it_has(abdomen, tmp_path, capsys):
    data = abdomen.copy(tmp_path / "data")
    data.path(7, 1, "labels").unlink()
    (tmp_path / "fields").mkdir()
    for subject in (6, 7, 8):
        path = tmp_path / "fields" / f"disp_{subject:04d}_{subject:04d}.npz"
        np.savez(path, np.zeros((32, 28, 32, 3), np.float16))
    main([*map(str, ("--dataset", data.root, "--fields", tmp_path / "fields", "--out", tmp_path / "out"))])
    rows = {row["case"]: row for row in table(tmp_path / "out")}
    assert rows["0007_to_0007"]["dice"] == "" and float(rows["0007_to_0007"]["folds_percent"]) == 0
    assert 0 < float(rows["0006_to_0006"]["dice"]) < 1
    assert "without labels, scored by what they have: 0007_to_0007\n" in capsys.readouterr().out
    summary = json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))
    assert summary["unlabelled"] == ["0007_to_0007"] and summary["measures"]["dice"]["cases"] == 2


def test_a_perfect_field_scores_1_and_0(tmp_path):
    # MR and CT of one subject without a displacement between them: no displacement is the true field.
    root = write_phantom(tmp_path / "still", 3, (32, 28, 32), spacing=12.0, intra_displacement=0.0)
    pair = Learn2RegDataset.read(root).pairs["val"][0]
    data = pair.read()
    row = evaluate(data, torch.zeros(1, 3, *data.fixed.volume.grid.shape), Learn2RegDataset.read(root).label_names)
    assert row["dice"] == row["dice_l2r"] == 1
    assert row["tre_mm"] == row["hd95_mm"] == row["assd_mm"] == row["hd95_l2r"] == 0
    assert all(value == value for value in row.values())


def test_an_organ_of_one_image_only_leaves_no_nan(tmp_path):
    root = write_phantom(tmp_path / "still", 3, (32, 28, 32), spacing=12.0, intra_displacement=0.0)
    pair = Learn2RegDataset.read(root).pairs["val"][0]
    data = pair.read()
    data.moving.labels.data[data.moving.labels.data == 1] = 0
    row = evaluate(data, torch.zeros(1, 3, *data.fixed.volume.grid.shape), {1: "liver"})
    assert "dice_liver" not in row and row["dice"] == row["dice_l2r"] == 1
    assert all(value == value for value in row.values())
