"""Perturbed pairs: level 0 is the pair, the same seed gives the same images, and labels go with their image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import yaml

from mmreg_lightning.config import CONF_DIR
from mmreg_lightning.data.learn2reg import Learn2RegDataset
from mmreg_lightning.data.perturbed import KINDS, perturb, read_perturbations
from mmreg_lightning.errors import UserError

SHIPPED, CALIBRATED = (
    yaml.safe_load((CONF_DIR / file).read_text(encoding="utf-8"))["perturbations"]
    for file in ("robustness/default.yaml", "calibration.yaml")
)


@pytest.fixture(scope="module")
def pair(phantom):
    dataset = Learn2RegDataset.read(phantom)
    return dataset.pairs["test"][0].read(), dataset.label_names


def test_every_kind_is_shipped_and_calibration_knows_its_kinds():
    assert [p.name for p in read_perturbations(SHIPPED)] == list(KINDS)
    assert {p.name for p in read_perturbations(CALIBRATED)} <= set(KINDS)


@pytest.mark.parametrize("kind", read_perturbations(SHIPPED), ids=lambda kind: kind.name)
def test_level_0_is_the_pair_and_the_seed_decides(pair, kind):
    data, names = pair
    assert perturb(data, kind, 0, "case", 1, names) is data
    # A thickness must exceed that of the tiny phantom's slices.
    level = 40.0 if kind.name == "thickness" else kind.levels[-1]
    before = data.fixed.volume.data.clone(), data.moving.volume.data.clone()
    a, b = (perturb(data, kind, level, "case", 1, names) for _ in range(2))
    for image, same in ((a.fixed, b.fixed), (a.moving, b.moving)):
        for one, other in ((image.volume, same.volume), (image.labels, same.labels)):
            assert torch.equal(one.data, other.data) and np.array_equal(one.grid.affine, other.grid.affine)
        assert image.volume.grid.same_as(image.labels.grid)
    assert torch.equal(data.fixed.volume.data, before[0]), "the pair is untouched"
    assert torch.equal(data.moving.volume.data, before[1]), "the pair is untouched"
    changed = [
        now.volume.grid.shape != then.volume.grid.shape
        or not torch.equal(now.volume.data, then.volume.data)
        or not np.allclose(now.volume.grid.affine, then.volume.grid.affine)
        for now, then in zip(a, data, strict=True)
    ]
    assert any(changed)


def test_stronger_levels_go_on_in_the_same_direction(pair):
    data, names = pair
    (shift,) = (p for p in read_perturbations(SHIPPED) if p.name == "shift")
    origins = [perturb(data, shift, level, "case", 1, names).moving.volume.grid.affine[:3, 3] for level in (0, 20, 60)]
    assert np.allclose(origins[2] - origins[0], 3 * (origins[1] - origins[0]))
    other = perturb(data, shift, 20, "another", 1, names).moving.volume.grid.affine[:3, 3]
    assert not np.allclose(other, origins[1])


def test_a_crop_takes_its_share_and_the_landmarks_with_it(pair):
    data, names = pair
    (crop,) = (p for p in read_perturbations(SHIPPED) if p.name == "crop")
    small = perturb(data, crop, 45, "case", 1, names)
    assert small.fixed.volume.grid.shape[2] == data.fixed.volume.grid.shape[2] - round(
        0.45 * data.fixed.volume.grid.shape[2]
    )
    inside = small.fixed.landmarks[:, 2]
    assert 0 < len(inside) < len(data.fixed.landmarks) and inside.min() >= -0.5
    assert inside.max() <= small.fixed.volume.grid.shape[2] - 0.5
    worlds = [p.fixed.volume.grid.affine[2] @ np.append(p.fixed.landmarks[0], 1) for p in (data, small)]
    assert any(
        np.isclose(worlds[1], data.fixed.volume.grid.affine[2] @ np.append(row, 1)) for row in data.fixed.landmarks
    )


def test_missing_organs_are_those_that_may_go(pair):
    data, names = pair
    (missing,) = (p for p in read_perturbations(SHIPPED) if p.name == "missing_organ")
    left = perturb(data, missing, 2, "case", 1, names)
    gone = set(data.moving.labels.data.unique().tolist()) - set(left.moving.labels.data.unique().tolist())
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
