"""Whole registrations: from files or memory to a field, a warped image and scores."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 its own documentation calls it so
import torch
import torchio
import yaml
from dicom_images import save, slices
from scenes import CENTER, QUICK, files_of, register_to

import mmreg_lightning
from mmreg_lightning.cli.register import main
from mmreg_lightning.errors import UserError
from mmreg_lightning.evaluation.dice import dice_per_label
from mmreg_lightning.features.checkpoint import load_checkpoint
from mmreg_lightning.geometry.frames import transform_points
from mmreg_lightning.io.images import read_image, read_labels
from mmreg_lightning.io.itk_fields import read_itk_field

RANGE = 260.0  # of the intensities of the scene


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
    register_to(
        files_of(write_scene("f", shape).image, write_scene("m", shape, shift=(4, -3, 2)).image),
        tmp_path / "ras",
        overrides=QUICK,
    )
    fixed = write_scene("f2", shape, axes=axes).image
    moving = write_scene("m2", shape, shift=(4, -3, 2), axes=axes).image
    register_to(files_of(fixed, moving), tmp_path / axes, overrides=QUICK)
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
    register_to(files_of(fixed, moving), tmp_path / "out", affine=affine, overrides=QUICK)

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
    result = register_to(
        files_of(scene.image, scene.image, scene.labels, scene.labels), tmp_path / "out", affine="moments"
    )
    assert result.registration.displacement.abs().max() < 1e-4
    warped = read_image(tmp_path / "out" / "warped.nii.gz").data
    assert torch.allclose(warped, read_image(scene.image).data, atol=1e-3 * RANGE)
    assert result.metrics["dice_after"]["mean"] == 1
    assert result.metrics["folds_percent"] == 0


def test_a_translation_is_recovered_in_world_millimetres(write_scene: Callable, tmp_path: Path) -> None:
    shift = (6.0, -4.0, 5.0)
    fixed, moving = write_scene("f"), write_scene("m", (40, 40, 44), oblique(2.5, (-38, -52, -50)), shift=shift)
    result = register_to(
        files_of(fixed.image, moving.image, fixed.labels, moving.labels),
        tmp_path / "out",
        overrides=["solver.iterations=40"],
    )
    u, grid = read_itk_field(tmp_path / "out" / "displacement.itk.nii.gz")
    body = read_image(fixed.image).data[0] > 0
    mean = u[:, body].mean(dim=1).numpy() * grid.spacing
    assert np.allclose(mean, shift, atol=1.0)
    assert result.metrics["dice_after"]["mean"] > result.metrics["dice_before"]["mean"] + 0.1
    assert result.metrics["dice_after"]["mean"] > 0.9


def test_registering_does_not_import_the_trainers_library() -> None:
    code = (
        "import sys; from mmreg_lightning.registration import batch, register, result;"
        "print(sorted({'pytorch_lightning', 'torchio', 'wandb'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True)
    assert done.stdout.strip() == "[]"


def test_weights_give_the_same_from_a_file_and_say_what_they_assume(
    write_scene: Callable, tmp_path: Path, weights: Path
) -> None:
    fixed, moving = write_scene("f").image, write_scene("m", shift=(4, 0, 0)).image
    result = mmreg_lightning.register(
        fixed, moving, features=str(weights), spacing=3.0, overrides=QUICK, body_mask=False
    )
    assert sum("its modality is not named" in note for note in result.notes) == 2
    named = mmreg_lightning.register(
        fixed,
        moving,
        features=str(weights),
        fixed_modality="MR",
        moving_modality="us",
        spacing=3.0,
        overrides=QUICK,
        body_mask=False,
    )
    assert named.notes == [] and torch.equal(named.displacement, result.displacement), "the same percentiles"
    named.write(tmp_path / "out")
    told = yaml.safe_load((tmp_path / "out" / "run.yaml").read_text())
    assert told["settings"]["moving_modality"] == "US"
    assert told["inputs"]["weights"]["sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()


def test_a_checkpoint_alone_gives_the_same_field_in_a_new_process(
    write_scene: Callable, tmp_path: Path, checkpoint: Path
) -> None:
    fixed, moving = write_scene("f").image, write_scene("m", shift=(4, 0, 0)).image
    here = register_to(files_of(fixed, moving), tmp_path / "here", checkpoint=checkpoint, overrides=QUICK)
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


def test_a_label_of_one_image_only_is_null_and_does_not_count(write_scene: Callable, tmp_path: Path) -> None:
    scene = write_scene("f")
    labels = nib.load(scene.labels)
    fewer = np.where(np.asarray(labels.dataobj) == 2, 9, np.asarray(labels.dataobj))
    nib.save(nib.Nifti1Image(fewer, labels.affine), tmp_path / "fewer.nii.gz")
    files = files_of(scene.image, scene.image, scene.labels, tmp_path / "fewer.nii.gz")
    register_to(files, tmp_path / "out", overrides=QUICK)
    dice = json.loads((tmp_path / "out" / "metrics.json").read_text(encoding="utf-8"))["dice_after"]
    assert dice == {"mean": 1.0, "per_label": {"label 1": 1.0, "label 2": None, "label 9": None}}


def test_old_results_are_replaced_only_on_request(write_scene: Callable, tmp_path: Path) -> None:
    files = files_of(write_scene("f").image, write_scene("m").image)
    out = tmp_path / "out"
    out.mkdir()
    (out / "metrics.json").write_text("old")
    with pytest.raises(UserError, match="overwrite"):
        register_to(files, out)
    assert (out / "metrics.json").read_text(encoding="utf-8") == "old"
    register_to(files, out, overwrite=True, overrides=QUICK)
    assert json.loads((out / "metrics.json").read_text(encoding="utf-8"))["dice_before"] is None


def test_labels_of_the_moving_image_alone_are_warped(write_scene: Callable, tmp_path: Path) -> None:
    fixed, moving = write_scene("f"), write_scene("m", shift=(6, 0, 0), axes="PSR")
    files = files_of(fixed.image, moving.image, moving_labels=moving.labels)
    result = register_to(files, tmp_path / "out", overrides=["solver.iterations=40"])
    assert result.metrics["dice_after"] is None
    warped, expected = read_labels(tmp_path / "out" / "warped_labels.nii.gz"), read_labels(fixed.labels)
    assert nib.load(tmp_path / "out" / "warped_labels.nii.gz").get_data_dtype() == np.uint8
    assert min(dice_per_label(expected.data, warped.data, [1, 2]).values()) > 0.85


LOADERS: dict[str, Callable[[Path], Any]] = {
    "path": lambda path: path,
    "nibabel": nib.load,
    "SimpleITK": lambda path: sitk.ReadImage(str(path)),
    "torchio": torchio.ScalarImage,
}


@pytest.mark.parametrize("library", LOADERS)
def test_images_of_any_library_give_the_same_result(library: str, scenes: tuple[Any, Any], tmp_path: Path) -> None:
    fixed, moving = scenes
    expected = mmreg_lightning.register(fixed.image, moving.image, overrides=QUICK)
    assert isinstance(expected.warped, nib.Nifti1Image)
    load = LOADERS[library]
    got = mmreg_lightning.register(load(fixed.image), load(moving.image), moving_labels=moving.labels, overrides=QUICK)
    assert type(got.warped) in (nib.Nifti1Image, sitk.Image, torchio.ScalarImage)
    if library == "SimpleITK":
        sitk.WriteImage(got.warped, str(tmp_path / "warped.nii.gz"))
    elif library == "torchio":
        got.warped.save(tmp_path / "warped.nii.gz")
    else:
        nib.save(got.warped, tmp_path / "warped.nii.gz")
    written = nib.load(tmp_path / "warped.nii.gz")
    np.testing.assert_allclose(written.affine, nib.load(fixed.image).affine, atol=1e-4)
    np.testing.assert_allclose(written.get_fdata(), expected.warped.get_fdata(), atol=0.3)
    assert got.warped_labels is not None and expected.warped_labels is None


def test_what_cannot_be_used(scenes: tuple[Any, Any]) -> None:
    fixed, moving = scenes
    image = nib.load(moving.image)
    several = nib.Nifti1Image(np.stack([image.get_fdata()] * 2, axis=-1), image.affine)
    empty = nib.Nifti1Image(np.zeros(image.shape, np.uint8), image.affine)
    for kwargs, expected in (
        ({"moving": np.zeros((4, 4, 4))}, "moving: an image must be a path, .* not numpy.ndarray"),
        ({"moving": several}, "moving must be a 3-D image"),
        ({"moving_mask": empty}, "the mask moving_mask is empty"),
        ({"fixed_mask": image}, "has values that are not whole|not on the same grid"),
        ({"affine": "nowhere.tfm"}, "affine=nowhere.tfm: there is no such file"),
        ({"device": "cuda:99"}, "device=cuda:99|--device cuda:99"),
        ({"device": "tpu"}, "device.tpu: must be auto"),
    ):
        with pytest.raises(UserError, match=expected):
            mmreg_lightning.register(**{"fixed": fixed.image, "moving": moving.image, "overrides": QUICK, **kwargs})


def test_python_takes_landmarks_masks_and_a_matrix_as_the_command_does(scenes: tuple[Any, Any], tmp_path: Path) -> None:
    fixed, moving = scenes
    # The same world places, given in voxels of each image's own axis order.
    places = CENTER + np.array([[0.0, 0, 0], [12, -9, 6], [-15, 6, -12]])
    voxels = [
        transform_points(np.linalg.inv(nib.load(path).affine), points)
        for path, points in ((fixed.image, places), (moving.image, places + [4, -3, 2]))
    ]
    for name, points in zip(("f", "m"), voxels, strict=True):
        np.savetxt(tmp_path / f"{name}.csv", points, delimiter=",")
    matrix = np.eye(4)
    matrix[:3, 3] = (4, -3, 2)
    common = {"fixed_labels": fixed.labels, "moving_labels": moving.labels, "affine": matrix, "overrides": QUICK}
    arrays = mmreg_lightning.register(
        fixed.image, moving.image, fixed_landmarks=voxels[0], moving_landmarks=voxels[1], **common
    )
    files = mmreg_lightning.register(
        fixed.image, moving.image, fixed_landmarks=tmp_path / "f.csv", moving_landmarks=tmp_path / "m.csv", **common
    )
    assert arrays.scores.tre_mm_before == pytest.approx(np.linalg.norm([4, -3, 2]), abs=1e-3)
    assert arrays.scores.tre_mm_after == pytest.approx(0, abs=0.5)  # mm; the matrix is the whole way
    assert files.scores.tre_mm_after == pytest.approx(arrays.scores.tre_mm_after, abs=1e-4)
    assert np.allclose(arrays.registration.initial, matrix)
    with pytest.raises(UserError, match=r"fixed_landmarks: must be finite numbers of shape \(N, 3\)"):
        mmreg_lightning.register(fixed.image, moving.image, fixed_landmarks=[1.0, 2.0], overrides=QUICK)
    with pytest.raises(UserError, match="affine=.*invertible 4x4"):
        mmreg_lightning.register(fixed.image, moving.image, affine=np.zeros((4, 4)), overrides=QUICK)
    with pytest.raises(TypeError, match="speed"):
        mmreg_lightning.register(fixed.image, moving.image, speed=2)


def write_dicom(folder: Path, image: Path, series: str) -> None:
    """The slices of an axis-aligned RAS image as a DICOM series, in which rows run to L and columns to P."""
    native = nib.load(image)
    array = np.rint(native.get_fdata() * 10).astype(np.int16)[::-1, ::-1]
    datasets = slices(array, series=series, RescaleIntercept=0, RescaleSlope=0.1)
    corner = np.diag([-1.0, -1, 1]) @ (native.affine @ [array.shape[0] - 1, array.shape[1] - 1, 0, 1])[:3]
    for k, data in enumerate(datasets):
        data.ImageOrientationPatient, data.PixelSpacing = [1, 0, 0, 0, 1, 0], [3, 3]
        data.ImagePositionPatient = [*corner[:2].tolist(), corner[2] + 3 * k]
    save(folder, datasets, f"{series}_{{}}".format)


def test_series_of_one_study_with_labels_on_other_grids(write_scene: Callable, tmp_path: Path) -> None:
    """Fixed and moving are series of one folder, labels a crop and a coarser grid: as regular files on one grid."""
    fixed, moving = write_scene("f"), write_scene("m", shift=(4, -3, 2))
    study = tmp_path / "study"
    write_dicom(study, fixed.image, "1")
    write_dicom(study, moving.image, "2")
    crop = nib.load(fixed.labels).slicer[4:29, 5:30, 3:31]
    nib.save(crop, tmp_path / "crop.nii.gz")
    large = np.pad(np.asarray(nib.load(moving.labels).dataobj), 4)
    affine = nib.load(moving.labels).affine @ np.array(
        [[1, 0, 0, -4], [0, 1, 0, -4], [0, 0, 1, -4], [0, 0, 0, 1]], dtype=float
    )
    nib.save(nib.Nifti1Image(large, affine), tmp_path / "large.nii.gz")
    mask = nib.Nifti1Image(np.ones(crop.shape, np.uint8), crop.affine)
    nib.save(mask, tmp_path / "mask.nii.gz")
    uids = [f"1.2.826.0.1.3680043.2.1125.{n}" for n in (1, 2)]
    parts = {
        "fixed_labels": tmp_path / "crop.nii.gz",
        "moving_labels": tmp_path / "large.nii.gz",
        "fixed_mask": tmp_path / "mask.nii.gz",
    }
    argv = [word for name, path in parts.items() for word in (f"--{name.replace('_', '-')}", str(path))]
    argv += ["--fixed", str(study), "--moving", str(study), "--out", str(tmp_path / "out"), "--set", *QUICK]
    with pytest.raises(UserError, match="holds 2 DICOM series"):
        main(argv)
    assert not (tmp_path / "out").exists()
    main([*argv, "--fixed-series", uids[0], "--moving-series", uids[1]])
    run = yaml.safe_load((tmp_path / "out" / "run.yaml").read_text(encoding="utf-8"))
    assert [run["inputs"][role]["series"] for role in ("fixed", "moving")] == uids
    named = [str(parts[name]) for name in ("fixed_labels", "fixed_mask", "moving_labels")]
    placed = [note for note in run["notes"] if "was placed on it" in note]
    assert [note.split(" (")[0] for note in placed] == named
    outputs = [tmp_path / "out" / name for name in ("run.yaml", "metrics.json", "report.html")]
    text = "".join(path.read_text(encoding="utf-8") for path in outputs)
    assert not any(word in text for word in ("Doe^Jane", "Series 1", "19700101"))
    same = tmp_path / "full_mask.nii.gz"
    whole = np.zeros((32, 32, 32), np.uint8)
    whole[4:29, 5:30, 3:31] = 1
    nib.save(nib.Nifti1Image(whole, nib.load(fixed.image).affine), same)
    expected = mmreg_lightning.register(
        fixed.image,
        moving.image,
        fixed_labels=fixed.labels,
        moving_labels=moving.labels,
        fixed_mask=same,
        overrides=QUICK,
    )
    got = json.loads((tmp_path / "out" / "metrics.json").read_text(encoding="utf-8"))
    assert expected.scores.dice_after is not None
    assert got["dice_after"]["mean"] == pytest.approx(expected.scores.dice_after["mean"], abs=0.01)
    python = mmreg_lightning.register(
        study, study, fixed_series=uids[0], moving_series=uids[1], overrides=QUICK, fixed_mask=parts["fixed_mask"]
    )
    assert torch.allclose(python.displacement, expected.displacement, atol=0.05)
    with pytest.raises(UserError, match=r"^fixed_series=1: fixed must be a folder with DICOM files$"):
        mmreg_lightning.register(nib.load(fixed.image), moving.image, fixed_series="1")


def test_the_warped_image_is_filled_outside_of_the_moving_one(write_scene: Callable, tmp_path: Path) -> None:
    fixed, moving = write_scene("f"), write_scene("m", (20, 20, 20))
    files = files_of(fixed.image, moving.image)
    register_to(files, tmp_path / "own", overrides=QUICK)
    register_to(files, tmp_path / "out", overrides=QUICK, fill=-1000.0)
    own, filled = (read_image(tmp_path / name / "warped.nii.gz").data for name in ("own", "out"))
    outside = filled == -1000
    assert outside.float().mean() > 0.2 and torch.equal(own[~outside], filled[~outside])
    assert (own[outside] == read_image(moving.image).data.min()).all()
    run = yaml.safe_load((tmp_path / "out" / "run.yaml").read_text(encoding="utf-8"))
    assert run["settings"]["fill"] == -1000
    with pytest.raises(UserError, match="fill=inf: must be a finite number"):
        register_to(files, tmp_path / "inf", fill=float("inf"))
