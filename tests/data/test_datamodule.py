"""The data module: what a configuration can ask for, and what is refused."""

from __future__ import annotations

import json
import shutil

import nibabel as nib
import numpy as np
import pytest
import torch

from mmreg_lightning.data.datamodule import RegistrationDataModule
from mmreg_lightning.errors import UserError

RECIPES = {
    "MR": {"kind": "percentile", "low": 1.0, "high": 99.0},
    "CT": {"kind": "window", "low": -160.0, "high": 240.0},
}


@pytest.fixture
def make(phantom, cache_dir):
    def build(root=phantom, **kwargs):
        arguments = {"spacing": 12.0, "normalisation": RECIPES, "samples_per_epoch": 3, **kwargs}
        return RegistrationDataModule(root=str(root), cache_dir=str(cache_dir), **arguments)

    return build


@pytest.fixture
def edited(phantom, tmp_path):
    """A copy of the phantom whose description is changed by a function."""

    def build(change):
        root = shutil.copytree(phantom, tmp_path / "copy")
        path = next(root.glob("*_dataset.json"))
        content = json.loads(path.read_text(encoding="utf-8"))
        change(content)
        path.write_text(json.dumps(content))
        return root

    return build


def test_batches(make):
    data = make(batch_size=2, patch_size=16)
    data.prepare_data()
    data.setup("fit")
    batches = list(data.train_dataloader())
    assert [len(b["fixed"]) for b in batches] == [2, 1]
    (whole,) = data.val_dataloader()
    assert whole["fixed"].shape == (1, 1, 32, 32, 32)
    assert whole["name"] == ["0004_to_0004"]
    assert torch.equal(whole["fixed_labels"], whole["moving_labels"])  # the phantom is not deformed
    assert data.modalities == ["MR", "CT"]


def test_organs_are_a_subset_with_their_ids(make):
    data = make(organs=["spleen", "liver"], patch_size=8)
    names = make().label_names
    assert data.label_names == {i: n for i, n in names.items() if n in ("liver", "spleen")}
    data.setup()
    ids = set(data.label_names)
    labels = [data.train_set[0]["fixed_labels"] for _ in range(10)]
    assert all(ids & set(patch.unique().tolist()) for patch in labels)


@pytest.mark.parametrize("count", [1, 2])
def test_max_subjects(make, count):
    data = make(max_subjects=count, pairing="intra")
    assert {r.subject for r in data.dataset.train} == {"0001", "0002"} - ({"0002"} if count == 1 else set())
    assert len(data.dataset.pairs["train"]) == count


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"organs": ["brain"]}, r"data.organs.*brain.*liver"),
        ({"max_subjects": 0}, "data.max_subjects=0"),
        ({"normalisation": {"CT": RECIPES["CT"]}}, "no recipe for the modality 'MR'"),
        ({"spacing": 0.0}, "data.spacing=0.0"),
        ({"spacing": [2.0, -1.0, 2.0]}, "data.spacing="),
        ({"root": "/nowhere"}, "data.root=/nowhere"),
    ],
    ids=str,
)
def test_refused_at_once(make, wrong, match):
    with pytest.raises(UserError, match=match):
        make(**wrong)


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"normalisation": {**RECIPES, "CT": {"kind": "zscore", "low": 0.0, "high": 1.0}}}, ValueError),
        ({"augmentation": {"rotation": 3.0}}, TypeError),
    ],
    ids=str,
)
def test_a_wrong_recipe_is_found_before_any_image_is_read(make, wrong, error):
    with pytest.raises(error):
        make(**wrong)


def test_no_validation_pairs(make, edited):
    data = make(edited(lambda content: content.update(registration_val=[])))
    for call in (data.prepare_data, data.setup):
        with pytest.raises(UserError, match=r"copy/PhantomMRCT_dataset.json: registration_val"):
            call()


def test_pair_in_the_wrong_direction(make, edited):
    def swap(content):
        pair = content["registration_val"][0]
        pair["fixed"], pair["moving"] = pair["moving"], pair["fixed"]

    with pytest.raises(UserError, match="0004_0001.nii.gz and .*0004_0000.nii.gz is not MR and CT"):
        make(edited(swap))


def test_training_image_without_labels(make, edited):
    root = edited(lambda content: None)
    (root / "labelsTr" / "PhantomMRCT_0002_0001.nii.gz").unlink()
    with pytest.raises(UserError, match="0002_0001.nii.gz: a training image without labels"):
        make(root).prepare_data()


def test_validation_pair_without_common_organ(make, edited):
    root = edited(lambda content: None)
    path = root / "labelsTr" / "PhantomMRCT_0004_0001.nii.gz"
    labels = nib.load(path)
    path.unlink()  # the copy may be a link to the original
    nib.save(nib.Nifti1Image(np.zeros(labels.shape, np.uint8), labels.affine), path)
    data = make(root)
    with pytest.raises(UserError, match="0004_0001.nii.gz: their labels share none"):
        data.setup()


def test_validation_image_without_labels(make, edited):
    root = edited(lambda content: None)
    (root / "labelsTr" / "PhantomMRCT_0004_0001.nii.gz").unlink()
    data = make(root)
    with pytest.raises(UserError, match="0004_0001.nii.gz: a validation image without labels"):
        data.setup()


def test_training_image_that_shows_no_organ(make, edited):
    root = edited(lambda content: None)
    path = root / "labelsTr" / "PhantomMRCT_0002_0001.nii.gz"
    labels = nib.load(path)
    path.unlink()  # the copy may be a link to the original
    nib.save(nib.Nifti1Image(np.zeros(labels.shape, np.uint8), labels.affine), path)
    with pytest.raises(UserError, match="0002_0001.nii.gz: shows none of the organs"):
        make(root).prepare_data()


@pytest.mark.parametrize(
    ("name", "value", "must"),
    [
        ("batch_size", 0, "a whole number, 1 or more"),
        ("samples_per_epoch", 0, "a whole number, 1 or more"),
        ("max_val_pairs", -1, "a whole number, 1 or more"),
        ("num_workers", -1, "a whole number, 0 or more"),
        ("spacing", [12, 12], "a positive number of millimetres, or three"),
        ("spacing", [12, 12, 0], "a positive number of millimetres, or three"),
        ("spacing", float("inf"), "a positive number of millimetres, or three"),
        ("spacing", "wide", "a positive number of millimetres, or three"),
    ],
)
def test_numbers_that_make_no_batches(make, name, value, must):
    with pytest.raises(UserError) as refused:
        make(**{name: value})
    assert str(refused.value) == f"data.{name}={value}: must be {must}"
