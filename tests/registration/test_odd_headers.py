"""Whole registrations of files whose headers are odd: what is written is read alike, beside the original files too."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 its own documentation calls it so
import yaml
from headers import itk_affine, nifti_file
from numpy.typing import NDArray
from scenes import CENTER, QUICK, STRAIGHT, Written, files_of, picture, register_to

from mmreg_lightning import register
from mmreg_lightning.cli.apply import main as apply
from mmreg_lightning.cli.register import main as register_command
from mmreg_lightning.evaluation.fields import evaluate_fields
from mmreg_lightning.geometry.rigid import is_rigid


def warped_by_itk(moving: Path, field: Path, reference: Path) -> NDArray[np.float64]:
    transform = sitk.DisplacementFieldTransform(sitk.Cast(sitk.ReadImage(str(field)), sitk.sitkVectorFloat64))
    source = sitk.ReadImage(str(moving), sitk.sitkFloat32)
    darkest = float(sitk.GetArrayFromImage(source).min())
    return sitk.GetArrayFromImage(
        sitk.Resample(source, sitk.ReadImage(str(reference)), transform, sitk.sitkLinear, darkest)
    ).T


SHEAR = np.eye(4) + np.array([[0, 0, 0, 0], [0, 0, 0.3, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
FRAMES = {
    "forms that disagree": {
        "sform": STRAIGHT,
        "qform": STRAIGHT,
        "qoffset": STRAIGHT[:3, 3] + (9, 0, 0),
        "sform_code": 2,
    },
    "no form": {"pixdim": [1, 3, 3, 3]},
    "micron": {"sform": 1000 * STRAIGHT, "qform": np.diag([1000, 1000, 1000, 1]) @ STRAIGHT, "units": 3},
}


@pytest.mark.parametrize("header", FRAMES.values(), ids=FRAMES.keys())
def test_the_field_for_an_odd_header_is_right_beside_the_original_files(
    header: dict[str, Any], write_scene: Callable[..., Written], tmp_path: Path
) -> None:
    """ITK warps the original moving file onto the original fixed file as we have done."""
    scenes = write_scene("f"), write_scene("m", shift=(4, 0, 0))
    fixed, moving = (
        nifti_file(tmp_path / f"odd_{name}.nii", np.asarray(nib.load(scene.image).dataobj), **header)
        for name, scene in zip("fm", scenes, strict=True)
    )
    result = register_to(files_of(fixed, moving), tmp_path / "out", overrides=QUICK)
    assert any("odd_f.nii" in note for note in result.notes) and any("odd_m.nii" in note for note in result.notes)
    for name in ("warped.nii.gz", "jacobian.nii.gz", "displacement.itk.nii.gz", "inverse.itk.nii.gz"):
        path = tmp_path / "out" / name
        np.testing.assert_allclose(itk_affine(path), itk_affine(fixed), atol=1e-4)
        np.testing.assert_allclose(nib.load(path).affine, itk_affine(fixed), atol=1e-4)
    ours = nib.load(tmp_path / "out" / "warped.nii.gz").get_fdata()
    theirs = warped_by_itk(moving, tmp_path / "out" / "displacement.itk.nii.gz", fixed)
    assert np.abs(ours - theirs)[2:-2, 2:-2, 2:-2].max() < 0.05
    run = yaml.safe_load((tmp_path / "out" / "run.yaml").read_text(encoding="utf-8"))
    assert run["notes"] == result.notes


def test_a_sheared_fixed_image(write_scene: Callable[..., Written], tmp_path: Path) -> None:
    """As of a tilted gantry: everything on a rigid grid, which ITK, nibabel and ANTs read alike."""
    ants = pytest.importorskip("ants")
    fixed = write_scene("f", affine=STRAIGHT @ SHEAR, axes="LPS")
    moving = write_scene("m", shift=(4, 0, 0))
    files = files_of(fixed.image, moving.image, fixed.labels, moving.labels)
    out = tmp_path / "out"
    result = register_to(files, out, overrides=["solver.iterations=20"], field_formats=("itk", "l2r"))
    with pytest.raises(RuntimeError, match="orthonormal"):
        sitk.ReadImage(str(fixed.image))
    expected = itk_affine(out / "fixed.nii.gz")
    for path in sorted(out.glob("*.nii.gz")):
        if not path.name.startswith("inverse"):
            np.testing.assert_allclose(itk_affine(path), expected, atol=1e-4)
            np.testing.assert_allclose(nib.load(path).affine, expected, atol=1e-4)
    for name in ("warped.nii.gz", "fixed.nii.gz"):
        image = ants.image_read(str(out / name))
        ants_affine = np.eye(4)
        ants_affine[:3, :3], ants_affine[:3, 3] = image.direction * np.array(image.spacing), image.origin
        np.testing.assert_allclose(np.diag([-1.0, -1, 1, 1]) @ ants_affine, expected, atol=1e-4)
    ours = nib.load(out / "warped.nii.gz").get_fdata()
    theirs = warped_by_itk(moving.image, out / "displacement.itk.nii.gz", out / "fixed.nii.gz")
    assert np.abs(ours - theirs)[2:-2, 2:-2, 2:-2].max() < 0.05
    # The labels followed, and the places are right: the same scene, sampled on the sheared grid
    assert result.scores.dice_after is not None and result.scores.dice_after["mean"] > 0.9
    resampled = nib.load(out / "fixed.nii.gz")
    voxels = np.stack(np.meshgrid(*map(np.arange, resampled.shape), indexing="ij"), axis=-1)
    truth = picture(voxels @ resampled.affine[:3, :3].T + resampled.affine[:3, 3])
    inside = truth > 0
    assert np.abs(resampled.get_fdata() - truth)[inside].mean() < 4
    assert any("its grid is sheared" in note for note in result.notes)


def test_a_sheared_moving_image(write_scene: Callable[..., Written], tmp_path: Path) -> None:
    """Only the inverse field lies on its grid, so on a rigid one that covers it."""
    fixed, moving = write_scene("f"), write_scene("m", affine=STRAIGHT @ SHEAR, shift=(4, 0, 0))
    out = tmp_path / "out"
    files = files_of(fixed.image, moving.image, fixed.labels, moving.labels)
    result = register_to(files, out, overrides=["solver.iterations=20"], field_formats=("itk", "l2r"))
    assert result.scores.dice_after is not None and result.scores.dice_after["mean"] > 0.9
    assert any("inverse.itk.nii.gz lies on a rigid grid" in note for note in result.notes)
    assert not (out / "fixed.nii.gz").exists()
    field = sitk.ReadImage(str(out / "inverse.itk.nii.gz"))
    np.testing.assert_allclose(
        itk_affine(out / "inverse.itk.nii.gz"), nib.load(out / "inverse.itk.nii.gz").affine, atol=1e-4
    )
    assert np.load(out / "inverse.l2r.npz")["arr_0"].shape == (32, 32, 32, 3)  # voxels of the file
    inverse = sitk.DisplacementFieldTransform(sitk.Cast(field, sitk.sitkVectorFloat64))
    points = CENTER + np.random.default_rng(0).uniform(-20, 20, (20, 3))
    back = [inverse.TransformPoint([-x, -y, z]) for x, y, z in result.map_points(points)]
    np.testing.assert_allclose(np.array(back) * [-1, -1, 1], points, atol=0.1)


def test_landmarks_of_a_sheared_fixed_image(write_scene: Callable[..., Written], tmp_path: Path) -> None:
    fixed, moving = write_scene("f", affine=STRAIGHT @ SHEAR), write_scene("m")
    voxels = np.array([[12.0, 10, 14], [20, 18, 16], [16, 12, 20]])
    world = voxels @ (STRAIGHT @ SHEAR)[:3, :3].T + (STRAIGHT @ SHEAR)[:3, 3]
    there = (world - STRAIGHT[:3, 3]) / 3
    result = register(
        fixed.image, moving.image, fixed_landmarks=voxels, moving_landmarks=there, overrides=["solver.iterations=1"]
    )
    assert result.scores.tre_mm_before == pytest.approx(0, abs=1e-4)
    nifti = result.warped
    np.testing.assert_allclose(nifti.affine, result.pair.fixed.volume.native.affine)
    assert is_rigid(nifti.affine)


def test_the_submission_of_a_sheared_fixed_image_is_of_its_files_size(
    write_scene: Callable[..., Written], tmp_path: Path
) -> None:
    root = tmp_path / "data"
    scenes = write_scene("f", affine=STRAIGHT @ SHEAR), write_scene("m", shift=(4, 0, 0))
    for folder, part in (("imagesTr", "image"), ("labelsTr", "labels")):
        (root / folder).mkdir(parents=True)
        for number, scene in enumerate(scenes):
            shutil.copy(getattr(scene, part), root / folder / f"Scene_0001_000{number}.nii.gz")
    organs = {"0": "background", "1": "first", "2": "second"}
    description = {
        "name": "Scene",
        "modality": {"0": "MR", "1": "CT"},
        "labels": {"0": organs, "1": organs},
        "registration_direction": {"fixed": 0, "moving": 1},
        "registration_val": [
            {"fixed": "./imagesTr/Scene_0001_0000.nii.gz", "moving": "./imagesTr/Scene_0001_0001.nii.gz"}
        ],
    }
    (root / "Scene_dataset.json").write_text(json.dumps(description), encoding="utf-8")
    out = tmp_path / "out"
    command = ["--dataset", str(root), "--out", str(out), "--features", "mind_ssc", "--set", "solver.iterations=20"]
    register_command(command)
    (field,) = (out / "fields").glob("*.npz")
    written = np.load(field)["arr_0"]
    assert written.shape == (32, 32, 32, 3)
    field.unlink()
    register_command(command)  # of the folder that is finished, from its ITK field
    assert np.abs(np.load(field)["arr_0"] - written).max() < 0.02
    summary = evaluate_fields(root, out / "fields", tmp_path / "scores")
    assert summary["measures"]["dice"]["mean"] > 0.9
    assert any("sheared" in note for note in summary["notes"])


def test_applying_onto_a_sheared_reference(
    write_scene: Callable[..., Written], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fixed, moving = write_scene("f", affine=STRAIGHT @ SHEAR), write_scene("m", shift=(4, 0, 0))
    register_to(files_of(fixed.image, moving.image), tmp_path / "out", overrides=QUICK)
    words = ["--input", str(moving.image), "--reference", str(fixed.image), "--out", str(tmp_path / "again.nii.gz")]
    apply(["--transform", str(tmp_path / "out"), *words])
    assert f"Note: {fixed.image}: its grid is sheared" in capsys.readouterr().out
    again, warped = nib.load(tmp_path / "again.nii.gz"), nib.load(tmp_path / "out" / "warped.nii.gz")
    np.testing.assert_allclose(itk_affine(tmp_path / "again.nii.gz"), warped.affine, atol=1e-4)
    assert np.mean(np.abs(again.get_fdata() - warped.get_fdata()) > 0.05) < 1e-3


def test_applying_says_what_is_odd(
    write_scene: Callable[..., Written], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scene = write_scene("f")
    odd = nifti_file(tmp_path / "odd.nii", np.asarray(nib.load(scene.image).dataobj), **FRAMES["no form"])
    still = sitk.AffineTransform(3)
    sitk.WriteTransform(still, str(tmp_path / "still.tfm"))
    words = ["--input", str(odd), "--reference", str(odd), "--out", str(tmp_path / "again.nii.gz")]
    apply(["--transform", str(tmp_path / "still.tfm"), *words])
    printed = capsys.readouterr().out
    assert printed.count(f"Note: {odd}: it has no sform and no qform") == 1
    np.testing.assert_allclose(nib.load(tmp_path / "again.nii.gz").get_fdata(), nib.load(odd).get_fdata(), atol=1e-3)
