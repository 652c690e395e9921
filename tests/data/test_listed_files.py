"""Which files belong to an image that a data set lists."""

from __future__ import annotations

import pytest

from mmreg_lightning.data.labelling import DeclaredLabels
from mmreg_lightning.data.listed_files import ListedImage, image_files, listed_image
from mmreg_lightning.errors import UserError

MODALITIES = {0: "MR", 1: "CT"}


@pytest.fixture
def root(tmp_path):
    names = (
        "imagesTr/X_01_0000.nii.gz",
        "labelsTr/X_01_0000.nii",
        "masksTr/X_01_0000.nii.gz",
        "imagesTs/X_02_0001.nii",
    )
    for name in (*names, "labelsTr/X_02_0001.nii", "landmarksTs/X_02_0001.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


@pytest.fixture
def labels(root):
    return DeclaredLabels.read(root / "x.json", {"1": "liver", "2": "spleen"}, MODALITIES, "MR")


def test_what_lies_beside_an_image(root, labels):
    listed = [listed_image(root, name) for name in ("imagesTr/X_01_0000.nii.gz", "imagesTs/X_02_0001.nii")]
    first, second = image_files(root, listed, MODALITIES, labels).values()
    assert (first.subject, first.modality, first.labels.name, first.mask.name) == (
        "01",
        "MR",
        "X_01_0000.nii",
        "X_01_0000.nii.gz",
    )
    assert first.landmarks is None and (second.subject, second.modality) == ("02", "CT")
    assert second.labels is None and second.landmarks == root / "landmarksTs" / "X_02_0001.csv"


def test_organs_that_an_entry_says_are_labelled(root, labels):
    path = "imagesTr/X_01_0000.nii.gz"
    one = listed_image(root, {"image": path, "labelled": ["spleen"]})
    assert one == ListedImage(root / path, ["spleen"])
    (files,) = image_files(root, [listed_image(root, path), one], MODALITIES, labels).values()
    assert files.labelling.labelled == (2,)
    other = listed_image(root, {"image": path, "labelled": ["liver"]})
    with pytest.raises(UserError, match="is listed twice, with labelled="):
        image_files(root, [one, other], MODALITIES, labels)
    with pytest.raises(UserError, match="labelled='liver' must be a list of organ names"):
        listed_image(root, {"image": path, "labelled": "liver"})


@pytest.mark.parametrize(("name", "match"), [("imagesTr/X_01_0007.nii.gz", "must end in"), ("a_1_0000.nii", "no such")])
def test_names_and_files_that_are_wrong(root, labels, name, match):
    with pytest.raises(UserError, match=match):
        image_files(root, [listed_image(root, name)], MODALITIES, labels)
