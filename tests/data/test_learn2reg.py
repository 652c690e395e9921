"""The reader of Learn2Reg folders, on the phantom and on hand-written descriptions."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from mmreg_lightning.data.learn2reg import Learn2RegDataset
from mmreg_lightning.data.pair import Pair
from mmreg_lightning.errors import UserError

ORGANS = {"0": "background", "1": "liver", "2": "spleen"}


class Folder:
    """A data set of empty files, whose description is a dictionary to edit."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.content = {
            "name": "Demo",
            "modality": {"0": "MR", "1": "CT"},
            "labels": {"0": ORGANS, "1": ORGANS},
            "registration_direction": {"fixed": 0, "moving": 1},
            "training_paired_images": [self.pair("0001"), self.pair("0002")],
            "registration_val": [self.pair("0003")],
            "registration_test": [self.pair("0004", part="Ts")],
        }

    def image(self, subject, modality, part="Tr"):
        path = self.root / f"images{part}" / f"Demo_{subject}_{modality:04d}.nii.gz"
        path.parent.mkdir(exist_ok=True)
        path.touch()
        return f"./images{part}/{path.name}"

    def pair(self, subject, part="Tr"):
        return {"fixed": self.image(subject, 0, part), "moving": self.image(subject, 1, part)}

    def read(self):
        (self.root / "Demo_dataset.json").write_text(json.dumps(self.content))
        return Learn2RegDataset.read(self.root)

    def fails(self, match):
        with pytest.raises(UserError, match=match) as caught:
            self.read()
        assert "\n" not in str(caught.value)


@pytest.fixture
def folder(tmp_path):
    return Folder(tmp_path)


def named(records):
    return sorted((r.subject, r.modality) for r in records)


def test_phantom(phantom):
    dataset = Learn2RegDataset.read(phantom)
    assert (dataset.fixed_modality, dataset.moving_modality) == ("MR", "CT")
    assert dataset.description == phantom / "PhantomMRCT_dataset.json"
    assert named(dataset.train) == [(s, m) for s in ("0001", "0002", "0003") for m in ("CT", "MR")]
    assert all(r.labels and r.labels.is_file() and r.landmarks for r in dataset.train)
    assert [p.name for p in dataset.pairs["val"]] == ["0004_to_0004"]
    assert [p.name for p in dataset.pairs["test"]] == ["0005_to_0005"]
    assert 0 not in dataset.label_names and len(dataset.label_names) == 14


def test_a_data_set_in_the_form_of_abdomen_mr_ct(abdomen):
    dataset = Learn2RegDataset.read(abdomen.root)
    assert [p.name for p in dataset.pairs["val"]] == [f"000{n}_to_000{n}" for n in (6, 7, 8)]
    assert len(dataset.pairs["train"]) == 5 and len(dataset.train) == 14
    assert all(r.labels and r.mask for r in dataset.train)
    assert all(r.labels is None and r.mask for p in dataset.pairs["test"] for r in p)
    assert list(dataset.label_names) == [1, 2, 3, 4, 5, 6, 8, 9, 10, 13]


OPTIONS = ("tuning.split", "report.split")


def test_withheld_labels_are_named_with_the_way_out(abdomen):
    dataset = Learn2RegDataset.read(abdomen.root)
    with pytest.raises(UserError) as caught:
        dataset.check_labelled("test", OPTIONS)
    image = dataset.pairs["test"][0].fixed.image
    assert str(caught.value) == (
        f"{image}: an image without labels, as in 2 of the 2 pairs of the split 'test': where they are withheld, "
        "take tuning.split=train report.split=val"
    )


def test_a_split_that_is_not_listed_is_named_with_the_way_out(folder, abdomen):
    dataset = Learn2RegDataset.read(abdomen.root)
    dataset = dataclasses.replace(dataset, pairs={**dataset.pairs, "train": [], "test": []})
    with pytest.raises(UserError, match="lists no pairs of the split 'test': take report.split=val$"):
        dataset.check_labelled("test", OPTIONS)
    folder.content["training_paired_images"] = []
    with pytest.raises(UserError, match="lists no pairs of the split 'train'$"):
        folder.read().check_labelled("train", OPTIONS)


def test_pairs_without_labels_are_left_out_with_a_count(abdomen, caplog):
    dataset = Learn2RegDataset.read(abdomen.root)
    pairs = list(dataset.pairs["val"])
    assert dataset.check_labelled("val", OPTIONS) == pairs and not caplog.records
    bare = Pair(pairs[1].fixed, dataclasses.replace(pairs[1].moving, labels=None))
    mixed = dataclasses.replace(dataset, pairs={**dataset.pairs, "val": [pairs[0], bare, pairs[2]]})
    assert mixed.check_labelled("val", OPTIONS) == [pairs[0], pairs[2]]
    assert caplog.messages == [
        f"without labels, left out: 1 of the 3 pairs of the split 'val', the first for {pairs[1].moving.image}"
    ]


def test_images_in_the_wrong_role(abdomen):
    dataset = Learn2RegDataset.read(abdomen.root)
    pair = dataset.pairs["val"][0]
    dataset.check_roles([pair])
    with pytest.raises(UserError, match="the fixed image of a pair is CT, not MR as AbdomenMRCT_dataset.json says"):
        dataset.check_roles([Pair(pair.moving, pair.fixed)])


def test_pairs_and_their_splits(folder):
    dataset = folder.read()
    assert named(dataset.train) == [("0001", "CT"), ("0001", "MR"), ("0002", "CT"), ("0002", "MR")]
    assert [p.name for p in dataset.pairs["train"]] == ["0001_to_0001", "0002_to_0002"]
    assert all(p.same_subject for p in dataset.pairs["train"])
    assert dataset.train[0].labels is None
    assert dataset.label_names == {1: "liver", 2: "spleen"}


def test_validation_cases_among_the_training_cases_are_left_out(folder):
    everything = [folder.pair("0001"), folder.pair("0002"), folder.pair("0003"), folder.pair("0004")]
    folder.content["training_paired_images"] = everything
    folder.content["training"] = [{"image": path} for pair in everything for path in pair.values()]
    dataset = folder.read()
    assert {r.subject for r in dataset.train} == {"0001", "0002"}
    assert [p.name for p in dataset.pairs["train"]] == ["0001_to_0001", "0002_to_0002"]


@pytest.mark.parametrize("key", ["training", "training_unpaired_images"])
@pytest.mark.parametrize("layout", ["by_modality", "records", "paths"])
def test_unpaired_images_of_both_modalities_are_used(folder, key, layout):
    mr, ct = folder.image("0005", 0), folder.image("0006", 1)
    folder.content[key] = {
        "by_modality": {"0": [{"image": mr, "label": "x"}], "1": [{"image": ct}]},
        "records": [{"image": mr}, {"image": ct}],
        "paths": [mr, ct],
    }[layout]
    dataset = folder.read()
    assert {("0005", "MR"), ("0006", "CT")} <= set(named(dataset.train))
    assert len(dataset.train) == 6
    assert len(dataset.pairs["train"]) == 2


def test_an_image_listed_twice_is_read_once(folder):
    folder.content["training"] = {"0": [{"image": folder.image("0001", 0)}], "1": [{"image": folder.image("0001", 1)}]}
    assert len(folder.read().train) == 4


def test_files_beside_the_image(folder):
    for kind, suffix in (("labels", ".nii.gz"), ("masks", ".nii.gz"), ("landmarks", ".csv")):
        for part, subject in (("Tr", "0001"), ("Ts", "0004")):
            path = folder.root / f"{kind}{part}" / f"Demo_{subject}_0000{suffix}"
            path.parent.mkdir(exist_ok=True)
            path.touch()
    dataset = folder.read()
    for record, part in ((dataset.train[0], "Tr"), (dataset.pairs["test"][0].fixed, "Ts")):
        assert record.labels.parent.name == f"labels{part}"
        assert record.mask.parent.name == f"masks{part}"
        assert record.landmarks.parent.name == f"landmarks{part}"


def test_other_direction(folder):
    folder.content["registration_direction"] = {"fixed": 1, "moving": 0}
    dataset = folder.read()
    assert (dataset.fixed_modality, dataset.moving_modality) == ("CT", "MR")


def test_without_a_direction_the_last_modality_moves(folder):
    del folder.content["registration_direction"]
    assert folder.read().moving_modality == "CT"


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({"0": {"0": "background", "1": "liver"}}, {1: "liver"}),
        ({"0": {"1": "liver"}, "1": {"1": "liver", "7": "aorta"}}, {1: "liver", 7: "aorta"}),
        ({"0": "background", "3": "prostate"}, {3: "prostate"}),
    ],
)
def test_labels_of_each_modality(folder, labels, expected):
    folder.content["labels"] = labels
    assert folder.read().label_names == expected


def test_organs_are_matched_by_name(folder):
    folder.content["labels"] = {"0": {"1": "liver", "3": "kidney"}, "1": {"1": "spleen", "13": "kidney"}}
    dataset = folder.read()
    assert dataset.label_names == {1: "liver", 3: "kidney", 14: "spleen"}
    assert dataset.pairs["val"][0].moving.labelling.ids == ((1, 14), (13, 3))
    assert dataset.organs(["kidney", "tail", "liver"]) == {3: "kidney", 1: "liver"}


def test_labels_as_nnunet_writes_them(folder):
    folder.content["labels"] = {"background": 0, "liver": 1, "spleen": 2}
    assert folder.read().label_names == {1: "liver", 2: "spleen"}


def test_one_number_at_two_sites_is_two_subjects(folder):
    def pair(site, number):
        paths = [folder.root / "imagesTr" / f"Site{site}_{number}_{m:04d}.nii.gz" for m in (0, 1)]
        for path in paths:
            path.touch()
        return dict(zip(("fixed", "moving"), (f"imagesTr/{path.name}" for path in paths), strict=True))

    folder.content["training_paired_images"] = [pair("A", "003"), pair("B", "004"), pair("C", "003")]
    folder.content["registration_val"] = [pair("B", "003")]
    folder.content["registration_test"] = []
    dataset = folder.read()
    assert {r.subject for r in dataset.train} == {"SiteA_003", "SiteB_004", "SiteC_003"}
    assert dataset.pairs["val"][0].name == "SiteB_003_to_SiteB_003"


def test_held_out_images_are_known(folder):
    folder.content["training"] = [folder.image("0003", 0), folder.image("0005", 0)]
    dataset = folder.read()
    assert named(dataset.held_out) == [("0003", "MR")]


@pytest.mark.parametrize("where", ["training", "training_unpaired_images", "training_paired_images"])
def test_labelled_organs_of_an_entry(folder, where):
    entry = {"image": folder.image("0001", 1), "labelled": ["spleen"]}
    if where == "training_paired_images":
        folder.content[where][0]["moving"] = entry
    else:
        folder.content[where] = [entry]  # listed among the pairs, too, which do not say
    dataset = folder.read()
    known = {(r.subject, r.modality): r.labelling.labelled for r in dataset.train}
    assert known[("0001", "CT")] == (2,)
    assert known[("0001", "MR")] == known[("0002", "CT")] == (1, 2)
    assert dataset.pairs["train"][0].moving.labelling.labelled == (2,)


def test_labelled_said_in_two_ways(folder):
    image = folder.image("0005", 1)
    folder.content["training"] = [{"image": image, "labelled": [name]} for name in ("liver", "spleen")]
    folder.fails(r"is listed twice, with labelled=\['liver'\] and labelled=\['spleen'\]")


@pytest.mark.parametrize(
    ("labelled", "match"),
    [
        ("liver", "labelled='liver' must be a list of organ names"),
        (["tail"], r"names \['tail'\], which .* declare for CT"),
    ],
)
def test_labelled_that_cannot_be_used(folder, labelled, match):
    folder.content["training"] = [{"image": folder.image("0001", 1), "labelled": labelled}]
    folder.fails(match)


def test_labelled_organs_of_each_modality(folder):
    folder.content["labels"] = {"0": {"1": "liver"}, "1": ORGANS}
    dataset = folder.read()
    assert [r.labelling.labelled for r in dataset.pairs["train"][0]] == [(1,), (1, 2)]


CHECKPOINT = {1: "liver", 5: "spleen"}


def test_a_checkpoint_fits_by_the_names_of_its_organs(folder):
    dataset = folder.read()
    dataset.check_fits("a.ckpt", ["MR", "CT"], CHECKPOINT)
    assert dataset.organs(CHECKPOINT.values()) == {1: "liver", 2: "spleen"}
    with pytest.raises(UserError, match="declares none of the labels of checkpoint a.ckpt"):
        dataset.check_fits("a.ckpt", ["MR", "CT"], {1: "tail"})


@pytest.mark.parametrize("key", ["name", "modality"])
def test_missing_key(folder, key):
    del folder.content[key]
    folder.fails(f"Demo_dataset.json lacks the key '{key}'")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("modality", ["MR", "CT"]),
        ("modality", {"MR": 0}),
        ("labels", {"liver": "red"}),
        ("registration_val", ["0003"]),
        ("training_unpaired_images", 7),
    ],
)
def test_value_of_another_layout(folder, key, value):
    folder.content[key] = value
    folder.fails("Demo_dataset.json")


def test_direction_to_nowhere(folder):
    folder.content["registration_direction"] = {"fixed": 0, "moving": 2}
    folder.fails("registration_direction.*none of")


def test_subject_in_validation_and_test(folder):
    folder.content["registration_test"] = [folder.pair("0003")]
    folder.fails("subjects 0003 are in both")


@pytest.mark.parametrize("name", ["Demo_0001.nii.gz", "0001_MR.nii.gz", "Demo_0001_0002.nii.gz"])
def test_file_name_without_subject_and_modality(folder, name):
    (folder.root / "imagesTr" / name).touch()
    folder.content["training"] = [f"imagesTr/{name}"]
    folder.fails(rf"{name}: a file name must end in _SUBJECT_MODALITY")


def test_listed_file_is_missing(folder):
    (folder.root / folder.content["registration_val"][0]["moving"]).unlink()
    folder.fails("Demo_0003_0001.nii.gz: listed .* no such file")


def test_no_folder(tmp_path):
    with pytest.raises(UserError, match="data.root=.*nowhere: there is no such folder"):
        Learn2RegDataset.read(tmp_path / "nowhere")


@pytest.mark.parametrize("count", [0, 2])
def test_not_one_description(tmp_path, count):
    for n in range(count):
        (tmp_path / f"{n}_dataset.json").write_text("{}")
    with pytest.raises(UserError, match=f"found {count}"):
        Learn2RegDataset.read(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", "3", "\x00"])
def test_description_is_no_json_object(tmp_path, text):
    (tmp_path / "Demo_dataset.json").write_text(text)
    with pytest.raises(UserError, match="Demo_dataset.json"):
        Learn2RegDataset.read(tmp_path)


def test_a_checkpoint_for_these_data_is_accepted(phantom):
    dataset = Learn2RegDataset.read(phantom)
    dataset.check_fits("a.ckpt", ["MR", "CT"], {**dataset.label_names, 99: "tail"})


@pytest.mark.parametrize(
    ("modalities", "labels", "match"),
    [
        (["MR", "US"], None, "registers CT to MR, but checkpoint a.ckpt was trained to register US to MR"),
        (["CT", "MR"], None, "registers CT to MR, but checkpoint a.ckpt was trained to register MR to CT"),
        (["MR", "CT"], {2: "tail", 3: "fin"}, "declares none of the labels"),
    ],
)
def test_a_checkpoint_for_other_data_is_refused(phantom, modalities, labels, match):
    dataset = Learn2RegDataset.read(phantom)
    with pytest.raises(UserError, match=match):
        dataset.check_fits("a.ckpt", modalities, labels or dataset.label_names)


def test_one_modality_in_both_roles_is_refused(phantom):
    dataset = Learn2RegDataset.read(phantom)
    same = dataclasses.replace(dataset, moving_modality="MR")
    with pytest.raises(UserError, match="both MR"):
        same.check_fits("a.ckpt", ["MR", "MR"], dataset.label_names)


def unlabelled(pair):
    return Pair(pair.fixed, dataclasses.replace(pair.moving, labels=None))


def with_split(dataset, split, pairs):
    return dataclasses.replace(dataset, pairs={**dataset.pairs, split: pairs})


def test_pairs_of_two_subjects_are_tuned_on_where_there_are_any(phantom):
    dataset = Learn2RegDataset.read(phantom)
    own = dataset.pairs["val"][0]
    other = Pair(own.fixed, dataset.pairs["test"][0].moving)
    assert own.same_subject and not other.same_subject
    mixed = with_split(dataset, "val", [own, other, own])
    assert mixed.select("val", 6, "tuning") == [other]
    assert mixed.select("val", None, "tuning", everything=True) == [own, other, own]
    assert with_split(dataset, "val", [own, own]).select("val", 1, "tuning") == [own]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda pairs: [], "lists no pairs of the split"),
        (lambda pairs: [Pair(pairs[0].moving, pairs[0].fixed)], "the fixed image of a pair is CT, not MR"),
        (lambda pairs: [unlabelled(pairs[0])], r"_0001\.nii\.gz: an image without labels"),
    ],
    ids=["empty", "swapped", "unlabelled"],
)
def test_pairs_that_cannot_be_used(phantom, change, match):
    dataset = Learn2RegDataset.read(phantom)
    with pytest.raises(UserError, match=match):
        with_split(dataset, "val", change(dataset.pairs["val"])).select("val", 6, "tuning")


def test_splits_and_counts_are_checked(phantom):
    dataset = Learn2RegDataset.read(phantom)
    with pytest.raises(UserError, match="tuning.split=all: must be one of train, val, test"):
        dataset.select("all", 6, "tuning")
    with pytest.raises(UserError, match="tuning.pairs=0"):
        dataset.select("val", 0, "tuning")
