"""What the ids of label maps mean, in all the forms that descriptions have."""

from __future__ import annotations

import logging
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from mmreg_lightning.data.labelling import DeclaredLabels, Labelling
from mmreg_lightning.data.pair import ImageFiles
from mmreg_lightning.errors import UserError
from mmreg_lightning.functional.labels import IGNORED
from mmreg_lightning.geometry.grid import Grid
from mmreg_lightning.geometry.volume import Volume

MODALITIES = {0: "MR", 1: "CT"}
PATH = Path("Demo_dataset.json")


def declared(labels, fixed="MR"):
    return DeclaredLabels.read(PATH, labels, MODALITIES, fixed)


def volume(*ids):
    data = torch.tensor(ids).view(1, -1, 1, 1)
    return Volume(data, Grid((len(ids), 1, 1), np.eye(4)), path=Path("labels.nii.gz"))


MR = {"0": "background", "1": "liver", "3": "right kidney", "4": "left kidney"}
CT = {"0": "background", "1": "liver", "13": "right kidney", "14": "left kidney"}


@pytest.mark.parametrize(
    ("fixed", "names", "moving"),
    [
        ("MR", {1: "liver", 3: "right kidney", 4: "left kidney"}, ("CT", [0, 1, 3, 4])),
        ("CT", {1: "liver", 13: "right kidney", 14: "left kidney"}, ("MR", [0, 1, 13, 14])),
    ],
)
def test_other_ids_for_one_name_are_one_organ_with_the_id_of_the_fixed_modality(fixed, names, moving):
    labels = declared({"0": MR, "1": CT}, fixed)
    assert labels.names == names
    modality, expected = moving
    shown = volume(0, 1, 13, 14) if modality == "CT" else volume(0, 1, 3, 4)
    assert labels.of(modality, PATH, None).apply(shown).data.flatten().tolist() == expected


def test_one_id_with_two_names_is_two_organs():
    labels = declared({"0": {"1": "liver", "2": "spleen"}, "1": {"1": "spleen", "2": "aorta", "5": "pancreas"}})
    assert labels.names == {1: "liver", 2: "spleen", 5: "pancreas", 6: "aorta"}
    assert labels.of("CT", PATH, None).apply(volume(0, 1, 2, 5)).data.flatten().tolist() == [0, 2, 6, 5]
    assert labels.of("MR", PATH, None).labelled == (1, 2)
    assert labels.of("CT", PATH, None).labelled == (2, 6, 5)


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ({"background": 0, "liver": 1, "spleen": 2}, {1: "liver", 2: "spleen"}),
        ({"0": "background", "1": "liver"}, {1: "liver"}),
        ({"MR": {"liver": 1}, "CT": {"liver": 6}}, {1: "liver"}),
        ({"0": {"1": "liver"}}, {1: "liver"}),  # the other modality has the same
        ({"background": 0, "liver": 1, "ignore": 2}, {1: "liver"}),
        ({"1": "kidney", "2": "kidney"}, {1: "kidney"}),
        ({}, {}),
    ],
)
def test_forms(labels, names):
    assert declared(labels).names == names


def test_ids_that_agree_stay_as_they_are():
    shown = volume(0, 1, 3)
    labelling = declared({"0": MR, "1": MR}).of("CT", PATH, None)
    assert labelling.apply(shown) is shown


def test_ignore():
    labelling = declared({"background": 0, "liver": 1, "ignore": 2}).of("MR", PATH, None)
    labels = labelling.apply(volume(0, 1, 2))
    assert labels.data.flatten().tolist() == [0, 1, IGNORED]
    assert labels.label_ids == [1]
    assert labelling.labelled == (1,)


def test_labelled_organs_of_an_image():
    labelling = declared({"0": MR, "1": CT}).of("CT", PATH, ["right kidney"])
    assert labelling.labelled == (3,)
    assert labelling.apply(volume(0, 1, 13)).data.flatten().tolist() == [0, 0, 3]


def test_nothing_declared_takes_ids_as_they_are():
    assert declared({}).of("MR", PATH, None) is None


@pytest.mark.parametrize(
    ("labels", "match"),
    [
        ({"liver": "red"}, "'liver': 'red', which is not an id and a name"),
        ({"tumour": [1, 2]}, "'tumour'.*not an id and a name"),
        ({"liver": 1, "spleen": 1}, "the id 1 for 'liver' and for 'spleen'"),
        ({"7": {"1": "liver"}}, r"labels\['7'\] is not the labels of one of \['MR', 'CT'\]"),
        ({"0": {"1": "liver"}, "1": "spleen"}, r"labels\['1'\]"),
    ],
)
def test_what_cannot_be_understood(labels, match):
    with pytest.raises(UserError, match=match) as caught:
        declared(labels)
    assert str(caught.value).startswith("Demo_dataset.json: ") and "\n" not in str(caught.value)


def test_labelled_names_an_organ_that_is_not_declared():
    with pytest.raises(UserError, match=r"'labelled' of a.nii.gz names \['aorta'\], which .* does not declare for MR"):
        declared({"0": MR, "1": {"1": "aorta"}}).of("MR", Path("a.nii.gz"), ["liver", "aorta"])


def test_undeclared_id_is_named_with_what_to_do():
    with pytest.raises(UserError) as caught:
        declared({"liver": 1}).of("MR", PATH, None).apply(volume(0, 1, 9))
    assert str(caught.value) == (
        "labels.nii.gz: label ids [9] are not declared in Demo_dataset.json for MR; declare them under its "
        "'labels', or choose the organs to learn by data.organs"
    )


def test_undeclared_id_is_background_where_organs_are_chosen_and_said(caplog):
    labelling = Labelling(((1, 1),), (1,), "Demo_dataset.json", strict=False)
    with caplog.at_level(logging.WARNING):
        assert labelling.apply(volume(0, 1, 9)).data.flatten().tolist() == [0, 1, 0]
    assert "labels.nii.gz: label ids [9] are neither declared" in caplog.text


def test_an_image_is_read_with_the_ids_of_the_data_set(tmp_path):
    affine, labels = np.eye(4), np.zeros((4, 4, 4), np.uint8)
    labels[1:3] = 13
    nib.save(nib.Nifti1Image(np.random.default_rng(0).random((4, 4, 4)).astype(np.float32), affine), tmp_path / "i.nii")
    nib.save(nib.Nifti1Image(labels, affine), tmp_path / "l.nii")
    labelling = declared({"0": MR, "1": CT}).of("CT", PATH, None)
    image = ImageFiles(tmp_path / "i.nii", tmp_path / "l.nii", labelling=labelling).read()
    assert image.labels is not None and image.labels.label_ids == [3]
