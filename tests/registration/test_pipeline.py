from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 its own documentation calls it so
import torch
import yaml
from mmreg_lightning.registration.pipeline import OUTPUTS, PairFiles, load_checkpoint, register_files, register_pair
from scipy.spatial.transform import Rotation

from mmreg_lightning.errors import UserError
from mmreg_lightning.evaluation.dice import dice_per_label
from mmreg_lightning.features.intensity import IntensityFeatures
from mmreg_lightning.geometry.frames import transform_points
from mmreg_lightning.geometry.world_transforms import FieldTransform, map_points
from mmreg_lightning.io.images import read_image, read_labels
from mmreg_lightning.io.itk_fields import read_itk_field
from mmreg_lightning.io.transforms import read_affine, write_affine

QUICK = ["solver.iterations=4"]
RANGE = 260.0  # of the intensities of the scene
STRAIGHT = np.array([[3.0, 0, 0, -45], [0, 3.0, 0, -40], [0, 0, 3.0, -50], [0, 0, 0, 1]])
CENTER = np.array([1.5, 6.5, -3.5])  # of the body, mm


def oblique(spacing: float, offset: tuple[float, float, float]) -> np.ndarray:
    """Turned by 15 degrees about S and 10 about R."""
    a, b = np.deg2rad(15), np.deg2rad(10)
    about_s = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_r = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    affine = np.eye(4)
    affine[:3, :3] = about_s @ about_r * spacing
    affine[:3, 3] = offset
    return affine


@pytest.mark.parametrize("axes", ["LAS", "ASR", "PSR"])
def test_axis_order_of_the_files_changes_nothing(write_scene: Callable, tmp_path: Path, axes: str) -> None:
    shape = (32, 30, 28)
    register_files(
        PairFiles(write_scene("f", shape).image, write_scene("m", shape, shift=(4, -3, 2)).image),
        tmp_path / "ras",
        overrides=QUICK,
    )
    fixed = write_scene("f2", shape, axes=axes).image
    moving = write_scene("m2", shape, shift=(4, -3, 2), axes=axes).image
    register_files(PairFiles(fixed, moving), tmp_path / axes, overrides=QUICK)
    expected, got = (read_image(tmp_path / name / "warped.nii.gz").data for name in ("ras", axes))
    assert torch.allclose(got, expected, atol=1e-3 * RANGE)
    on_disk = nib.load(tmp_path / axes / "warped.nii.gz")
    assert "".join(nib.aff2axcodes(on_disk.affine)) == axes
    assert on_disk.shape == nib.load(fixed).shape
    assert np.allclose(on_disk.affine, nib.load(fixed).affine, atol=1e-4)


@pytest.mark.parametrize(
    "moving_affine",
    [oblique(2.2, (-40, -45, -50)), np.diag([2.5, 4, 3, 1.0]) + np.array([[0, 0, 0, o] for o in (-42, -50, -45, 0)])],
    ids=["oblique", "other spacing"],
)
@pytest.mark.parametrize("affine", ["none", "moments"])
def test_simpleitk_warps_the_moving_file_likewise(
    write_scene: Callable, tmp_path: Path, moving_affine: np.ndarray, affine: str
) -> None:
    fixed = write_scene("f", axes="PSR").image
    moving = write_scene("m", (38, 30, 36), moving_affine, shift=(4, -3, 2), axes="LAS").image
    register_files(PairFiles(fixed, moving), tmp_path / "out", affine=affine, overrides=QUICK)

    def read(path: Path) -> sitk.Image:
        return sitk.ReadImage(str(path), sitk.sitkFloat32)

    field = sitk.ReadImage(str(tmp_path / "out" / "displacement.itk.nii.gz"), sitk.sitkVectorFloat64)
    transform = sitk.DisplacementFieldTransform(field)
    image = read(moving)
    inside = sitk.Resample(image * 0 + 1, read(fixed), transform, sitk.sitkLinear, 0.0)
    expected = sitk.Resample(image, read(fixed), transform, sitk.sitkLinear, 0.0)
    seen = sitk.GetArrayFromImage(inside) == 1
    assert seen.mean() > 0.4
    got = sitk.GetArrayFromImage(read(tmp_path / "out" / "warped.nii.gz"))
    assert np.abs(got - sitk.GetArrayFromImage(expected))[seen].max() < 1e-3 * RANGE


def test_a_pair_of_the_same_image_stays_as_it_is(write_scene: Callable, tmp_path: Path) -> None:
    scene = write_scene("f", (30, 32, 27))
    result = register_files(
        PairFiles(scene.image, scene.image, scene.labels, scene.labels), tmp_path / "out", affine="moments"
    )
    assert result.registration.displacement.abs().max() < 1e-4
    warped = read_image(tmp_path / "out" / "warped.nii.gz").data
    assert torch.allclose(warped, read_image(scene.image).data, atol=1e-3 * RANGE)
    assert result.metrics["dice_after"]["mean"] == 1
    assert result.metrics["folds_percent"] == 0


def test_a_translation_is_recovered_in_world_millimetres(write_scene: Callable, tmp_path: Path) -> None:
    shift = (6.0, -4.0, 5.0)
    fixed, moving = write_scene("f"), write_scene("m", (40, 40, 44), oblique(2.5, (-38, -52, -50)), shift=shift)
    result = register_files(
        PairFiles(fixed.image, moving.image, fixed.labels, moving.labels),
        tmp_path / "out",
        overrides=["solver.iterations=40"],
    )
    u, grid = read_itk_field(tmp_path / "out" / "displacement.itk.nii.gz")
    body = read_image(fixed.image).data[0] > 0
    mean = u[:, body].mean(dim=1).numpy() * grid.spacing
    assert np.allclose(mean, shift, atol=1.0)
    assert result.metrics["dice_after"]["mean"] > result.metrics["dice_before"]["mean"] + 0.1
    assert result.metrics["dice_after"]["mean"] > 0.9


def test_moments_bring_together_what_the_headers_place_apart(write_scene: Callable, tmp_path: Path) -> None:
    affine = np.array([[3.0, 0, 0, 255], [0, 3.0, 0, 160], [0, 0, 3.0, -450], [0, 0, 0, 1]])
    shift = (300, 200, -400)
    fixed, moving = write_scene("f"), write_scene("m", affine=affine, shift=shift)
    with pytest.raises(UserError, match="do not overlap"):
        register_files(PairFiles(fixed.image, moving.image), tmp_path / "out")
    for name in ("f", "m"):
        (tmp_path / f"{name}.csv").write_text("15,15,15\n20,10,12\n")
    files = PairFiles(fixed.image, moving.image, fixed.labels, moving.labels, tmp_path / "f.csv", tmp_path / "m.csv")
    result = register_files(files, tmp_path / "out", affine="moments", overrides=QUICK)
    assert np.allclose(result.registration.initial[:3, 3], shift, atol=1.0)
    assert result.metrics["dice_before"]["mean"] == 0
    assert result.metrics["dice_after"]["mean"] > 0.95
    assert result.metrics["tre_mm_before"] == pytest.approx(np.linalg.norm(shift), abs=0.01)
    assert result.metrics["tre_mm_after"] < 1.5


def test_registering_does_not_import_the_trainers_library() -> None:
    code = (
        "import sys; from mmreg_lightning.registration import batch, pipeline, result;"
        "print(sorted({'pytorch_lightning', 'torchio', 'wandb'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True)
    assert done.stdout.strip() == "[]"


def test_a_checkpoint_alone_gives_the_same_field_in_a_new_process(
    write_scene: Callable, tmp_path: Path, checkpoint: Path
) -> None:
    fixed, moving = write_scene("f").image, write_scene("m", shift=(4, 0, 0)).image
    here = register_files(PairFiles(fixed, moving), tmp_path / "here", checkpoint=checkpoint, overrides=QUICK)
    assert load_checkpoint(checkpoint).hparams["spacing"] == 3.0
    code = (
        "import sys; from mmreg_lightning.cli.register import main;"
        f"main(['--fixed', {str(fixed)!r}, '--moving', {str(moving)!r}, '--checkpoint', {str(checkpoint)!r},"
        f"'--out', {str(tmp_path / 'there')!r}, '--set', 'solver.iterations=4'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    there, _ = read_itk_field(tmp_path / "there" / "displacement.itk.nii.gz")
    assert there.abs().max() > 0.01
    assert torch.allclose(there, here.registration.displacement[0], atol=1e-3)


def test_a_rotation_between_the_headers_is_found(write_scene: Callable, tmp_path: Path) -> None:
    fixed, moving = write_scene("f"), write_scene("m", (36, 36, 36), STRAIGHT)
    # The moving header is turned by 15 degrees about the body and shifted.
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler("xyz", [5, -8, 15], degrees=True).as_matrix()
    turn[:3, 3] = np.array([8, -6, 5]) + CENTER - turn[:3, :3] @ CENTER
    for path in (moving.image, moving.labels):
        image = nib.load(path)
        nib.save(nib.Nifti1Image(np.asarray(image.dataobj), turn @ image.affine), path)
    files = PairFiles(fixed.image, moving.image, fixed.labels, moving.labels)
    result = register_files(files, tmp_path / "out", affine="rigid", overrides=QUICK)
    points = CENTER + np.random.default_rng(0).uniform(-30, 30, (50, 3))
    errors = transform_points(result.registration.initial, points) - transform_points(turn, points)
    assert np.linalg.norm(errors, axis=1).max() < 2.0  # mm; voxels have 3
    assert result.metrics["dice_after"]["mean"] > 0.9 > result.metrics["dice_before"]["mean"] + 0.2


def test_every_file_is_written_and_says_what_it_should(write_scene: Callable, tmp_path: Path, checkpoint: Path) -> None:
    fixed, moving = write_scene("f"), write_scene("m", shift=(3, 0, 0))
    files = PairFiles(fixed.image, moving.image, fixed.labels, moving.labels)
    out = tmp_path / "a" / "b"
    register_files(
        files,
        out,
        checkpoint=checkpoint,
        overrides=QUICK,
        command="mmreg-register ${x}",
        field_formats=("itk", "l2r", "fsl", "torch"),
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


def test_a_label_of_one_image_only_is_null_and_does_not_count(write_scene: Callable, tmp_path: Path) -> None:
    scene = write_scene("f")
    labels = nib.load(scene.labels)
    fewer = np.where(np.asarray(labels.dataobj) == 2, 9, np.asarray(labels.dataobj))
    nib.save(nib.Nifti1Image(fewer, labels.affine), tmp_path / "fewer.nii.gz")
    files = PairFiles(scene.image, scene.image, scene.labels, tmp_path / "fewer.nii.gz")
    register_files(files, tmp_path / "out", overrides=QUICK)
    dice = json.loads((tmp_path / "out" / "metrics.json").read_text(encoding="utf-8"))["dice_after"]
    assert dice == {"mean": 1.0, "per_label": {"label 1": 1.0, "label 2": None, "label 9": None}}


def test_old_results_are_replaced_only_on_request(write_scene: Callable, tmp_path: Path) -> None:
    files = PairFiles(write_scene("f").image, write_scene("m").image)
    out = tmp_path / "out"
    out.mkdir()
    (out / "metrics.json").write_text("old")
    with pytest.raises(UserError, match="--overwrite"):
        register_files(files, out)
    assert (out / "metrics.json").read_text(encoding="utf-8") == "old"
    register_files(files, out, overwrite=True, overrides=QUICK)
    assert json.loads((out / "metrics.json").read_text(encoding="utf-8"))["dice_before"] is None


@pytest.mark.parametrize("step", ["_write_inverse", "write_report"])
def test_what_fails_while_files_are_written_leaves_no_result(
    step: str, write_scene: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(f"mmreg_lightning.registration.result.{step}", fail)
    with pytest.raises(OSError, match="no space left"):
        register_files(PairFiles(write_scene("f").image, write_scene("m").image), tmp_path / "out", overrides=QUICK)
    assert not (tmp_path / "out" / "metrics.json").exists()


class RecordingSolver:
    """Remembers the weight it was given, and moves nothing."""

    weight: torch.Tensor | None = None

    def __call__(self, fixed, moving, weight=None, progress=None, moving_weight=None):
        self.weight = weight
        return fixed.new_zeros(1, 3, *fixed.shape[2:])


def test_what_the_moving_image_does_not_show_is_not_trusted(write_scene: Callable) -> None:
    recipes = {"MR": {"kind": "percentile", "low": 1.0, "high": 99.0}}
    fixed = read_image(write_scene("f").image)
    half = read_image(write_scene("m", (16, 32, 32)).image)
    common = {"fixed_modality": "MR", "moving_modality": "MR", "normalisation": recipes, "spacing": 3.0}
    solver = RecordingSolver()
    register_pair(fixed, fixed, features=IntensityFeatures(), solver=solver, **common)
    assert solver.weight is None
    register_pair(fixed, half, features=IntensityFeatures(), solver=solver, **common)
    assert solver.weight is not None
    assert solver.weight.shape == (1, 1, 16, 16, 16)
    assert bool((solver.weight[:, :, :8] == 1).all()) and bool((solver.weight[:, :, 8:] == 0).all())


def test_labels_of_the_moving_image_alone_are_warped(write_scene: Callable, tmp_path: Path) -> None:
    fixed, moving = write_scene("f"), write_scene("m", shift=(6, 0, 0), axes="PSR")
    files = PairFiles(fixed.image, moving.image, moving_labels=moving.labels)
    result = register_files(files, tmp_path / "out", overrides=["solver.iterations=40"])
    assert result.metrics["dice_after"] is None
    warped, expected = read_labels(tmp_path / "out" / "warped_labels.nii.gz"), read_labels(fixed.labels)
    assert nib.load(tmp_path / "out" / "warped_labels.nii.gz").get_data_dtype() == np.uint8
    assert min(dice_per_label(expected.data, warped.data, [1, 2]).values()) > 0.85


def test_an_affine_of_a_file_is_where_the_deformation_begins(write_scene: Callable, tmp_path: Path) -> None:
    matrix = np.eye(4)
    matrix[:3, 3] = (60.0, 40.0, -30.0)
    write_affine(matrix, tmp_path / "shift.tfm")
    fixed, moving = write_scene("f"), write_scene("m", affine=STRAIGHT + _offset(60, 40, -30), shift=(60, 40, -30))
    files = PairFiles(fixed.image, moving.image)
    result = register_files(files, tmp_path / "out", affine=str(tmp_path / "shift.tfm"), overrides=QUICK)
    assert np.allclose(result.registration.initial, matrix, atol=1e-6)
    spread = result.registration.deformation.abs().max()
    assert spread < 1e-3  # voxels: nothing is left to do
    assert np.allclose(read_affine(tmp_path / "out" / "affine.tfm"), matrix, atol=1e-6)
    run = yaml.safe_load((tmp_path / "out" / "run.yaml").read_text(encoding="utf-8"))
    assert run["inputs"]["affine"]["path"] == str(tmp_path / "shift.tfm")


def _offset(*shift: float) -> np.ndarray:
    out = np.zeros((4, 4))
    out[:3, 3] = shift
    return out


def test_masks_keep_what_is_in_one_image_only_from_pulling(write_scene: Callable, tmp_path: Path) -> None:
    fixed, moving = write_scene("f"), write_scene("m", shift=(5, 0, 0))
    image = nib.load(moving.image)
    array = np.asarray(image.dataobj).copy()
    # The upper third has moved the other way, as a bed or an arm may.
    block = np.zeros(array.shape, bool)
    block[:, :, 20:] = True
    other = nib.load(write_scene("other", shift=(-9, 0, 0)).image)
    array[block] = np.asarray(other.dataobj)[block]
    nib.save(nib.Nifti1Image(array, image.affine), moving.image)
    nib.save(nib.Nifti1Image((~block).astype(np.uint8), image.affine), tmp_path / "mask.nii.gz")

    overrides = ["solver.iterations=40", "solver.step.regulariser.sigma_field=2.0"]

    def error(**masks: Path) -> float:
        files = PairFiles(fixed.image, moving.image, **masks)
        result = register_files(files, tmp_path / "out", overwrite=True, overrides=overrides)
        u = result.registration.displacement[0] * 3.0  # mm
        seen = (slice(8, 24), slice(8, 24), slice(14, 20))
        return float((u[(slice(None), *seen)] - torch.tensor([5.0, 0, 0]).view(3, 1, 1, 1)).norm(dim=0).mean())

    free = error()
    for masks in ({"moving_mask": tmp_path / "mask.nii.gz"}, {"fixed_mask": tmp_path / "mask.nii.gz"}):
        assert error(**masks) < 0.75 * free


def test_the_inverse_and_the_jacobian_belong_to_the_field(write_scene: Callable, tmp_path: Path) -> None:
    fixed, moving = write_scene("f", axes="PSR"), write_scene("m", (38, 30, 36), shift=(6, -4, 3), axes="LAS")
    out = tmp_path / "out"
    result = register_files(PairFiles(fixed.image, moving.image), out, overrides=["solver.iterations=40"])
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
