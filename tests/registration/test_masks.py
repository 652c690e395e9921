"""Masks that nobody gave: which image gets one, and what is said of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import yaml
from scenes import files_of, image_of, register_to

from mmreg_lightning.data.pair import Pair
from mmreg_lightning.registration.masks import with_body_masks
from mmreg_lightning.registration.settings import UNNAMED

SHAPE = (40, 40, 40)


def ball(inside: float, outside: float) -> np.ndarray:
    voxels = np.stack(np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij"), axis=-1)
    near = np.linalg.norm(voxels - 20, axis=-1) < 14
    texture = np.random.default_rng(0).normal(0, 10, SHAPE)
    return np.where(near, inside + texture, outside)


def test_ct_by_its_name_or_by_its_air_and_others_by_their_padding() -> None:
    ct = image_of(
        ball(40, -1000) + np.random.default_rng(1).normal(0, 3, SHAPE), np.diag([3.0, 3, 3, 1]), path="ct.nii.gz"
    )
    mr = image_of(ball(400, 0), np.diag([3.0, 3, 3, 1]), path="mr.nii.gz")
    for names in (Pair("MR", "CT"), Pair(UNNAMED, UNNAMED)):
        pair, notes = with_body_masks(Pair(mr, ct), names)
        assert pair.fixed.mask is not None and pair.moving.mask is not None
        assert np.array_equal(pair.fixed.mask.data[0].numpy() > 0, mr.volume.data[0].numpy() != 0)
        assert [note.split(":")[0] for note in notes] == ["mr.nii.gz", "ct.nii.gz"]
        assert "table" in notes[1] and "table" not in notes[0]
    pair, notes = with_body_masks(Pair(mr, ct), Pair("MR", "US"))
    assert pair.moving.mask is None and len(notes) == 1, "an ultrasound has no Hounsfield units"


def test_a_mask_that_was_given_stays() -> None:
    half = np.zeros(SHAPE)
    half[:20] = 1
    image = image_of(ball(400, 0), np.eye(4), half)
    pair, notes = with_body_masks(Pair(image, image), Pair("MR", "MR"))
    assert pair.fixed.mask is image.mask and notes == []


def test_a_masked_image_is_registered_to_one_that_is_not(write_scene: Callable, tmp_path: Path) -> None:
    fixed, moving = write_scene("f"), write_scene("m", shift=(5, -4, 3))
    stored = nib.load(moving.image)
    noise = np.random.default_rng(0).normal(40, 12, stored.shape)
    # The moving image shows something all around the body, the fixed one was masked there.
    array = np.where(np.asarray(stored.dataobj) == 0, noise, np.asarray(stored.dataobj))
    nib.save(nib.Nifti1Image(array.astype(np.float32), stored.affine), moving.image)
    files = files_of(fixed.image, moving.image, fixed.labels, moving.labels)
    masked = register_to(files, tmp_path / "masked")
    whole = register_to(files, tmp_path / "whole", body_mask=False)
    assert masked.metrics["dice_after"]["mean"] > 0.9
    assert masked.metrics["dice_after"]["mean"] > whole.metrics["dice_after"]["mean"] + 0.02
    runs = [yaml.safe_load((tmp_path / name / "run.yaml").read_text(encoding="utf-8")) for name in ("masked", "whole")]
    assert len(runs[0]["notes"]) == 1 and "f.nii.gz: padding" in runs[0]["notes"][0] and runs[1]["notes"] == []
    assert [run["settings"]["body_mask"] for run in runs] == [True, False]
    assert "f.nii.gz: padding" in (tmp_path / "masked" / "report.html").read_text(encoding="utf-8")
