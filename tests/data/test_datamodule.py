"""The data module: what a configuration can ask for, and what is refused."""

from __future__ import annotations

import json
import shutil

import nibabel as nib
import numpy as np
import pytest
import torch

from mmreg_lightning.data.datamodule import RegistrationDataModule
from mmreg_lightning.data.summary import data_facts, facts_in_words
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


def test_training_images_without_labels_are_left_out(make, edited):
    root = edited(lambda content: None)
    (root / "labelsTr" / "PhantomMRCT_0002_0001.nii.gz").unlink()
    data = make(root, pairing="both")
    assert sorted((r.subject, r.modality) for r in data.dataset.train if r.subject == "0002") == [("0002", "MR")]
    assert len(data.dataset.train) == 5
    assert [p.name for p in data.dataset.pairs["train"]] == ["0001_to_0001", "0003_to_0003"]
    assert data.left_out == {"of subjects that validate or test": 4, "without labels": 1}
    data.prepare_data()


def test_no_training_image_with_labels(make, edited):
    root = edited(lambda content: None)
    for subject in ("0001", "0002", "0003"):
        for path in (root / "labelsTr").glob(f"*_{subject}_*.nii.gz"):
            path.unlink()
    with pytest.raises(UserError, match="dataset.json: none of the 6 training images has labels"):
        make(root)


def relabelled(root, name, change):
    """Changes a label map of a copy."""
    path = root / "labelsTr" / f"PhantomMRCT_{name}.nii.gz"
    image = nib.load(path)
    array = change(np.asarray(image.dataobj).copy())
    path.unlink()  # the copy may be a link to the original
    nib.save(nib.Nifti1Image(array.astype(np.uint8), image.affine), path)


def with_stranger(labels):
    labels[:2] = 99
    return labels


def test_undeclared_ids_are_named(make, edited):
    root = edited(lambda content: None)
    relabelled(root, "0002_0001", with_stranger)
    with pytest.raises(UserError, match=r"0002_0001.nii.gz: label ids \[99\] are not declared in .*data.organs"):
        make(root).prepare_data()


def test_undeclared_ids_are_background_where_organs_are_chosen(make, edited, caplog):
    root = edited(lambda content: None)
    relabelled(root, "0002_0001", with_stranger)
    data = make(root, organs=["liver", "spleen"])
    data.prepare_data()
    assert caplog.text.count("label ids [99] are neither declared") == 1
    record = next(r for r in data.dataset.train if (r.subject, r.modality) == ("0002", "CT"))
    assert 99 not in data.cache.image(record).labels


def test_images_without_a_label_of_the_chosen_organs_are_left_out(make, edited):
    def few(content):
        content["training"] = [{"image": "imagesTr/PhantomMRCT_0001_0001.nii.gz", "labelled": ["liver"]}]

    data = make(edited(few), organs=["spleen"])
    assert data.left_out == {"with none of the organs labelled": 1}
    assert len(data.dataset.train) == 5


def test_a_modality_that_never_shows_an_organ_is_named(make, edited, caplog):
    root = edited(lambda content: None)
    for subject in ("0001", "0002", "0003", "0004"):
        relabelled(root, f"{subject}_0001", lambda labels: np.where(labels == 13, 0, labels))
    make(root).prepare_data()
    assert "lungs is said to be labelled in 3 training images of CT, but none shows it" in caplog.text
    caplog.clear()
    path = next(root.glob("*_dataset.json"))
    content = json.loads(path.read_text(encoding="utf-8"))
    del content["labels"]["1"]["13"]
    path.write_text(json.dumps(content))
    data = make(root)
    data.prepare_data()
    assert not caplog.text
    assert (data.labelled_images(13, "MR"), data.labelled_images(13, "CT")) == (3, 0)


def test_a_map_that_does_not_show_an_organ_is_named_once(make, edited, caplog):
    caplog.set_level("INFO")
    root = edited(lambda content: None)
    relabelled(root, "0002_0000", lambda labels: np.where(labels == 2, 0, labels))
    data = make(root)
    data.prepare_data()
    data.setup()
    data.prepare_data()
    told = [record.getMessage() for record in caplog.records if "no voxel of" in record.getMessage()]
    assert len(told) == 1 and "spleen in 1 of 6 label maps" in told[0] and "PhantomMRCT_0002_0000.nii.gz" in told[0]


def test_masks_say_where_a_validation_looks(make, edited):
    plain = make()
    plain.setup()
    (before,) = plain.val_dataloader()
    root = edited(lambda content: None)
    (root / "masksTr").mkdir()
    for modality, axis in (("0000", 0), ("0001", 1)):
        image = nib.load(root / "imagesTr" / f"PhantomMRCT_0004_{modality}.nii.gz")
        mask = np.zeros(image.shape, np.uint8)
        mask[(slice(None),) * axis + (slice(4, 20),)] = 1
        nib.save(nib.Nifti1Image(mask, image.affine), root / "masksTr" / f"PhantomMRCT_0004_{modality}.nii.gz")
    data = make(root)
    data.setup()
    (after,) = data.val_dataloader()
    assert "moving_inside" not in before and torch.equal(after["fixed"], before["fixed"])
    for key, axis in (("inside", 2), ("moving_inside", 3)):
        per_slice = after[key].amax(dim=[d for d in range(5) if d != axis])
        assert 15 <= per_slice.sum() <= 17 and per_slice[0] == 0
    assert torch.equal(after["inside"], before["inside"] * (after["inside"] > 0))


def test_validation_pair_without_common_organ(make, edited):
    root = edited(lambda content: None)
    path = root / "labelsTr" / "PhantomMRCT_0004_0001.nii.gz"
    labels = nib.load(path)
    path.unlink()  # the copy may be a link to the original
    nib.save(nib.Nifti1Image(np.zeros(labels.shape, np.uint8), labels.affine), path)
    data = make(root)
    with pytest.raises(UserError, match="0004_0001.nii.gz: their labels share none"):
        data.setup()


def test_validation_pairs_without_labels_are_left_out(make, edited):
    def second(content):
        content["registration_val"] += content["registration_test"]
        content["registration_test"] = []

    root = edited(second)
    (root / "labelsTr" / "PhantomMRCT_0004_0001.nii.gz").unlink()
    data = make(root)
    data.setup()
    assert [pair.name for pair in data.val_set.pairs] == ["0005_to_0005"]
    facts = data_facts(data)
    assert (facts["pairs"]["val"], facts["unlabelled_val_pairs"]) == (1, 1)
    assert facts_in_words(facts).endswith("\n  left out: 1 validation pair without labels")
    (root / "labelsTr" / "PhantomMRCT_0005_0001.nii.gz").unlink()
    with pytest.raises(UserError, match=r"_dataset.json: none of the 2 pairs of registration_val has labels$"):
        make(root).setup()


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
