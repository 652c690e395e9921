"""A registered pair: what Python users get of it, and the files that it leaves in a folder."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 its own documentation calls it so
import torch
import yaml
from confidence_model import model
from scenes import CENTER, QUICK, Clock, ConstantSolver, Written, files_of, register_to

import mmreg_lightning
from mmreg_lightning.data.pair import Image, Pair
from mmreg_lightning.errors import UserError
from mmreg_lightning.geometry.volume import Volume
from mmreg_lightning.geometry.world_transforms import FieldTransform, map_points
from mmreg_lightning.io.images import read_image
from mmreg_lightning.io.itk_fields import read_itk_field
from mmreg_lightning.registration.register import register_pair
from mmreg_lightning.registration.result import CONFIDENCE, OUTPUTS, Result, check_field_formats, describe_run
from mmreg_lightning.registration.settings import Options, resolve
from mmreg_lightning.registration.solve import Stopwatch

QUICKLY_WRITTEN = {
    "warped.nii.gz",
    "displacement.itk.nii.gz",
    "affine.tfm",
    "run.yaml",
    "report.png",
    "metrics.json",
}
"""Without labels, inverse, Jacobian map and page."""


@pytest.fixture
def shifted(write_scene: Callable[..., Written]) -> Result:
    """A pair of the same image, moved by one feature voxel, which is two of 3 mm, towards the patient's right."""
    image = Image(read_image(write_scene("f").image))
    settings = dataclasses.replace(
        resolve(Options(features="intensity", spacing=3.0)), solver=ConstantSolver((-1.0, 0.0, 0.0))
    )
    return register_pair(Pair(image, image), settings)


def test_a_known_displacement_in_voxels_and_millimetres(shifted: Result) -> None:
    expected = torch.tensor([-2.0, 0.0, 0.0]).view(1, 3, 1, 1, 1).expand(1, 3, 32, 32, 32)
    torch.testing.assert_close(shifted.displacement, expected, rtol=0, atol=1e-4)
    points = CENTER + np.random.default_rng(0).uniform(-20, 20, (20, 3))
    np.testing.assert_allclose(shifted.map_points(points), points - [6, 0, 0], atol=1e-3)
    np.testing.assert_allclose(shifted.map_points(points.tolist(), inverse=True), points + [6, 0, 0], atol=0.02)
    there_and_back = map_points(shifted.transform.inverse(), map_points(shifted.transform, points))
    np.testing.assert_allclose(there_and_back, points, atol=0.02)


def test_the_warped_image_has_the_number_type_and_the_library_of_the_moving_one(shifted: Result) -> None:
    moving = shifted.pair.moving.volume
    array = moving.data[0].numpy()
    assert isinstance(shifted.warped, nib.Nifti1Image) and shifted.warped.get_data_dtype() == np.float32
    np.testing.assert_allclose(shifted.warped.get_fdata()[2:], array[:-2], atol=0.05)
    assert shifted.warped_labels is None
    whole = Volume(moving.data, moving.grid, moving.native, stored=np.dtype(np.int16))
    other = dataclasses.replace(shifted, pair=Pair(shifted.pair.fixed, Image(whole)), library="SimpleITK")
    assert isinstance(other.warped, sitk.Image) and other.warped.GetPixelID() == sitk.sitkInt16
    got = sitk.GetArrayFromImage(other.warped).transpose(2, 1, 0)
    assert np.abs(got[2:] - array[:-2]).max() <= 0.55, "rounded"


def test_neither_what_passed_since_nor_an_earlier_writing_counts(shifted: Result, tmp_path: Path, clock: Clock) -> None:
    result = dataclasses.replace(shifted, watch=Stopwatch({"solver": 3.0}))
    clock.now = 1000.0  # and stands still while files are written
    for name in ("first", "second"):
        result.write(tmp_path / name, full=False)
        seconds = json.loads((tmp_path / name / "metrics.json").read_text(encoding="utf-8"))["seconds"]
        assert seconds == {"solver": 3.0, "write": 0.0, "report": 0.0, "total": 3.0}
    assert result.watch.seconds == {"solver": 3.0}


def test_the_short_form_leaves_out_what_takes_long(shifted: Result, tmp_path: Path) -> None:
    assert shifted.write(tmp_path / "out", full=False) == tmp_path / "out"
    assert {path.name for path in (tmp_path / "out").iterdir()} == QUICKLY_WRITTEN
    run = yaml.safe_load((tmp_path / "out" / "run.yaml").read_text(encoding="utf-8"))
    assert run["command"] == "mmreg_lightning.register" and run["inputs"] == {}
    assert run["initial_affine_ras_mm"] == np.eye(4).tolist()
    assert run["settings"]["spacing_mm"] == 3.0


def test_what_an_earlier_registration_left_is_removed_and_nothing_else(shifted: Result, tmp_path: Path) -> None:
    out = tmp_path / "out"
    settings = dataclasses.replace(shifted.settings, confidence=model())
    judged = register_pair(shifted.pair, settings)
    judged.write(out, ["fsl"], full=False)
    named = QUICKLY_WRITTEN | {CONFIDENCE, "displacement.fsl.nii.gz", "affine.fsl.mat"}
    assert {path.name for path in out.iterdir()} == named
    assert read_image(out / CONFIDENCE).grid.same_as(shifted.pair.fixed.volume.grid)
    metrics = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    assert judged.confidence is not None and judged.confidence.metrics().keys() <= metrics.keys()
    (out / "notes.txt").write_text("mine")
    (out / "inverse.l2r.npz").write_text("old")
    shifted.write(out, full=False, overwrite=True)
    assert {path.name for path in out.iterdir()} == QUICKLY_WRITTEN | {"notes.txt"}
    assert shifted.confidence is None and not judged.confidence.metrics().keys() & shifted.metrics.keys()


def test_itk_is_always_written_and_first() -> None:
    assert check_field_formats(["torch", "fsl", "torch"]) == ["itk", "torch", "fsl"]
    assert check_field_formats(["l2r", "itk"]) == ["itk", "l2r"]


@pytest.mark.parametrize(("names", "told"), [(["itk", "nrrd", "mat"], "nrrd mat"), ([], "")])
def test_a_field_format_that_is_none(names: list[str], told: str) -> None:
    with pytest.raises(UserError) as error:
        check_field_formats(names)
    assert str(error.value) == f"field_formats={told}: must be of itk, l2r, fsl, torch, lta, at least one"


def test_a_run_is_described_by_versions_and_checksums(tmp_path: Path) -> None:
    (tmp_path / "f.nii.gz").write_bytes(b"voxels")
    (tmp_path / "series").mkdir()
    for name, part in (("2.dcm", b"els"), ("1.dcm", b"vox")):
        (tmp_path / "series" / name).write_bytes(part)
    described = describe_run({"fixed": tmp_path / "f.nii.gz", "moving": tmp_path / "series"}, None)
    assert described["command"] is None
    assert described["versions"]["mmreg_lightning"] == mmreg_lightning.__version__
    digest = hashlib.sha256(b"voxels").hexdigest()
    assert described["inputs"] == {
        "fixed": {"path": str(tmp_path / "f.nii.gz"), "sha256": digest},
        "moving": {"path": str(tmp_path / "series"), "sha256": digest},
    }


def test_every_file_is_written_and_says_what_it_should(
    write_scene: Callable[..., Written], tmp_path: Path, checkpoint: Path
) -> None:
    fixed, moving = write_scene("f"), write_scene("m", shift=(3, 0, 0))
    files = files_of(fixed.image, moving.image, fixed.labels, moving.labels)
    out = tmp_path / "a" / "b"
    register_to(
        files,
        out,
        checkpoint=checkpoint,
        overrides=QUICK,
        command="mmreg-register ${x}",
        field_formats=("itk", "l2r", "fsl", "torch", "lta"),
    )
    assert sorted(p.name for p in out.iterdir()) == sorted(OUTPUTS)
    metrics = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    assert set(metrics) == {
        "dice_before",
        "dice_after",
        "tre_mm_before",
        "tre_mm_after",
        "folds_percent",
        "sdlogj",
        "seconds",
        "peak_memory_mb",
    }
    assert metrics["tre_mm_before"] is None and metrics["tre_mm_after"] is None
    assert set(metrics["dice_before"]["per_label"]) == {"spleen", "label 2"}
    assert metrics["seconds"]["total"] >= metrics["seconds"]["solver"] > 0
    assert 50 < metrics["peak_memory_mb"] < 100_000
    run = yaml.safe_load((out / "run.yaml").read_text(encoding="utf-8"))
    assert run["command"] == "mmreg-register ${x}"
    assert run["versions"]["torch"] == torch.__version__
    assert run["settings"]["solver"]["iterations"] == 4
    assert run["settings"]["moving_modality"] == "CT"
    assert run["settings"]["normalisation"]["CT"] == {
        "kind": "window",
        "low": -160.0,
        "high": 240.0,
        "clip": False,
    }
    for name, path in (("fixed", fixed.image), ("moving_labels", moving.labels), ("checkpoint", checkpoint)):
        assert run["inputs"][name]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("step", ["Result._write_maps", "write_png"])
def test_what_fails_while_files_are_written_leaves_no_result(
    step: str, write_scene: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(f"mmreg_lightning.registration.result.{step}", fail)
    with pytest.raises(OSError, match="no space left"):
        register_to(files_of(write_scene("f").image, write_scene("m").image), tmp_path / "out", overrides=QUICK)
    assert not (tmp_path / "out" / "metrics.json").exists()


def test_the_inverse_and_the_jacobian_belong_to_the_field(write_scene: Callable, tmp_path: Path) -> None:
    fixed, moving = write_scene("f", axes="PSR"), write_scene("m", (38, 30, 36), shift=(6, -4, 3), axes="LAS")
    out = tmp_path / "out"
    result = register_to(files_of(fixed.image, moving.image), out, overrides=["solver.iterations=40"])
    inverse, grid = read_itk_field(out / "inverse.itk.nii.gz")
    assert grid.same_as(read_image(moving.image).grid)
    forward = FieldTransform(result.registration.displacement[0], read_image(fixed.image).grid)
    points = CENTER + np.random.default_rng(0).uniform(-25, 25, (200, 3))
    back = map_points(FieldTransform(inverse, grid), map_points(forward, points))
    errors = np.linalg.norm(back - points, axis=1)
    assert np.median(errors) < 0.1  # mm
    jacobian = read_image(out / "jacobian.nii.gz")
    assert jacobian.grid.same_as(read_image(fixed.image).grid)
    assert 0.5 < float(jacobian.data.median()) < 1.5
    folds = 100 * float((jacobian.data <= 0).double().mean())
    assert folds == pytest.approx(result.metrics["folds_percent"], abs=0.01)


def test_the_transform_goes_there_and_back_and_is_written(scenes: tuple[Any, Any], tmp_path: Path) -> None:
    fixed, moving = scenes
    result = mmreg_lightning.register(
        fixed.image,
        moving.image,
        fixed_labels=fixed.labels,
        moving_labels=moving.labels,
        affine="moments",
        overrides=QUICK,
    )
    points = np.array([[0.0, 5.0, -3.0], [12.0, -4.0, 6.0]])
    there = result.map_points(points)
    assert np.linalg.norm(there - points, axis=1).min() > 1
    np.testing.assert_allclose(result.map_points(there, inverse=True), points, atol=0.05)
    assert result.scores.dice_after is not None and result.scores.dice_after["mean"] > 0.8
    folder = result.write(tmp_path / "out", ["itk", "torch"])
    assert {"displacement.itk.nii.gz", "inverse.torch.pt", "metrics.json"} <= {p.name for p in folder.iterdir()}
    run = yaml.safe_load((folder / "run.yaml").read_text(encoding="utf-8"))
    assert run["inputs"]["moving_labels"]["path"] == str(moving.labels)
    with pytest.raises(UserError, match="overwrite"):
        result.write(tmp_path / "out")


def test_a_report_alone_can_be_saved(scenes: tuple[Any, Any], tmp_path: Path) -> None:
    fixed, moving = scenes
    result = mmreg_lightning.register(fixed.image, moving.image, overrides=QUICK)
    result.save_report(tmp_path / "look.html")
    assert "m.nii.gz  →  f.nii.gz" in (tmp_path / "look.html").read_text(encoding="utf-8")
    with pytest.raises(UserError, match=r"look\.pdf: a report must end in \.png or \.html"):
        result.save_report(tmp_path / "look.pdf")
