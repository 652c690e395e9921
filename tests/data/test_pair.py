"""The files of a pair: what is read, in which frame, and what does not fit together."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mmreg_lightning.data.learn2reg import ImageRecord, PairRecord
from mmreg_lightning.data.pair import PairFiles, both_or_neither, checked_pair, pair_files, read_pair
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
    pair = read_pair(PairFiles(**files))
    assert pair.labels is not None and pair.landmarks is not None
    array = np.asarray(nib.load(files["fixed"]).dataobj)
    np.testing.assert_array_equal(pair.fixed.data[0], array[::-1])
    np.testing.assert_array_equal(pair.labels[0].data[0], boxes(1, 2)[::-1])
    np.testing.assert_array_equal(pair.landmarks[0], [[6, 0, 0], [0, 5, 4]])
    np.testing.assert_array_equal(pair.landmarks[1], [[5, 2, 3], [4, 2, 2.5]])
    assert pair.moving_labels is pair.labels[1]
    assert pair.masks[0] is not None and pair.masks[1] is None
    np.testing.assert_array_equal(pair.masks[0].data[0], (boxes(0, 9) == 9)[::-1])


def test_images_alone_and_moving_labels_alone(files: dict[str, Path]) -> None:
    bare = read_pair(PairFiles(files["fixed"], files["moving"]))
    assert bare.labels is bare.landmarks is bare.moving_labels is None and bare.masks == (None, None)
    pair = read_pair(PairFiles(files["fixed"], files["moving"], moving_labels=files["moving_labels"]))
    assert pair.labels is None and pair.moving_labels is not None and pair.moving_labels.label_ids == [2, 3]


def test_given_files_by_name(files: dict[str, Path]) -> None:
    assert PairFiles(**files).named() == files
    assert list(PairFiles(files["fixed"], files["moving"]).named()) == ["fixed", "moving"]


@pytest.mark.parametrize(
    ("left_out", "match"),
    [
        ("moving_labels", "--fixed-labels .*fixed_labels.nii.gz is given without --moving-labels"),
        ("fixed_landmarks", "--moving-landmarks .*moving.csv is given without --fixed-landmarks"),
        ("moving_landmarks", "--fixed-landmarks .*fixed.csv is given without --moving-landmarks"),
    ],
)
def test_what_needs_its_counterpart(files: dict[str, Path], left_out: str, match: str) -> None:
    del files[left_out]
    with pytest.raises(UserError, match=match):
        read_pair(PairFiles(**files))


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("1,2,3\n", "fixed.csv has 2 landmarks, but .*moving.csv has 1"),
        ("1,2,3\n7.5,0,0\n", r"moving.csv: row 2, \[7.5, 0.0, 0.0\], lies outside its image of \(7, 6, 5\) voxels"),
        ("0,-1.5,0\n1,1,1\n", r"moving.csv: row 1, \[0.0, -1.5, 0.0\], lies outside"),
    ],
)
def test_landmarks_that_do_not_fit(files: dict[str, Path], text: str, match: str) -> None:
    files["moving_landmarks"].write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=match):
        read_pair(PairFiles(**files))


def test_labels_and_masks_must_lie_on_their_image(files: dict[str, Path], tmp_path: Path) -> None:
    moved = LAS.copy()
    moved[0, 3] += 1.0  # half a voxel
    for name in ("moving_labels", "fixed_mask"):
        other = save(tmp_path / f"other_{name}.nii.gz", boxes(2, 3), moved)
        with pytest.raises(UserError, match=f"other_{name}.nii.gz .* is not on the same grid as"):
            read_pair(PairFiles(**{**files, name: other}))


def test_labels_must_share_an_organ() -> None:
    images = volume(boxes(1)), volume(boxes(1))
    with pytest.raises(UserError, match=r"the fixed labels and the moving labels share no organ.*\[1, 4\] and \[2\]"):
        checked_pair(*images, (volume(boxes(1, 4)), volume(boxes(2))))
    assert checked_pair(*images, (volume(boxes(1, 4)), volume(boxes(4)))).labels is not None


def test_two_options_that_need_each_other() -> None:
    both_or_neither("--a", None, "--b", None)
    both_or_neither("--a", 0, "--b", "x")  # 0 is given
    with pytest.raises(UserError, match="^--b x is given without --a$"):
        both_or_neither("--a", None, "--b", "x")
    with pytest.raises(UserError, match="^--a 0 is given without --b$"):
        both_or_neither("--a", 0, "--b", None)


def test_landmarks_correspond_within_one_subject_only() -> None:
    def record(subject: str, modality: str) -> ImageRecord:
        names = (Path(f"{kind}_{subject}_{modality}") for kind in ("image", "labels", "mask", "points"))
        return ImageRecord(subject, modality, *names)

    own = pair_files(PairRecord(record("0001", "MR"), record("0001", "CT")))
    assert own == PairFiles(
        Path("image_0001_MR"),
        Path("image_0001_CT"),
        Path("labels_0001_MR"),
        Path("labels_0001_CT"),
        Path("points_0001_MR"),
        Path("points_0001_CT"),
    )
    other = pair_files(PairRecord(record("0001", "MR"), record("0002", "CT")))
    assert other.fixed_landmarks is other.moving_landmarks is None and other.moving == Path("image_0002_CT")
