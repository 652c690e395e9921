"""Mean intensities of regions."""

from __future__ import annotations

import numpy as np

from mmreg_lightning.phantom.render_ct import PLAIN
from mmreg_lightning.synthesis.contrast import HU, draw_means, touching
from mmreg_lightning.synthesis.phantom_maps import CLASSES

NONE = np.zeros((0, 2), int)


def means(style, tissues, merge=0.0, neighbours=NONE, seeds=200):
    return np.stack([draw_means(np.random.default_rng(s), style, tissues, neighbours, merge) for s in range(seeds)])


def test_ct_knows_tissues():
    air, fat, soft, bone = means("ct", ["air", "fat", "soft", "bone"]).T
    assert (air < fat).all() and (fat < soft).all() and (soft < bone).all()


def test_hounsfield_units_hold_those_of_the_phantom():
    for tissue, name in CLASSES.items():
        if name != "any":
            low, high = HU[name]
            assert low - 30 <= PLAIN[tissue] <= high + 30, tissue


def test_mr_has_either_order_of_fluid_and_tissue_but_dark_bone():
    fluid, soft, bone, air = means("mr", ["fluid", "soft", "bone", "air"]).T
    assert 0.2 < (fluid > soft).mean() < 0.8 and (bone < soft).mean() > 0.95 and air.max() < 0.1


def test_random_knows_nothing_but_air():
    a, b, air = means("random", ["soft", "bone", "air"]).T
    assert 0.4 < (a > b).mean() < 0.6 and 0.6 < (air < 0.05).mean() < 0.95


def test_borders_are_lost_between_neighbours_alone():
    tissues = ["air", "soft", "bone", "fat"]
    neighbours = np.array([[0, 1], [1, 2]])
    drawn = means("ct", tissues, merge=1.0, neighbours=neighbours)
    lost = (drawn[:, 1] == drawn[:, 2]).mean()
    assert 0.35 < lost < 0.65
    assert (drawn[:, 0] != drawn[:, 1]).all() and (drawn[:, 3] != drawn[:, 2]).all()
    assert (means("ct", tissues, 0.0, neighbours)[:, 1] != means("ct", tissues, 0.0, neighbours)[:, 2]).all()


def test_one_material_looks_alike_mostly():
    a, b, other = means("mr", ["soft:muscle", "soft:muscle", "soft:liver"]).T
    assert 0.5 < (a == b).mean() < 0.95 and (a != other).all()


def test_touching_regions_are_found_once():
    regions = np.zeros((3, 3, 3), np.uint8)
    regions[2] = 4
    regions[0, 0, 0] = 2
    assert touching(regions).tolist() == [[0, 2], [0, 4]]
    assert touching(np.zeros((3, 3, 3), np.int16)).shape == (0, 2)
