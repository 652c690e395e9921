from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from mmreg_lightning.cli._app import name_options, run
from mmreg_lightning.cli.register import build_parser, main


def options(**paths: object) -> list[str]:
    return [word for name, value in paths.items() for word in (f"--{name.replace('_', '-')}", str(value))]


def complaint(argv: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """The sentence with which the command refuses."""
    with pytest.raises(SystemExit) as exit_info:
        run(lambda: main(argv), lambda message: name_options(message, build_parser()))
    assert exit_info.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ") and err.count("\n") == 1
    return err


def test_prints_the_numbers_and_the_folder(
    write_scene: Callable, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fixed, moving = write_scene("f"), write_scene("m", shift=(4, 0, 0))
    argv = options(fixed=fixed.image, moving=moving.image, out=tmp_path / "out")
    argv += options(fixed_labels=fixed.labels, moving_labels=moving.labels)
    main([*argv, "--set", "solver.iterations=3", "descent.step.alpha=0.2", "--set", "solver.step.max_step=0.5"])
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert lines[0].startswith("Dice 0.") and "(2 labels), folds " in lines[0]
    assert [line.startswith("Note: ") for line in lines[1:3]] == [True, True], "both images are padded"
    assert lines[3] == f"Results: {tmp_path / 'out'}"
    assert err == ""


def test_help_is_quick_and_needs_nothing_heavy() -> None:
    code = (
        "import sys, mmreg_lightning.cli.register as r; r.build_parser().format_help();"
        "print([m for m in ('torch', 'numpy', 'matplotlib', 'rich') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True)
    assert done.stdout == "[]\n"


def _text(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def save(path: Path, array: np.ndarray, affine: np.ndarray) -> Path:
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


def test_bad_input_is_one_sentence_and_leaves_nothing(
    write_scene: Callable, tmp_path: Path, capsys: pytest.CaptureFixture[str], checkpoint: Path
) -> None:
    fixed, moving = write_scene("f"), write_scene("m")
    shape, affine = (32, 32, 32), nib.load(fixed.image).affine
    noise = np.random.default_rng(0).random(shape).astype(np.float32)
    far = affine.copy()
    far[0, 3] += 1000
    broken = tmp_path / "broken.nii.gz"
    broken.write_bytes(fixed.image.read_bytes()[:2000])
    (tmp_path / "two.csv").write_text("1,2,3\n4,5,6\n")
    (tmp_path / "one.csv").write_text("1,2,3\n")
    (tmp_path / "outside.csv").write_text("1,2,3\n1000,2,3\n")
    (tmp_path / "file").write_text("")
    hole = noise.copy()
    hole[3, 4, 5] = np.nan
    flat = tmp_path / "flat.tfm"
    sitk.WriteTransform(sitk.Euler2DTransform(), str(flat))
    colour = np.zeros(shape, [("R", "u1"), ("G", "u1"), ("B", "u1")])
    corner = np.zeros(shape, np.uint8)
    corner[:2, :2, :2] = 1
    others = np.where(np.asarray(nib.load(moving.labels).dataobj) > 0, 5, 0).astype(np.uint8)
    cases: dict[str, dict[str, object]] = {
        "there is no file": {"moving": tmp_path / "nowhere.nii.gz"},
        "broken.nii.gz": {"moving": broken},
        "must be a 3-D image": {"moving": save(tmp_path / "4d.nii.gz", np.stack([noise, noise], -1), affine)},
        "NaN": {"moving": save(tmp_path / "nan.nii.gz", hole, affine)},
        "constant.nii.gz": {"moving": save(tmp_path / "constant.nii.gz", noise * 0 + 3, affine)},
        "do not overlap": {"moving": save(tmp_path / "far.nii.gz", noise, far), "affine": "none"},
        f"--fixed-labels {fixed.labels}: the labels of the moving image": {"fixed_labels": fixed.labels},
        "the landmarks of the fixed image must be given, too": {"moving_landmarks": tmp_path / "one.csv"},
        "is not on the same grid": {
            "fixed_labels": fixed.labels,
            "moving_labels": save(tmp_path / "l.nii.gz", others, far),
        },
        "must hold one real number a voxel": {"moving": save(tmp_path / "rgb.nii.gz", colour, affine)},
        "mask.nii.gz is empty": {"fixed_mask": save(tmp_path / "mask.nii.gz", corner * 0, affine)},
        "small.nii.gz (9 x 32 x 32 voxels": {
            "moving_mask": save(tmp_path / "small.nii.gz", corner[:9], far),
        },
        "nothing of them lies where both images are seen": {
            "fixed_mask": save(tmp_path / "c1.nii.gz", corner, affine),
            "moving_mask": save(tmp_path / "c2.nii.gz", corner[::-1], affine),
            "affine": "none",
        },
        "--affine nowhere.tfm: there is no such file": {"affine": "nowhere.tfm"},
        "--affine sideways: must be one of": {"affine": "sideways"},
        "--spacing 0.01: the working grid would have": {"spacing": 0.01},
        "holds a transform of 2 dimensions": {"affine": flat},
        "is not a transform file of ITK": {"affine": _text(tmp_path / "text.tfm", "1 0 0 0")},
        "--device cuda:77": {"device": "cuda:77"},
        "share no organ": {
            "fixed_labels": fixed.labels,
            "moving_labels": save(tmp_path / "o.nii.gz", others, affine),
        },
        "has 2 landmarks": {
            "fixed_landmarks": tmp_path / "two.csv",
            "moving_landmarks": tmp_path / "one.csv",
        },
        "row 2, [1000.0, 2.0, 3.0], lies outside": {
            "fixed_landmarks": tmp_path / "two.csv",
            "moving_landmarks": tmp_path / "outside.csv",
        },
        "sigma_field=x: must be a number": {"set": "solver.step.regulariser.sigma_field=x"},
        "solver.iterations=abc: must be": {"set": "solver.iterations=abc"},
        "solver.levels=0: must be": {"set": "solver.levels=0"},
        "--checkpoint": {"checkpoint": tmp_path / "none.ckpt"},
        "damaged, or no checkpoint": {"checkpoint": fixed.image},
        "--fixed-modality PET": {"checkpoint": checkpoint, "fixed_modality": "PET"},
        "--spacing -2.0": {"spacing": -2},
        "--solver nothing": {"solver": "nothing"},
        "--set solver.iteration=3": {"set": "solver.iteration=3"},
        "output folder": {"out": tmp_path / "file"},
    }
    for expected, changed in cases.items():
        arguments = {"fixed": fixed.image, "moving": moving.image, "out": tmp_path / "out"} | changed
        assert expected in complaint(options(**arguments), capsys)
        assert not (tmp_path / "out").exists() or not any((tmp_path / "out").iterdir())


@pytest.mark.slow
def test_the_script_exits_with_2(tmp_path: Path) -> None:
    script = Path(__file__).parents[2] / "scripts" / "register.py"
    argv = options(fixed=tmp_path / "a.nii.gz", moving=tmp_path / "b.nii.gz", out=tmp_path / "out")
    done = subprocess.run([sys.executable, str(script), *argv], capture_output=True, encoding="utf-8")
    assert done.returncode == 2
    assert done.stderr == f"error: there is no file {tmp_path / 'a.nii.gz'}\n"
