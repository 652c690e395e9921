"""What of a data set a training uses."""

from __future__ import annotations

import dataclasses

import pytest

from mmreg_lightning.data.labelling import Labelling
from mmreg_lightning.data.learn2reg import Learn2RegDataset
from mmreg_lightning.data.selection import check_modalities, labelled, lenient, select_organs, usable
from mmreg_lightning.errors import UserError


@pytest.fixture
def dataset(phantom):
    return Learn2RegDataset.read(phantom)


def test_organs_keep_their_ids(dataset):
    assert select_organs(dataset, ["spleen", "liver"]) == {1: "liver", 2: "spleen"}
    assert select_organs(dataset, None) == dataset.label_names and select_organs(dataset, []) == {}
    with pytest.raises(UserError, match=r"^data\.organs: \['brain'\] not among \['liver', "):
        select_organs(dataset, ["liver", "brain"])


def test_only_what_is_labelled_and_registered_is_used(dataset):
    first, second, third, *others = dataset.train
    changed = [
        dataclasses.replace(first, labels=None),
        dataclasses.replace(second, modality="PET"),
        dataclasses.replace(third, labelling=Labelling(((1, 1),), (1,), "x.json")),
        *others,
    ]
    used, left_out = usable(dataclasses.replace(dataset, train=changed), {2}, None)
    assert left_out == {
        "of subjects that validate or test": 4,
        "of a modality that is not registered": 1,
        "without labels": 1,
        "with none of the organs labelled": 1,
    }
    assert used.train == others
    images = {files.image for files in others}
    assert all({pair.fixed.image, pair.moving.image} <= images for pair in used.pairs["train"])
    assert used.pairs["val"] == dataset.pairs["val"]


def test_what_leaves_nothing_to_learn_from(dataset):
    bare = dataclasses.replace(dataset, train=[dataclasses.replace(own, labels=None) for own in dataset.train])
    with pytest.raises(UserError, match="dataset.json: none of the 6 training images has labels$"):
        usable(bare, {1}, None)
    with pytest.raises(UserError, match="^data.max_subjects=0: must be 1 or more, or null$"):
        usable(dataset, {1}, 0)


def test_labelled_organs_and_lenient_reading(dataset):
    own = dataclasses.replace(dataset.train[0], labelling=Labelling(((1, 1),), (1,), "x.json"))
    assert labelled(own, {1, 2}) == (1,)
    assert labelled(dataclasses.replace(own, labelling=None), {1, 2}) == {1, 2}
    assert own.labelling.strict and not lenient(own).labelling.strict


def test_roles_of_pairs(dataset):
    check_modalities(dataset)
    with pytest.raises(UserError, match="is not CT and MR, as registration_direction says"):
        check_modalities(dataclasses.replace(dataset, fixed_modality="CT", moving_modality="MR"))
