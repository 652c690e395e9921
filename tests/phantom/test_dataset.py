"""Phantom data sets: layout, reproducibility, refusals."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from mmreg_lightning.data.learn2reg import Learn2RegDataset
from mmreg_lightning.data.pair import Pair
from mmreg_lightning.errors import UserError
from mmreg_lightning.evaluation.tre import landmark_errors
from mmreg_lightning.io.images import read_image
from mmreg_lightning.io.point_tables import read_point_table
from mmreg_lightning.phantom.dataset import NAME, dataset_description, true_displacement, write_phantom
from mmreg_lightning.phantom.subject import make_subject


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantom(tmp_path_factory.mktemp("data") / "phantom", 6, (24, 20, 24), seed=3, val=2, test=1)


def test_layout(folder: Path) -> None:
    description = json.loads((folder / f"{NAME}_dataset.json").read_text(encoding="utf-8"))
    assert description["modality"] == {"0": "MR", "1": "CT"}
    assert description["registration_direction"] == {"fixed": 0, "moving": 1}
    assert description["labels"]["1"]["1"] == "liver"
    keys = ("training_paired_images", "registration_val", "registration_test")
    assert [len(description[key]) for key in keys] == [3, 4, 1]
    for pair in (pair for key in keys for pair in description[key]):
        assert pair["fixed"].endswith("_0000.nii.gz") and pair["moving"].endswith("_0001.nii.gz")
        for name in pair.values():
            image = nib.load(folder / name)
            labels = nib.load(folder / name.replace("imagesTr", "labelsTr"))
            assert image.shape == labels.shape == (24, 20, 24)
            assert nib.aff2axcodes(image.affine) == ("R", "A", "S")
            np.testing.assert_allclose(image.header.get_zooms(), 16)
            np.testing.assert_allclose(image.affine @ [11.5, 9.5, 11.5, 1], [0, 0, 0, 1], atol=1e-5)
            np.testing.assert_array_equal(image.affine, labels.affine)
            assert np.issubdtype(labels.get_data_dtype(), np.integer)
    fixed, moving = (
        np.loadtxt(folder / "landmarksTr" / f"{NAME}_0001_{modality}.csv", delimiter=",")
        for modality in ("0000", "0001")
    )
    assert fixed.shape == moving.shape and fixed.shape[1] == 3


def test_files_hold_the_subject_whatever_the_number_of_subjects(folder: Path) -> None:
    expected = make_subject(3, 4, (24, 20, 24))
    stored = nib.load(folder / "imagesTr" / f"{NAME}_0005_0001.nii.gz")
    np.testing.assert_allclose(stored.get_fdata(), expected.ct, atol=0.51)
    labels = nib.load(folder / "labelsTr" / f"{NAME}_0005_0000.nii.gz")
    np.testing.assert_array_equal(np.asarray(labels.dataobj), expected.mr_labels)


@pytest.mark.parametrize(("subjects", "val", "test"), [(1, 0, 0), (3, 1, 1), (10, 2, 3), (4, 4, 0)])
def test_splits_share_no_subject(subjects: int, val: int, test: int) -> None:
    description = dataset_description(subjects, val, test, (16, 16, 16))
    splits = [
        {name.split("_")[1] for pair in description[key] for name in pair.values()}
        for key in ("training_paired_images", "registration_val", "registration_test")
    ]
    assert [len(split) for split in splits] == [subjects - val - test, val, test]
    assert len(set.union(*splits)) == subjects


def test_second_call_writes_nothing(folder: Path) -> None:
    def stamps() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}

    before = stamps()
    assert write_phantom(folder, 6, (24, 20, 24), seed=3, val=2, test=1) == folder
    assert stamps() == before
    assert [path.name for path in folder.parent.iterdir()] == ["phantom"]


def test_never_overwrites(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="phantom made with other arguments"):
        write_phantom(folder, 6, (24, 20, 24), seed=4, val=2, test=1)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=str(tmp_path)):
        write_phantom(tmp_path, 1, (24, 20, 24))
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_empty_folder_may_be_filled(tmp_path: Path) -> None:
    assert (write_phantom(tmp_path / "new" / "deep", 1, (16, 16, 16)) / "imagesTr").is_dir()
    (tmp_path / "empty").mkdir()
    assert (write_phantom(tmp_path / "empty", 1, (16, 16, 16)) / "labelsTr").is_dir()


def test_unwritable_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        write_phantom(tmp_path / "file" / "phantom", 1, (16, 16, 16))


def test_the_known_displacement_is_that_of_the_landmarks(tmp_path):
    write_phantom(tmp_path / "phantom", 2, (32, 28, 32), seed=5, intra_displacement=20.0)
    dataset = Learn2RegDataset.read(tmp_path / "phantom")
    pair = dataset.pairs["train"][1]
    grid = read_image(pair.fixed.image).grid
    field = true_displacement(dataset, pair, grid)
    a, b = (read_point_table(record.landmarks).coordinates for record in (pair.fixed, pair.moving))
    assert landmark_errors(torch.zeros_like(field), grid, grid, a, b).mean() > 3
    assert landmark_errors(field, grid, grid, a, b).mean() < 0.3  # of interpolation at 12 mm
    assert true_displacement(dataset, Pair(pair.fixed, dataset.pairs["train"][0].moving), grid) is None
