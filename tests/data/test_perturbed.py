"""Perturbed pairs: level 0 is the pair, the same seed gives the same images, and labels go with their image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import yaml

from mmreg_lightning.calibration.calibrate import calibration_perturbations
from mmreg_lightning.config import CONF_DIR
from mmreg_lightning.data.learn2reg import Learn2RegDataset
from mmreg_lightning.data.pair import pair_files, read_pair
from mmreg_lightning.data.perturbed import KINDS, perturb, read_perturbations
from mmreg_lightning.errors import UserError

SHIPPED = yaml.safe_load((CONF_DIR / "robustness" / "default.yaml").read_text(encoding="utf-8"))["perturbations"]


@pytest.fixture(scope="module")
def pair(phantom):
    dataset = Learn2RegDataset.read(phantom)
    return read_pair(pair_files(dataset.pairs["test"][0])), dataset.label_names


def test_every_kind_is_shipped_and_calibration_knows_its_kinds():
    assert [p.name for p in read_perturbations(SHIPPED)] == list(KINDS)
    assert {p.name for p in calibration_perturbations()} <= set(KINDS)


@pytest.mark.parametrize("kind", read_perturbations(SHIPPED), ids=lambda kind: kind.name)
def test_level_0_is_the_pair_and_the_seed_decides(pair, kind):
    data, names = pair
    assert perturb(data, kind, 0, "case", 1, names) is data
    # A thickness must exceed that of the tiny phantom's slices.
    level = 40.0 if kind.name == "thickness" else kind.levels[-1]
    before = data.fixed.data.clone(), data.moving.data.clone()
    a, b = (perturb(data, kind, level, "case", 1, names) for _ in range(2))
    for one, other in ((a.fixed, b.fixed), (a.moving, b.moving), *zip(a.labels, b.labels, strict=True)):
        assert torch.equal(one.data, other.data) and np.array_equal(one.grid.affine, other.grid.affine)
    for image, labels in ((a.fixed, a.labels[0]), (a.moving, a.labels[1])):
        assert image.grid.same_as(labels.grid)
    assert torch.equal(data.fixed.data, before[0]) and torch.equal(data.moving.data, before[1]), "the pair is untouched"
    changed = a.fixed.grid.shape != data.fixed.grid.shape
    changed = (
        changed or not torch.equal(a.fixed.data, data.fixed.data) or not torch.equal(a.moving.data, data.moving.data)
    )
    changed = changed or not np.allclose(a.moving.grid.affine, data.moving.grid.affine)
    assert changed


def test_stronger_levels_go_on_in_the_same_direction(pair):
    data, names = pair
    (shift,) = (p for p in read_perturbations(SHIPPED) if p.name == "shift")
    origins = [perturb(data, shift, level, "case", 1, names).moving.grid.affine[:3, 3] for level in (0, 20, 60)]
    assert np.allclose(origins[2] - origins[0], 3 * (origins[1] - origins[0]))
    other = perturb(data, shift, 20, "another", 1, names).moving.grid.affine[:3, 3]
    assert not np.allclose(other, origins[1])


def test_a_crop_takes_its_share_and_the_landmarks_with_it(pair):
    data, names = pair
    (crop,) = (p for p in read_perturbations(SHIPPED) if p.name == "crop")
    small = perturb(data, crop, 45, "case", 1, names)
    assert small.fixed.grid.shape[2] == data.fixed.grid.shape[2] - round(0.45 * data.fixed.grid.shape[2])
    inside = small.landmarks[0][:, 2]
    assert 0 < len(inside) < len(data.landmarks[0]) and inside.min() >= -0.5
    assert inside.max() <= small.fixed.grid.shape[2] - 0.5
    worlds = [p.fixed.grid.affine[2] @ np.append(p.landmarks[0][0], 1) for p in (data, small)]
    assert any(np.isclose(worlds[1], data.fixed.grid.affine[2] @ np.append(row, 1)) for row in data.landmarks[0])


def test_missing_organs_are_those_that_may_go(pair):
    data, names = pair
    (missing,) = (p for p in read_perturbations(SHIPPED) if p.name == "missing_organ")
    left = perturb(data, missing, 2, "case", 1, names)
    gone = set(data.labels[1].data.unique().tolist()) - set(left.labels[1].data.unique().tolist())
    assert len(gone) == 2 and {names[i] for i in gone} <= set(missing.organs)


@pytest.mark.parametrize(
    ("config", "match"),
    [
        ({"fog": {"levels": [0, 1], "unit": "", "title": ""}}, "robustness.perturbations.fog: must be one of"),
        ({"noise": {"levels": [0.1, 0.2], "unit": "", "title": ""}}, r"levels=\[0.1, 0.2\]: must be 0 and then"),
        ({"noise": {"levels": [0, 2, 1], "unit": "", "title": ""}}, "must be 0 and then rising"),
        ({"noise": {"levels": [0, 1], "unit": ""}}, "robustness.perturbations.noise: needs title"),
        ({"noise": {"levels": [0, 1], "unit": "", "titel": ""}}, "noise.titel: there is .* mean .*noise.title?"),
        ({"noise": {"levels": [0, "x"], "unit": "", "title": ""}}, r"noise.levels\[1\]=x: must be a number"),
        ({"noise": {"levels": [0, "1"], "unit": "", "title": ""}}, "must be 0 and then rising"),
        ({"noise": {"levels": [0], "unit": "", "title": ""}}, "must be 0 and then rising"),
    ],
)
def test_a_wrong_declaration_is_one_sentence(config, match):
    with pytest.raises(UserError, match=match):
        read_perturbations(config)
