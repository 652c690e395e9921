"""Augmentation: bounded, labels stay labels, nothing asked for is nothing done."""

from __future__ import annotations

import pytest
import torch
import torchio as tio

from mmreg_lightning.data.augmentation import build_augmentation
from mmreg_lightning.errors import UserError

NOTHING = {
    "degrees": 0.0,
    "scales": 0.0,
    "translation": 0.0,
    "elastic": 0.0,
    "log_gamma": 0.0,
    "noise": 0.0,
    "bias": 0.0,
}


def subject():
    labels = torch.zeros(1, 16, 16, 16, dtype=torch.long)
    labels[:, 4:12, 4:12, 4:12] = 3
    return tio.Subject(image=tio.ScalarImage(tensor=torch.rand(1, 16, 16, 16)), labels=tio.LabelMap(tensor=labels))


def test_nothing_is_identity():
    before = subject()
    after = build_augmentation(**NOTHING)(before)
    assert torch.equal(after.get_image("image").data, before.get_image("image").data)
    assert torch.equal(after.get_image("labels").data, before.get_image("labels").data)


@pytest.mark.parametrize(
    ("change", "size"), [("degrees", 30.0), ("scales", 0.3), ("translation", 5.0), ("elastic", 2.0)]
)
def test_spatial_changes_move_image_and_labels(change, size):
    before = subject()
    after = build_augmentation(**{**NOTHING, change: size})(before)
    assert not torch.equal(after.get_image("image").data, before.get_image("image").data)
    assert not torch.equal(after.get_image("labels").data, before.get_image("labels").data)
    assert set(after.get_image("labels").data.unique().tolist()) <= {0, 3}


@pytest.mark.parametrize("change", ["log_gamma", "noise"])
def test_contrast_changes_leave_labels_alone(change):
    before = subject()
    after = build_augmentation(**{**NOTHING, change: 0.5})(before)
    image = after.get_image("image").data
    assert not torch.equal(image, before.get_image("image").data)
    assert (change == "noise") == bool(image.max() > 1)  # what lies beyond the window is the features' business
    assert torch.equal(after.get_image("labels").data, before.get_image("labels").data)


def test_half_of_the_images_are_mirrored_with_their_labels():
    before = subject()
    before.get_image("labels").data[:, 4:8] = 1
    image, labels = (before.get_image(name).data for name in ("image", "labels"))
    augment = build_augmentation(**NOTHING, flip=[0])
    mirrored = 0
    for _ in range(40):
        after = augment(before)
        flipped = torch.equal(after.get_image("image").data, image.flip(1))
        assert flipped or torch.equal(after.get_image("image").data, image)
        assert torch.equal(after.get_image("labels").data, labels.flip(1) if flipped else labels)
        mirrored += flipped
    assert 8 <= mirrored <= 32


def test_there_is_no_fourth_axis():
    with pytest.raises(UserError, match=r"data.augmentation.flip=\[3\]"):
        build_augmentation(flip=[3])
