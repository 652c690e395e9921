"""Training patches: pairing, place, balance, randomness."""

from __future__ import annotations

import dataclasses
from collections import Counter

import pytest
import torch
from torch.utils.data import DataLoader

from mmreg_lightning.data.augmentation import build_augmentation
from mmreg_lightning.data.cache import PreprocessingCache
from mmreg_lightning.data.labelling import Labelling
from mmreg_lightning.data.learn2reg import Learn2RegDataset
from mmreg_lightning.data.patches import PairedPatches
from mmreg_lightning.errors import UserError
from mmreg_lightning.functional.labels import IGNORED

RECIPES = {
    "MR": {"kind": "percentile", "low": 1.0, "high": 99.0},
    "CT": {"kind": "window", "low": -160.0, "high": 240.0},
}
IDS = list(range(1, 15))


@pytest.fixture(scope="module")
def dataset(phantom):
    return Learn2RegDataset.read(phantom)


@pytest.fixture(scope="module")
def cache(cache_dir):
    return PreprocessingCache(cache_dir, 12.0, RECIPES, IDS)


@pytest.fixture(scope="module")
def make(dataset, cache):
    def build(pairing="intra", patch_size=16, length=8, augmentation=None, ids=None, data=None):
        return PairedPatches(data or dataset, cache, ids or IDS, pairing, patch_size, length, augmentation)

    return build


@pytest.mark.parametrize(
    ("patch_size", "shape"), [(16, (16, 16, 16)), ([8, 16, 24], (8, 16, 24)), (None, (32, 32, 32))], ids=str
)
@pytest.mark.parametrize("augmented", [False, True])
def test_shape_and_type(make, patch_size, shape, augmented):
    patches = make(patch_size=patch_size, augmentation=build_augmentation(elastic=5.0) if augmented else None)
    item = patches[0]
    assert len(patches) == 8
    for role in ("fixed", "moving"):
        image, labels = item[role], item[f"{role}_labels"]
        assert image.shape == labels.shape == (1, *shape)
        assert image.dtype == torch.float32 and labels.dtype == torch.int64
        assert torch.isfinite(image).all()
        assert augmented or (0 <= image.min() and image.max() <= 1)
        assert set(labels.unique().tolist()) <= {0, *IDS}


def test_both_images_are_cut_at_the_same_place(make):
    # MR and CT of an undeformed subject have equal labels.
    patches = make("intra", patch_size=12)
    for _ in range(5):
        item = patches[0]
        assert torch.equal(item["fixed_labels"], item["moving_labels"])
        assert not torch.equal(item["fixed"], item["moving"])


def test_labelled_organs_of_each_image(make, dataset):
    item = make("intra", ids=[1, 5, 6])[0]
    assert item["fixed_labelled"].tolist() == item["moving_labelled"].tolist() == [True] * 3
    some = Labelling(((1, 1), (6, 6)), (6, 1), "x.json", strict=False)
    few = dataset.map_files(lambda f: f if f.modality == "MR" else dataclasses.replace(f, labelling=some))
    item = make("intra", ids=[1, 5, 6], data=few)[0]
    assert item["fixed_labelled"].tolist() == [True] * 3
    assert item["moving_labelled"].tolist() == [True, False, True]


@pytest.mark.parametrize("augmented", [False, True])
def test_labels_outside_the_mask_are_ignored(make, cache, augmented):
    augmentation = build_augmentation(elastic=5.0, flip=[0]) if augmented else None
    patches = make("intra", patch_size=None, augmentation=augmentation)
    prepared = cache.image(patches.fixed[0])
    mask = torch.ones_like(prepared.image)
    mask[..., 16:] = 0
    image, labels = patches._placed(dataclasses.replace(prepared, mask=mask))
    assert (labels[..., 16:] == IGNORED).all()
    assert torch.equal(labels[..., :16], prepared.labels[..., :16]) and torch.equal(image, prepared.image)
    cut = patches._cut((image, labels), (0, 0, 0))[1]
    assert 0.2 < (cut == IGNORED).float().mean() < 0.8
    assert set(cut.unique().tolist()) <= {IGNORED, 0, *IDS}


def test_each_image_is_augmented_on_its_own(make):
    augmentation = build_augmentation(degrees=20.0, noise=0.0, bias=0.0, log_gamma=0.0)
    item = make("intra", augmentation=augmentation)[0]
    assert not torch.equal(item["fixed_labels"], item["moving_labels"])


def test_translation_is_in_millimetres(make):
    # At most 6 mm, half a voxel of 12 mm: the centre of each organ moves by no more.
    augmentation = build_augmentation(0.0, 0.0, translation=6.0, log_gamma=0.0, noise=0.0, bias=0.0)
    patches = make("intra", patch_size=None, augmentation=augmentation)
    plain = make("intra", patch_size=None)
    corner = (0, 0, 0)
    prepared = patches.cache.image(patches.fixed[0])
    content = prepared.image, prepared.labels
    before = plain._cut(content, corner)[1]
    for _ in range(5):
        after = patches._cut(content, corner)[1]
        shift = [(x[0] == 1).nonzero().double().mean(0) for x in (before, after)]
        assert (shift[1] - shift[0]).abs().max() <= 1.01  # nearest neighbour rounds to whole voxels


def test_organs_are_seen_about_equally_often(make):
    ids = [1, 5, 6]  # liver, stomach, gall bladder: 100 times the gall bladder's voxels are liver
    patches = make("intra", patch_size=1, ids=ids)
    draws = 300
    seen = Counter(int(patches[n]["fixed_labels"]) for n in range(draws))
    assert set(seen) == set(ids)
    # A binomial of 1/3: 100 of 300 with a standard deviation of 8.
    assert all(abs(seen[i] - draws / 3) < 33 for i in ids)


def test_an_item_is_its_number_and_the_seed(make):
    patches = make("both", augmentation=build_augmentation())
    first, second = patches[7], patches[8]
    torch.manual_seed(5)
    state = torch.get_rng_state()
    again = patches[7]
    assert torch.equal(torch.get_rng_state(), state)
    assert first["images"] == again["images"]
    parts = first.keys() - {"images"}
    assert len(parts) == 6 and all(torch.equal(first[key], again[key]) for key in parts)
    assert not torch.equal(first["fixed"], second["fixed"])
    patches.seed = 1
    assert not torch.equal(first["fixed"], patches[7]["fixed"])
    patches.seed = 0


@pytest.mark.parametrize("pairing", ["intra", "inter"])
def test_every_round_shows_each_once(make, pairing, dataset):
    patches = make(pairing)
    count = len(dataset.pairs["train"]) if pairing == "intra" else len(patches.fixed)
    orders = []
    for turn in range(8):
        shown = [patches._draw_pair(turn * count + n).fixed.subject for n in range(count)]
        assert sorted(shown) == sorted({r.subject for r in dataset.train})
        orders.append(tuple(shown))
    assert len(set(orders)) > 1


def test_inter_pairs_are_of_two_subjects(make):
    patches = make("inter")
    drawn = [patches._draw_pair(n) for n in range(60)]
    assert not any(p.same_subject for p in drawn)
    assert {(p.fixed.modality, p.moving.modality) for p in drawn} == {("MR", "CT")}
    assert len({p.name for p in drawn}) == 6  # all ordered pairs of three subjects


def test_intra_pairs_are_the_listed_ones(make, dataset):
    patches = make("intra")
    assert {patches._draw_pair(n) for n in range(40)} == set(dataset.pairs["train"])


def test_both_kinds_half_each(make):
    patches = make("both")
    same = sum(patches._draw_pair(n).same_subject for n in range(200))
    assert same == 100


@pytest.mark.parametrize("pairing", ["intra", "inter", "both"])
def test_held_out_subjects_are_never_drawn(make, pairing):
    patches = make(pairing)
    drawn = [patches._draw_pair(n) for n in range(60)]
    assert {r.subject for p in drawn for r in (p.fixed, p.moving)} == {"0001", "0002", "0003"}


@pytest.mark.slow
def test_workers_draw_differently(make):
    loader = DataLoader(make("both", length=4), batch_size=2, num_workers=2)
    first, second = (batch["fixed"] for batch in loader)
    assert not torch.equal(first, second)


def test_image_of_another_size_is_placed_centre_on_centre(make, tmp_path, cache):
    patches = make("intra", patch_size=None)
    prepared = cache.image(patches.fixed[0])
    larger = dataclasses.replace(
        prepared,
        image=torch.nn.functional.pad(prepared.image, (1, 1) * 3),
        labels=torch.nn.functional.pad(prepared.labels, (1, 1) * 3),
    )
    assert torch.equal(patches._placed(larger)[0], prepared.image)
    smaller = dataclasses.replace(larger, image=prepared.image[:, 2:] - 1, labels=prepared.labels[:, 2:] + 1)
    image, labels = patches._placed(smaller)
    # Filled up with air and background.
    assert image.shape == prepared.image.shape and image[:, 0].unique() == smaller.image.min() == -1
    assert not labels[:, 0].any()


def subset(dataset, keep):
    return dataclasses.replace(
        dataset,
        train=[r for r in dataset.train if (r.subject, r.modality) in keep],
        pairs={**dataset.pairs, "train": []},
    )


def test_a_fixed_image_without_partner_is_not_drawn(make, dataset):
    # The only CT is that of 0001: its own MR has no partner.
    patches = make("inter", data=subset(dataset, {("0001", "MR"), ("0001", "CT"), ("0002", "MR")}))
    assert {patches._draw_pair(n).name for n in range(20)} == {"0001_to_0002"}


@pytest.mark.parametrize(
    ("pairing", "keep", "match"),
    [
        ("inter", {("0001", "MR"), ("0001", "CT")}, "two subjects"),
        ("inter", {("0001", "MR"), ("0002", "MR")}, "two subjects"),
        ("inter", set(), "two subjects"),
        ("intra", {("0001", "MR"), ("0001", "CT")}, "no training pairs"),
        ("both", {("0001", "MR"), ("0002", "CT")}, "no training pairs"),
        ("other", {("0001", "MR"), ("0002", "CT")}, "data.pairing='other'"),
    ],
)
def test_no_such_pairs(make, dataset, pairing, keep, match):
    with pytest.raises(UserError, match=match):
        make(pairing, data=subset(dataset, keep))


@pytest.mark.parametrize("patch_size", [33, [16, 16, 40], 0, -8, [16, 16], "16", 8.5], ids=str)
def test_unusable_patch_size(make, patch_size):
    with pytest.raises(UserError, match="data.patch_size="):
        make(patch_size=patch_size)


def test_an_item_names_its_images(make, dataset):
    patches = make(pairing="inter")
    (batch,) = DataLoader(patches, batch_size=8, sampler=range(8))
    known = [{record.image.name for record in dataset.train if record.modality == name} for name in ("MR", "CT")]
    for names in batch["images"]:
        fixed, moving = names.split(" and ")
        assert fixed in known[0] and moving in known[1]
    assert len(set(batch["images"])) > 1


def test_one_number_takes_short_axes_whole(make, dataset, phantom, cache_dir, caplog):
    # Of slabs: every image cut to its 16 middle slices of 12 mm.
    cache = PreprocessingCache(cache_dir, 12.0, RECIPES, IDS)
    image = cache.image

    def slab(record):
        whole = image(record)
        return dataclasses.replace(whole, image=whole.image[..., 8:24], labels=whole.labels[..., 8:24])

    cache.image = slab
    patches = PairedPatches(dataset, cache, IDS, "intra", 24, 2, None)
    assert patches[0]["fixed"].shape == patches[0]["moving_labels"].shape == (1, 24, 24, 16)
    assert "data.patch_size=24: patches have [24, 24, 16] voxels, because the images have [32, 32, 16]" in caplog.text
    with pytest.raises(UserError, match="data.patch_size=33: larger than the images"):
        PairedPatches(dataset, cache, IDS, "intra", 33, 2, None)
    with pytest.raises(UserError, match=r"data.patch_size=\[24, 24, 24\]: larger than the images"):
        PairedPatches(dataset, cache, IDS, "intra", [24, 24, 24], 2, None)
