"""The cache: once read, never again; every bad file is named."""

from __future__ import annotations

import dataclasses
import errno
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from mmreg_lightning.data import cache as module
from mmreg_lightning.data.cache import PreprocessingCache
from mmreg_lightning.data.labelling import Labelling
from mmreg_lightning.data.pair import ImageFiles, Pair
from mmreg_lightning.errors import UserError
from mmreg_lightning.functional.labels import IGNORED

WINDOW = {"kind": "window", "low": 0.0, "high": 100.0}


@pytest.fixture
def cache(tmp_path):
    return PreprocessingCache(tmp_path / "cache", 2.0, {"CT": WINDOW}, [1, 2])


@pytest.fixture
def write(tmp_path):
    """Writes an image and its labels; returns the record."""

    def build(name="Demo_0001_0001", side=8, offset=0.0, label=1, label_side=None, value=None):
        affine = np.diag([2.0, 2.0, 2.0, 1.0])
        affine[:3, 3] = offset
        image = np.random.default_rng(side).uniform(0, 100, (side,) * 3).astype(np.float32)
        if value is not None:
            image[0, 0, 0] = value
        labels = np.zeros((label_side or side,) * 3, np.int16)
        labels[2:5, 2:5, 2:5] = label
        paths = tmp_path / f"{name}.nii.gz", tmp_path / f"{name}_labels.nii.gz"
        for array, path in zip((image, labels), paths, strict=True):
            nib.save(nib.Nifti1Image(array, affine), path)
        return ImageFiles(paths[0], paths[1], modality="CT", subject="0001")

    return build


def files(cache):
    return sorted(path.name for path in cache.folder.iterdir())


def test_what_is_prepared(cache, write):
    record = write()
    prepared = cache.image(record)
    source = np.asarray(nib.load(record.image).dataobj)
    assert prepared.image.dtype == torch.float32
    np.testing.assert_allclose(prepared.image[0].numpy(), source / 100, atol=1e-4)
    assert prepared.labels.sum() == 27 and set(prepared.labels.unique().tolist()) == {0, 1}


def test_second_call_does_not_touch_the_source(cache, write, monkeypatch):
    record = write()
    first = cache.image(record)

    def forbidden(path):
        raise AssertionError(f"{path} was read again")

    monkeypatch.setattr(module, "read_image", forbidden)
    monkeypatch.setattr(ImageFiles, "label_map", forbidden)
    again = PreprocessingCache(cache.folder, 2.0, {"CT": WINDOW}, [1, 2]).image(record)
    assert torch.equal(first.image, again.image) and torch.equal(first.labels, again.labels)


def test_what_is_changed_in_memory_stays_in_memory(cache, write):
    record = write()
    cache.image(record).image.fill_(7)
    assert cache.image(record).image.max() <= 1


def test_changed_source_is_prepared_again(cache, write):
    before = cache.image(write()).image.clone()
    after = cache.image(write(value=0.0)).image
    assert not torch.equal(before, after) and after[0, 0, 0, 0] == 0


@pytest.mark.parametrize(
    "other",
    [
        {"spacing": 1.0},
        {"recipes": {"CT": {**WINDOW, "high": 50.0}}},
        {"label_ids": [1, 3]},
    ],
    ids=str,
)
def test_other_settings_are_other_files(cache, write, other):
    record = write()
    cache.image(record)
    before = files(cache)
    arguments = {"spacing": 2.0, "recipes": {"CT": WINDOW}, "label_ids": [1, 2], **other}
    PreprocessingCache(cache.folder, **arguments).image(record)
    assert len(files(cache)) == len(before) + 3  # image, labels, field of view


def test_labels_are_those_of_the_data_set_and_other_ones_are_other_files(cache, write):
    record = write(label=13)
    kept = []
    for own in (1, 2, IGNORED):
        labelling = Labelling(((13, own),), (), "Demo_dataset.json")
        kept.append(cache.image(dataclasses.replace(record, labelling=labelling)).labels.unique().tolist())
    assert kept == [[0, 1], [0, 2], [IGNORED, 0]]


def test_undeclared_id_is_named_with_what_to_do(cache, write):
    record = dataclasses.replace(write(label=9), labelling=Labelling(((1, 1),), (1,), "Demo_dataset.json"))
    with pytest.raises(UserError, match=r"_labels.nii.gz: label ids \[9\] are not declared in Demo.*data.organs"):
        cache.image(record)


def write_mask(record, side=8):
    mask = np.zeros((side,) * 3, np.uint8)
    mask[:4] = 3  # any value but 0 is inside
    path = record.image.with_name("mask.nii.gz")
    nib.save(nib.Nifti1Image(mask, nib.load(record.image).affine), path)
    return dataclasses.replace(record, mask=path)


def test_mask_lies_on_the_working_grid(cache, write):
    record = write()
    assert cache.image(record).mask is None
    masked = cache.image(write_mask(record))
    expected = torch.zeros(1, 8, 8, 8)
    expected[:, :4] = 1
    assert torch.equal(masked.mask, expected)
    assert torch.equal(masked.inside, torch.ones(1, 8, 8, 8))
    assert torch.equal(masked.image, cache.image(record).image)


def test_mask_of_another_size(cache, write):
    with pytest.raises(UserError, match="mask.nii.gz .* is not on the same grid as"):
        cache.image(write_mask(write(), side=9))


def test_image_without_labels_is_all_background(cache, write):
    record = write()
    bare = ImageFiles(record.image, modality="CT", subject="0001")
    assert cache.image(bare).labels.abs().max() == 0


def test_pair_lies_on_the_fixed_grid(cache, write):
    fixed, moving = write("Demo_0001_0001"), write("Demo_0002_0001", side=16)
    a, b = cache.pair(Pair(fixed, moving))
    assert a.image.shape == b.image.shape == (1, 8, 8, 8)
    source = np.asarray(nib.load(moving.image).dataobj)[:8, :8, :8]
    np.testing.assert_allclose(b.image[0].numpy(), source / 100, atol=1e-4)


def test_pair_without_overlap(cache, write):
    pair = Pair(write("Demo_0001_0001"), write("Demo_0002_0001", offset=500.0))
    with pytest.raises(UserError, match=r"Demo_0001_0001.*Demo_0002_0001.*do not overlap"):
        cache.pair(pair)


@pytest.mark.slow
def test_small_image_within_a_large_one_overlaps(tmp_path, write):
    # Smaller than the lattice on which the large one's overlap is counted.
    cache = PreprocessingCache(tmp_path / "cache", 2.0, {"CT": WINDOW}, [1, 2])
    large, small = write("Demo_0001_0001", side=128), write("Demo_0002_0001", side=5, offset=101.5)
    assert cache.pair(Pair(large, small)).moving.image.max() > 0


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"label": 9}, r"_labels.nii.gz: label ids \[9\] are not declared"),
        ({"label_side": 9}, "_labels.nii.gz .* is not on the same grid as"),
        ({"value": np.nan}, "Demo_0001_0001.nii.gz has NaN"),
    ],
)
def test_unusable_files_leave_nothing_behind(cache, write, wrong, match):
    with pytest.raises(UserError, match=match):
        cache.image(write(**wrong))
    assert files(cache) == []


def test_interrupted_writing_leaves_no_half_file(cache, write, monkeypatch):
    record = write()

    def full_disk(stream, array):
        stream.write(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(np, "save", full_disk)
    with pytest.raises(OSError, match="No space"):
        cache.image(record)
    assert files(cache) == []
    monkeypatch.undo()
    assert cache.image(record).image.shape == (1, 8, 8, 8)


def test_a_lost_file_is_made_again(cache, write):
    record = write()
    expected = cache.image(record).labels.clone()
    next(cache.folder.glob("*_labels.npy")).unlink()
    assert torch.equal(cache.image(record).labels, expected)


def test_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot write"):
        PreprocessingCache(tmp_path / "file" / "cache", 2.0, {}, [])


def test_moved_data_set_is_prepared_again(cache, write, tmp_path):
    record = write()
    cache.image(record)
    copy = tmp_path / "copy"
    copy.mkdir()
    moved = ImageFiles(copy / record.image.name, modality="CT", subject="0001")
    shutil.copy2(record.image, moved.image)
    assert cache.image(moved).labels.max() == 0


def test_trust_is_one_where_both_images_are_seen(cache, write):
    # 12 voxels become a working grid of 16: two voxels beyond each end.
    fixed, moving = cache.pair(Pair(write("Demo_0001_0001", side=12), write("Demo_0002_0001", side=12)))
    expected = torch.zeros(1, 16, 16, 16)
    expected[..., 2:14, 2:14, 2:14] = 1
    assert torch.equal(fixed.inside, expected)
    assert torch.equal(moving.inside, expected)


def test_a_full_disk_is_named(cache, write, monkeypatch):
    record = write()

    def full(self, content):
        with open(self, "wb") as stream:
            stream.write(content[:10])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UserError, match=f"^cannot write {cache.folder}/Demo_0001_0001_.*npy: No space left on device$"):
        cache.image(record)
    assert list(cache.folder.iterdir()) == []
