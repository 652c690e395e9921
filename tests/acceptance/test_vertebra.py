"""Other programs make our warped image of our files, on a real CT and MR."""

from __future__ import annotations

import json
import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import torch
from scipy.ndimage import map_coordinates

from mmreg_lightning.cli.apply import main as apply
from mmreg_lightning.cli.register import main as register
from mmreg_lightning.evaluation.dice import dice_per_label
from mmreg_lightning.io.images import read_labels

FOLDER = os.environ.get("MMREG_VERTEBRAE")
pytestmark = pytest.mark.skipif(
    FOLDER is None, reason="MMREG_VERTEBRAE does not name TPTBox's folder of tests (pip download tptbox); .ci/run does"
)


@pytest.fixture(scope="module")
def files() -> dict[str, Path]:
    """A T2 MR and a CT of a lumbar vertebra each, PIR headers, 16 bits, different spacings."""
    folder = Path(str(FOLDER))
    return {
        "fixed": folder / "sample_mri" / "sub-mri_label-6_T2w.nii.gz",
        "moving": folder / "sample_ct" / "sub-ct_label-22_ct.nii.gz",
        "fixed-labels": folder / "sample_mri" / "sub-mri_seg-subreg_label-6_msk.nii.gz",
        "moving-labels": folder / "sample_ct" / "sub-ct_seg-subreg_label-22_msk.nii.gz",
    }


@pytest.fixture(scope="module")
def result(files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("vertebra") / "out"
    argv = [word for name, path in files.items() for word in (f"--{name}", str(path))]
    argv += ["--affine", "moments", "--field-format", "itk", "l2r", "fsl", "torch"]
    register([*argv, "--fixed-modality", "MR", "--moving-modality", "CT", "--out", str(out)])
    return out


def test_it_is_a_registration(result: Path) -> None:
    metrics = json.loads((result / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["dice_before"]["mean"] < 0.01 and metrics["dice_after"]["mean"] > 0.4
    assert metrics["folds_percent"] < 0.1


def test_other_programs_make_the_same_of_our_files(result: Path, files: dict[str, Path]) -> None:
    moving = nib.load(files["moving"])
    array = np.asarray(moving.dataobj, dtype=np.float64)
    warped = nib.load(result / "warped.nii.gz")
    assert warped.get_data_dtype() == moving.get_data_dtype()
    expected = warped.get_fdata()
    with np.load(result / "displacement.l2r.npz") as content:
        field = content["arr_0"]
    mapped = field + np.stack(np.meshgrid(*(np.arange(n) for n in expected.shape), indexing="ij"), axis=-1)
    inside = ((mapped >= 0) & (mapped <= np.array(array.shape) - 1)).all(axis=-1)
    assert inside.mean() > 0.5

    def assert_equal(got: np.ndarray) -> None:
        assert np.abs(got - expected)[inside].max() < 1e-3 * np.ptp(array)

    assert_equal(map_coordinates(array, np.moveaxis(mapped, -1, 0), order=1))
    grid = torch.load(result / "displacement.torch.pt", weights_only=True)
    tensor = torch.from_numpy(array).float()[None, None]
    assert_equal(torch.nn.functional.grid_sample(tensor, grid, align_corners=False)[0, 0].numpy())
    images = [sitk.ReadImage(str(files[role]), sitk.sitkFloat32) for role in ("moving", "fixed")]
    itk_field = sitk.ReadImage(str(result / "displacement.itk.nii.gz"), sitk.sitkVectorFloat64)
    resampled = sitk.Resample(*images, sitk.DisplacementFieldTransform(itk_field), sitk.sitkLinear, 0.0)
    assert_equal(sitk.GetArrayFromImage(resampled).transpose(2, 1, 0))


def test_there_and_back_again(result: Path, files: dict[str, Path], tmp_path: Path) -> None:
    labels = read_labels(files["moving-labels"])
    body = nib.load(files["moving-labels"])
    whole = nib.Nifti1Image((np.asarray(body.dataobj) > 0).astype(np.uint8), body.affine)
    nib.save(whole, tmp_path / "whole.nii.gz")
    common = ["--transform", str(result), "--labels", "vote"]
    there = [*common, "--input", str(tmp_path / "whole.nii.gz"), "--reference", str(files["fixed"])]
    apply([*there, "--out", str(tmp_path / "there.nii.gz")])
    back = [*common, "--inverse", "--input", str(tmp_path / "there.nii.gz"), "--reference", str(files["moving"])]
    apply([*back, "--out", str(tmp_path / "back.nii.gz")])
    # Only what the fixed image shows can come back.
    fixed = nib.load(files["fixed"])
    nib.save(nib.Nifti1Image(np.ones(fixed.shape, np.uint8), fixed.affine), tmp_path / "ones.nii.gz")
    seen = ["--input", str(tmp_path / "ones.nii.gz"), "--reference", str(files["moving"])]
    apply([*common, "--inverse", *seen, "--out", str(tmp_path / "seen.nii.gz")])
    inside = read_labels(tmp_path / "seen.nii.gz").data
    assert inside[labels.data > 0].double().mean() > 0.8
    before, after = ((x > 0).long() * inside for x in (labels.data, read_labels(tmp_path / "back.nii.gz").data))
    dice = dice_per_label(before, after, [1])
    assert dice[1] > 0.98  # 0.978 by the nearest voxel: the bone has processes two voxels thin

    voxels = np.argwhere(np.asarray(nib.load(files["fixed-labels"]).dataobj) > 0)[::50]
    points = nib.affines.apply_affine(nib.load(files["fixed"]).affine, voxels)
    np.savetxt(tmp_path / "p.csv", points, delimiter=",")
    for source, out, more in (("p", "q", []), ("q", "r", ["--inverse"])):
        words = ["--input", str(tmp_path / f"{source}.csv"), "--out", str(tmp_path / f"{out}.csv"), *more]
        apply(["--transform", str(result), "--points-frame", "ras", *words])
    errors = np.linalg.norm(np.loadtxt(tmp_path / "r.csv", delimiter=",") - points, axis=1)
    assert np.median(errors) < 0.1  # mm
