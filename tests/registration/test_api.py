"""The Python call, with images of other libraries."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import torchio
import yaml

import mmreg_lightning
from mmreg_lightning.errors import UserError
from mmreg_lightning.registration import solve

QUICK = {"overrides": ["solver.iterations=4"]}
LOADERS: dict[str, Callable[[Path], Any]] = {
    "path": lambda path: path,
    "nibabel": nib.load,
    "SimpleITK": lambda path: sitk.ReadImage(str(path)),
    "torchio": torchio.ScalarImage,
}


@pytest.fixture
def scenes(write_scene: Callable) -> tuple[Any, Any]:
    return write_scene("f", axes="PSR"), write_scene("m", (38, 30, 36), shift=(4, -3, 2), axes="LAS")


@pytest.mark.parametrize("library", LOADERS)
def test_images_of_any_library_give_the_same_result(library: str, scenes: tuple[Any, Any], tmp_path: Path) -> None:
    fixed, moving = scenes
    expected = mmreg_lightning.register(fixed.image, moving.image, **QUICK)
    assert isinstance(expected.warped, nib.Nifti1Image)
    load = LOADERS[library]
    got = mmreg_lightning.register(load(fixed.image), load(moving.image), moving_labels=moving.labels, **QUICK)
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


def test_the_transform_goes_there_and_back_and_is_written(scenes: tuple[Any, Any], tmp_path: Path) -> None:
    fixed, moving = scenes
    result = mmreg_lightning.register(
        fixed.image, moving.image, fixed_labels=fixed.labels, moving_labels=moving.labels, affine="moments", **QUICK
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
    with pytest.raises(UserError, match="--overwrite"):
        result.write(tmp_path / "out")


def test_what_passes_between_the_registration_and_the_writing_counts_for_nothing(
    scenes: tuple[Any, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = itertools.count(0.0, 1.0)  # whoever looks at it finds it a second later
    monkeypatch.setattr(solve, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    result = mmreg_lightning.register(scenes[0].image, scenes[1].image, **QUICK)
    clock = itertools.count(5000.0, 1.0)
    first, second = (
        json.loads((result.write(tmp_path / name) / "metrics.json").read_text(encoding="utf-8"))["seconds"]
        for name in ("once", "again")
    )
    assert first == second, "an earlier writing counts for nothing, too"
    stages = sum(seconds for name, seconds in first.items() if name != "total")
    assert 0 < first["write"] < stages <= first["total"] < 100


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
        ({"affine": "nowhere.tfm"}, "--affine nowhere.tfm: there is no such file"),
        ({"device": "cuda:99"}, "--device cuda:99"),
        ({"device": "tpu"}, "--device tpu: must be auto"),
    ):
        with pytest.raises(UserError, match=expected):
            mmreg_lightning.register(**{"fixed": fixed.image, "moving": moving.image, **QUICK, **kwargs})
