"""A data set's pairs by one command: fields that Learn2Reg takes, without labels, resumed, and what it refuses."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from abdomen import Abdomen

from mmreg_lightning.cli.evaluate import main as evaluate
from mmreg_lightning.cli.register import main
from mmreg_lightning.errors import UserError
from mmreg_lightning.io.images import read_image
from mmreg_lightning.io.itk_fields import read_itk_field
from mmreg_lightning.io.l2r_fields import to_l2r
from mmreg_lightning.registration.dataset import plan_submission
from mmreg_lightning.registration.settings import Options

QUICK = ["--set", "solver.iterations=2", "solver.levels=[2,1]", "--spacing", "12"]


def command(data: Abdomen, out: Path, *more: str) -> list[str]:
    return ["--dataset", str(data.root), "--out", str(out), *QUICK, *more]


def metrics(folder: Path) -> dict:
    return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def registered(abdomen: Abdomen, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The validation pairs."""
    out = tmp_path_factory.mktemp("registered") / "out"
    main(command(abdomen, out))
    return out


def test_the_validation_pairs_get_a_folder_and_a_field_each(abdomen: Abdomen, registered: Path) -> None:
    names = [f"000{n}_to_000{n}" for n in (6, 7, 8)]
    assert sorted(path.name for path in registered.iterdir()) == [*names, "fields", "summary.csv"]
    assert sorted(path.name for path in (registered / "fields").iterdir()) == [
        f"disp_000{n}_000{n}.npz" for n in (6, 7, 8)
    ]
    with open(registered / "summary.csv", encoding="utf-8", newline="") as stream:
        assert [row["name"] for row in csv.DictReader(stream)] == names
    run = yaml.safe_load((registered / names[0] / "run.yaml").read_text(encoding="utf-8"))
    assert (run["settings"]["fixed_modality"], run["settings"]["moving_modality"]) == ("MR", "CT")
    assert {"fixed_mask", "moving_mask", "fixed_labels", "moving_labels"} < set(run["inputs"])
    assert set(metrics(registered / names[0])["dice_after"]["per_label"]) == {
        "liver",
        "spleen",
        "right kidney",
        "left kidney",
    }


def test_the_fields_are_those_of_the_folders_in_the_form_of_learn2reg(abdomen: Abdomen, registered: Path) -> None:
    with np.load(registered / "fields" / "disp_0006_0006.npz") as content:
        assert content.files == ["arr_0"] and content["arr_0"].dtype == np.float16
        field = content["arr_0"].astype(np.float64)
    assert list(field.shape) == abdomen.content["expected_shape"]
    fixed, moving = (read_image(abdomen.path(6, modality)).native for modality in (0, 1))
    displacement, _ = read_itk_field(registered / "0006_to_0006" / "displacement.itk.nii.gz")
    expected = to_l2r(displacement[None], fixed, moving)
    assert np.abs(expected).max() > 0.2
    np.testing.assert_allclose(field, expected, atol=2**-9)


def test_mmreg_evaluate_takes_the_folder_as_it_is(abdomen: Abdomen, registered: Path, tmp_path: Path) -> None:
    fields = registered / "fields"
    evaluate(["--dataset", str(abdomen.root), "--fields", str(fields), "--out", str(tmp_path / "scores")])
    summary = json.loads((tmp_path / "scores" / "summary.json").read_text(encoding="utf-8"))
    own = [metrics(registered / f"000{n}_to_000{n}")["dice_after"]["mean"] for n in (6, 7, 8)]
    assert summary["missing"] == summary["unlabelled"] == []
    assert summary["measures"]["dice"]["mean"] == pytest.approx(sum(own) / 3, abs=2e-3)  # float16


def test_it_goes_on_where_it_was_stopped(
    abdomen: Abdomen, registered: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lost = registered / "fields" / "disp_0007_0007.npz"
    with np.load(lost) as content:
        before = content["arr_0"]
    lost.unlink()
    times = {path: path.stat().st_mtime_ns for path in registered.glob("*/metrics.json")}
    capsys.readouterr()
    main(command(abdomen, registered, "--shard", "1/2"))
    main(command(abdomen, registered, "--shard", "2/2"))
    assert capsys.readouterr().out.count("finished before") == 3
    assert {path: path.stat().st_mtime_ns for path in registered.glob("*/metrics.json")} == times
    with np.load(lost) as content:
        np.testing.assert_allclose(content["arr_0"].astype(float), before.astype(float), atol=2**-9)


def test_withheld_labels_are_no_obstacle(abdomen: Abdomen, tmp_path: Path) -> None:
    main(command(abdomen, tmp_path / "out", "--split", "test", "--field-format", "l2r"))
    assert sorted(path.name for path in (tmp_path / "out" / "fields").iterdir()) == [
        "disp_0009_0009.npz",
        "disp_0010_0010.npz",
    ]
    scored = metrics(tmp_path / "out" / "0009_to_0009")
    assert scored["dice_after"] is None and scored["tre_mm_after"] is None and scored["folds_percent"] >= 0
    assert (tmp_path / "out" / "0010_to_0010" / "displacement.l2r.npz").is_file()
    with pytest.raises(UserError, match=r"fields/disp_0009_0009.npz is of no pair of this split"):
        main(command(abdomen, tmp_path / "out"))


def test_one_unlabelled_image_does_not_stop_the_others(abdomen: Abdomen, tmp_path: Path) -> None:
    data = abdomen.copy(tmp_path / "data")
    data.path(6, 1, "labels").unlink()
    data.path(7, 0, "labels").unlink()
    main(command(data, tmp_path / "out"))
    dice = {n: metrics(tmp_path / "out" / f"000{n}_to_000{n}")["dice_after"] for n in (6, 7, 8)}
    assert dice[6] is None and dice[7] is None and 0 < dice[8]["mean"] < 1
    # The moving labels alone are warped.
    assert [(tmp_path / "out" / f"000{n}_to_000{n}" / "warped_labels.nii.gz").is_file() for n in (6, 7)] == [
        False,
        True,
    ]


def test_masks_of_the_data_set_are_used(abdomen: Abdomen, registered: Path, tmp_path: Path) -> None:
    data = abdomen.copy(tmp_path / "data")
    for modality in (0, 1):
        data.path(6, modality, "masks").unlink()
    main(command(data, tmp_path / "out", "--shard", "1/3"))
    fields = [np.load(out / "fields" / "disp_0006_0006.npz")["arr_0"] for out in (registered, tmp_path / "out")]
    assert np.abs(fields[0].astype(float) - fields[1]).max() > 0.05


def test_pairs_of_other_modalities_are_named_in_full(abdomen: Abdomen, tmp_path: Path) -> None:
    data = abdomen.copy(tmp_path / "data")
    pair = data.content["registration_val"][0]
    data.content["registration_val"] = [pair, {"fixed": pair["moving"], "moving": pair["fixed"]}]
    data.write()
    plan = plan_submission(data.root, Options())
    assert plan.fields == {
        "0006_0006": "disp_0006_0006",
        "0006_0001_0006_0000": "disp_0006_0001_0006_0000",
    }
    settings = [plan.settings_of(pair) for pair in plan.pairs.values()]
    assert [(one.fixed_modality, one.moving_modality) for one in settings] == [("MR", "CT"), ("CT", "MR")]


def test_modalities_must_be_of_the_checkpoint(abdomen: Abdomen, trained: Path, tmp_path: Path) -> None:
    plan = plan_submission(abdomen.root, Options(checkpoint=trained))
    assert list(plan.settings) == [("MR", "CT")]
    # Organs are called as the data set calls them.
    assert plan.settings["MR", "CT"].label_names[13] == "lungs"
    data = abdomen.copy(tmp_path / "data")
    data.content["modality"] = {"0": "US", "1": "CT"}
    data.write()
    with pytest.raises(UserError, match="fixed_modality=US: the checkpoint knows only CT, MR"):
        plan_submission(data.root, Options(checkpoint=trained))
    assert plan_submission(data.root, Options(checkpoint=trained, fixed_modality="MR")).settings["US", "CT"]
    data.content["registration_val"] = []
    data.write()
    with pytest.raises(UserError, match="lists no pairs of the split 'val'"):
        plan_submission(data.root, Options())


def test_the_settings_of_a_finished_pair_are_kept(abdomen: Abdomen, registered: Path) -> None:
    with pytest.raises(UserError, match=r"holds a registration with other settings \(affine\)"):
        main(command(abdomen, registered, "--affine", "moments"))
    other = dataclasses.replace(abdomen, root=abdomen.root.with_name("nowhere"))
    with pytest.raises(UserError, match="^dataset=.*nowhere: there is no such folder"):
        main(command(other, registered))


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (("--fixed", "a"), "fixed=a: not together with --dataset, whose description names files"),
        (("--moving-labels", "a"), "moving_labels=a: not together with --dataset"),
        (("--pairs", "a.csv"), "pairs=a.csv: not together with --dataset"),
        (("--overwrite",), "--overwrite: not together with --dataset"),
        (("--shard", "3/2"), "shard=3/2: must be K/N"),
    ],
)
def test_options_that_exclude_each_other(
    abdomen: Abdomen, tmp_path: Path, more: tuple[str, ...], expected: str
) -> None:
    with pytest.raises(UserError, match=expected):
        main(command(abdomen, tmp_path / "out", *more))
    assert not (tmp_path / "out").exists()


def test_a_split_needs_a_data_set(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="split=test: needs --dataset"):
        main(["--fixed", "a", "--moving", "b", "--split", "test", "--out", str(tmp_path / "out")])
