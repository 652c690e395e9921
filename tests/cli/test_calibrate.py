"""mmreg-calibrate's words: options, mistakes before anything is computed, and what it prints."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from mmreg_lightning.cli.calibrate import build_parser, entry, main
from mmreg_lightning.errors import UserError


def test_defaults() -> None:
    arguments = build_parser().parse_args(["--data", "d", "--out", "o"])
    assert (arguments.split, arguments.report) == ("val", "test")
    assert (arguments.pairs, arguments.variants, arguments.seed) == (12, 6, 1)
    assert arguments.checkpoint is arguments.solver is arguments.tolerance is None and arguments.overrides == []


def test_settings_add_up() -> None:
    argv = ["--data", "d", "--out", "o", "--set", "solver.iterations=2", "a=1", "--set", "b=2"]
    assert build_parser().parse_args(argv).overrides == ["solver.iterations=2", "a=1", "b=2"]


@pytest.mark.parametrize(
    ("extra", "match"),
    [
        (["--pairs", "0"], "^pairs=0: must be a whole number, 1 or more"),
        (["--variants", "-1"], "^variants=-1: must be 0 or more"),
        (["--tolerance", "0"], "^tolerance=0.0: must be a positive number"),
        (["--tolerance", "inf"], "^tolerance=inf: must"),
        (["--tolerance", "nan"], "^tolerance=nan: must"),
        (["--solver", "nothing"], "^solver=nothing: must"),
    ],
)
def test_what_cannot_be_used_is_refused_before_a_folder_is_made(
    extra: list[str], match: str, phantom: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=match):
        main(["--data", str(phantom), "--out", str(tmp_path / "out"), *extra])
    assert not (tmp_path / "out").exists()


def test_a_mistake_is_one_line_and_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["mmreg-calibrate", "--data", f"{tmp_path}/no", "--out", f"{tmp_path}/out"])
    with pytest.raises(SystemExit) as stop:
        entry()
    assert stop.value.code == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ") and f"{tmp_path}/no: there is no such folder" in err and err.count("\n") == 1


@pytest.mark.slow
def test_it_prints_an_area_for_each_group_and_where_the_results_lie(
    pairs_phantom: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    shutil.copytree(pairs_phantom, data)
    odd = max((data / "imagesTr").iterdir())  # of a test pair
    image = nib.load(odd)
    own = nib.Nifti1Image(np.asanyarray(image.dataobj), image.affine)
    own.set_sform(image.affine, 1)
    own.set_qform(image.affine + np.outer([1, 0, 0, 0], [0, 0, 0, 5]), 1)  # 5 mm off
    nib.save(own, odd)
    quick = ["--pairs", "2", "--variants", "1", "--set", "solver.iterations=1", "solver.levels=[2]"]
    main(["--data", str(data), "--out", str(out), *quick])
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == f"Results: {out / 'confidence.json'}, {out / 'report.html'}"
    areas = json.loads((out / "risk_coverage.json").read_text(encoding="utf-8"))["cases"]
    assert areas["all"]["cases"] == 4 and len(lines) == len(areas) + 3
    assert lines[-3] == "1 note about the headers of files:" and str(odd) in lines[-2]
    said = next(line for line in lines if line.startswith("all: "))
    assert said.startswith(f"all: 4 cases, area under the risk-coverage curve {areas['all']['area']:.4f} (random ")
