"""What a training says about its data."""

from __future__ import annotations

import json
import shutil

import pytest

from mmreg_lightning.data.datamodule import RegistrationDataModule
from mmreg_lightning.data.summary import data_facts, facts_in_words

RECIPES = {"MR": {"kind": "percentile", "low": 1.0, "high": 99.0}, "CT": {"kind": "window", "low": 0.0, "high": 1.0}}


@pytest.fixture
def facts(phantom, cache_dir, tmp_path):
    """Of a copy without one label map, whose CTs have no label of the lungs and one only of the liver."""
    root = shutil.copytree(phantom, tmp_path / "copy")
    path = next(root.glob("*_dataset.json"))
    content = json.loads(path.read_text(encoding="utf-8"))
    del content["labels"]["1"]["13"]
    content["training"].append({"image": "imagesTr/PhantomMRCT_0001_0001.nii.gz", "labelled": ["liver"]})
    path.write_text(json.dumps(content))
    (root / "labelsTr" / "PhantomMRCT_0002_0001.nii.gz").unlink()
    data = RegistrationDataModule(
        str(root), str(cache_dir), 12.0, RECIPES, organs=["liver", "spleen", "lungs"], max_subjects=2
    )
    return data_facts(data)


def test_facts(facts):
    assert facts == {
        "name": "PhantomMRCT",
        "splits": {
            "train": {"MR": {"images": 2, "subjects": 2}, "CT": {"images": 1, "subjects": 1}},
            "val": {"MR": {"images": 1, "subjects": 1}, "CT": {"images": 1, "subjects": 1}},
            "test": {"MR": {"images": 1, "subjects": 1}, "CT": {"images": 1, "subjects": 1}},
        },
        "labelled": {"liver": {"MR": 2, "CT": 1}, "spleen": {"MR": 2, "CT": 0}, "lungs": {"MR": 2, "CT": 0}},
        "pairs": {"train": 1, "val": 1, "test": 1},
        "pairing": "inter",
        "left_out": {
            "of subjects that validate or test": 4,
            "without labels": 1,
            "of further subjects (data.max_subjects)": 2,
        },
        "unlabelled_val_pairs": 0,
        "header_notes": [],
    }
    assert json.loads(json.dumps(facts)) == facts


def test_words(facts):
    assert facts_in_words(facts).splitlines() == [
        "data set PhantomMRCT",
        "  train 2 MR of 2 subjects, 1 CT of 1 subject; paired across subjects",
        "  val   1 MR of 1 subject, 1 CT of 1 subject; 1 pair listed",
        "  test  1 MR of 1 subject, 1 CT of 1 subject; 1 pair listed",
        "  labelled in every training image: liver",
        "  spleen: labelled in 2 of 2 MR, 0 of 1 CT images",
        "  lungs: labelled in 2 of 2 MR, 0 of 1 CT images",
        "  left out: 4 training images of subjects that validate or test",
        "  left out: 1 training image without labels",
        "  left out: 2 training images of further subjects (data.max_subjects)",
    ]


def test_odd_headers_are_counted_and_the_first_ones_named(facts):
    notes = [f"{name}.nii.gz: it has no sform and no qform." for name in "abcd"]
    lines = facts_in_words({**facts, "header_notes": notes}).splitlines()
    assert lines[-4:] == [
        "  4 notes about the headers of files, the first 3 of which are:",
        *(f"    {note}" for note in notes[:3]),
    ]


@pytest.mark.parametrize(
    ("pairing", "words"),
    [("intra", "; 3 pairs listed"), ("both", "; 3 pairs listed, and paired across subjects")],
)
def test_pairs_of_each_pairing(phantom, cache_dir, pairing, words):
    data = RegistrationDataModule(str(phantom), str(cache_dir), 12.0, RECIPES, pairing=pairing)
    lines = facts_in_words(data_facts(data)).splitlines()
    assert lines[1] == f"  train 3 MR of 3 subjects, 3 CT of 3 subjects{words}"
