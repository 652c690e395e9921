"""The files of a pair: what is read, in which frame, what can be scored, and what does not fit together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scenes import files_of

from mmreg_lightning.data.pair import Image, ImageFiles, Pair, check_pair
from mmreg_lightning.errors import UserError
from mmreg_lightning.geometry.grid import Grid
from mmreg_lightning.geometry.volume import Volume

SHAPE = (7, 6, 5)
LAS = np.array([[-2.0, 0, 0, 12], [0, 2, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1]])
"""Voxels of 2 mm whose first axis runs to the left: voxel (i, j, k) of the file is (6 - i, j, k) in RAS+ order."""


def save(path: Path, array: NDArray, affine: NDArray = LAS) -> Path:
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


def boxes(*ids: int) -> NDArray[np.uint8]:
    labels = np.zeros(SHAPE, np.uint8)
    for place, label in enumerate(ids):
        labels[2 * place : 2 * place + 2] = label
    return labels


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Both images, with labels 1 and 2 in the fixed and 2 and 3 in the moving one, masks, and two landmarks."""
    noise = np.random.default_rng(0).random(SHAPE).astype(np.float32)
    found = {role: save(tmp_path / f"{role}.nii.gz", noise) for role in ("fixed", "moving")}
    found["fixed_labels"] = save(tmp_path / "fixed_labels.nii.gz", boxes(1, 2))
    found["moving_labels"] = save(tmp_path / "moving_labels.nii.gz", boxes(2, 3))
    found["fixed_mask"] = save(tmp_path / "fixed_mask.nii.gz", boxes(0, 9))
    for role, text in (("fixed", "0,0,0\n6,5,4\n"), ("moving", "1,2,3\n2,2,2.5\n")):
        found[f"{role}_landmarks"] = tmp_path / f"{role}.csv"
        found[f"{role}_landmarks"].write_text(text, encoding="utf-8")
    return found


def volume(labels: NDArray[np.uint8], affine: NDArray = LAS) -> Volume:
    return Volume(torch.from_numpy(labels)[None].long(), Grid(SHAPE, np.abs(affine)))


def test_everything_is_read_into_ras_order(files: dict[str, Path]) -> None:
    fixed, moving = files_of(**files).read()
    assert fixed.labels is not None and fixed.mask is not None and moving.labels is not None and moving.mask is None
    assert fixed.landmarks is not None and moving.landmarks is not None
    array = np.asarray(nib.load(files["fixed"]).dataobj)
    np.testing.assert_array_equal(fixed.volume.data[0], array[::-1])
    np.testing.assert_array_equal(fixed.labels.data[0], boxes(1, 2)[::-1])
    np.testing.assert_array_equal(fixed.mask.data[0], (boxes(0, 9) == 9)[::-1])
    np.testing.assert_array_equal(fixed.landmarks, [[6, 0, 0], [0, 5, 4]])
    np.testing.assert_array_equal(moving.landmarks, [[5, 2, 3], [4, 2, 2.5]])


def test_images_alone_and_moving_labels_alone(files: dict[str, Path]) -> None:
    images = {"fixed": files["fixed"], "moving": files["moving"]}
    for image in files_of(**images).read():
        assert image.labels is image.mask is image.landmarks is None
    fixed, moving = files_of(**images, moving_labels=files["moving_labels"]).read()
    assert fixed.labels is None and moving.labels is not None and moving.labels.label_ids == [2, 3]


def test_given_files_by_name(files: dict[str, Path]) -> None:
    assert files_of(**files).files() == files
    assert list(files_of(files["fixed"], files["moving"]).files()) == ["fixed", "moving"]


@pytest.mark.parametrize(
    ("left_out", "match"),
    [
        ("moving_labels", "^fixed_labels=.*fixed_labels.nii.gz: the labels of the moving image must be given, too$"),
        ("fixed_landmarks", "^moving_landmarks=.*moving.csv: the landmarks of the fixed image must be given, too$"),
        ("moving_landmarks", "^fixed_landmarks=.*fixed.csv: the landmarks of the moving image must be given, too$"),
    ],
)
def test_what_needs_its_counterpart(files: dict[str, Path], left_out: str, match: str) -> None:
    del files[left_out]
    with pytest.raises(UserError, match=match):
        files_of(**files).read()


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("1,2,3\n", "fixed.nii.gz has 2 landmarks, but .*moving.nii.gz has 1"),
        ("1,2,3\n7.5,0,0\n", r"moving.csv: row 2, \[7.5, 0.0, 0.0\], lies outside its image of \(7, 6, 5\) voxels"),
        ("0,-1.5,0\n1,1,1\n", r"moving.csv: row 1, \[0.0, -1.5, 0.0\], lies outside"),
    ],
)
def test_landmarks_that_do_not_fit(files: dict[str, Path], text: str, match: str) -> None:
    files["moving_landmarks"].write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=match):
        files_of(**files).read()


def test_labels_and_masks_must_lie_on_their_image(files: dict[str, Path], tmp_path: Path) -> None:
    moved = LAS.copy()
    moved[0, 3] += 1.0  # half a voxel
    for name in ("moving_labels", "fixed_mask"):
        other = save(tmp_path / f"other_{name}.nii.gz", boxes(2, 3), moved)
        with pytest.raises(UserError, match=f"other_{name}.nii.gz .* is not on the same grid as"):
            files_of(**{**files, name: other}).read()


def test_labels_must_share_an_organ() -> None:
    fixed, moving = (Image(volume(boxes(1)), volume(boxes(*ids))) for ids in ((1, 4), (2,)))
    with pytest.raises(UserError, match=r"the fixed labels and the moving labels share no organ.*\[1, 4\] and \[2\]"):
        check_pair(Pair(fixed, moving))
    check_pair(Pair(fixed, replace(moving, labels=volume(boxes(4)))))


def named(name: str, subject: str = "0001", **parts: bool) -> ImageFiles:
    """Of an image with the parts that are True."""
    paths = {part: Path(f"{name}_{part}") for part, there in parts.items() if there}
    return ImageFiles(Path(name), subject=subject, **paths)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fixed", "moving", "left"),
    [
        ({"labels": True}, {}, {"fixed", "moving"}),
        ({}, {"labels": True}, {"fixed", "moving", "moving_labels"}),
        ({"labels": True}, {"labels": True}, {"fixed", "moving", "fixed_labels", "moving_labels"}),
        ({"landmarks": True}, {"mask": True}, {"fixed", "moving", "moving_mask"}),
        ({"landmarks": True}, {"landmarks": True}, {"fixed", "moving", "fixed_landmarks", "moving_landmarks"}),
    ],
)
def test_what_has_no_counterpart_is_not_scored(fixed: dict[str, bool], moving: dict[str, bool], left: set[str]) -> None:
    pair = Pair(named("f", **fixed), named("m", **moving))
    assert set(pair.scorable().files()) == left
    assert pair.labelled == ("fixed_labels" in left)


def test_landmarks_correspond_within_one_subject_only() -> None:
    parts = {"labels": True, "landmarks": True}
    own = Pair(named("f", **parts), named("m", **parts))
    assert set(own.files()) == {
        f"{role}{part}" for role in ("fixed", "moving") for part in ("", "_labels", "_landmarks")
    }
    other = Pair(named("f", **parts), named("m", "0002", **parts))
    assert set(other.files()) == set(other.scorable().files()) == {"fixed", "moving", "fixed_labels", "moving_labels"}
    assert (own.name, other.name) == ("0001_to_0001", "0002_to_0001")


def test_labels_on_a_crop_are_placed_where_that_is_asked_for(files: dict[str, Path], tmp_path: Path) -> None:
    image = nib.load(files["moving_labels"])
    nib.save(image.slicer[1:, :-1], tmp_path / "crop.nii.gz")
    pair = files_of(**{**files, "moving_labels": tmp_path / "crop.nii.gz"})
    with pytest.raises(UserError, match=r"crop\.nii\.gz .* is not on the same grid as"):
        pair.read()
    placed = pair.read(place=True).moving
    assert placed.labels is not None and len(placed.notes) == 1 and "crop.nii.gz" in placed.notes[0]
    expected = np.zeros(image.shape)
    expected[1:, :-1] = np.asarray(image.dataobj)[1:, :-1]
    got = placed.labels.native.from_canonical(placed.labels.data[0].numpy())
    np.testing.assert_array_equal(got, expected)
