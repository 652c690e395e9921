"""CT images in Hounsfield units."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import ndimage

from mmreg_lightning.phantom.layers import LABEL_IDS, Layer
from mmreg_lightning.phantom.render_ct import PLAIN, SPREAD, UPTAKE, render_ct
from mmreg_lightning.phantom.subject import PhantomSubject, make_subject

Make = Callable[..., PhantomSubject]
SHAPE = (20, 24, 28)


def inside(labels: np.ndarray, name: str) -> np.ndarray:
    """The organ without its surface, where voxels are mixed with the neighbours."""
    return ndimage.binary_erosion(labels == LABEL_IDS[name])


@pytest.mark.parametrize("index", range(4))
def test_ct_is_in_hounsfield_units(index: int, subject: Make) -> None:
    ct, labels = subject(index).ct, subject(index).ct_labels
    assert 40 < np.median(ct[inside(labels, "liver")]) < 125
    assert 35 < np.median(ct[inside(labels, "spleen")]) < 140
    assert np.median(ct[inside(labels, "lungs")]) < -700
    assert np.median(ct[labels == LABEL_IDS["vertebral column"]]) > 150
    assert -125 < np.median(ct[labels == LABEL_IDS["subcutaneous fat"]]) < -60
    assert 30 < np.median(ct[inside(labels, "left psoas")]) < 80
    assert abs(np.median(ct[:, -3:]) + 1000) < 20
    assert ct.min() >= -1024


def test_partial_volume_lies_between_the_tissues() -> None:
    s = make_subject(3, 0, (48, 40, 48))
    edge = ndimage.binary_dilation(s.ct_labels == LABEL_IDS["lungs"]) & (s.ct_labels == LABEL_IDS["liver"])
    assert -600 < np.median(s.ct[edge]) < 40


def rendered(tissue: str, seed: int) -> np.ndarray:
    """A block of one tissue."""
    count = int(np.prod(SHAPE))
    layer = Layer(tissue, np.arange(count), np.full(count, -50.0, np.float32))
    rngs = np.random.default_rng(seed), np.random.default_rng(100 + seed)
    return render_ct([layer], np.zeros(count, np.float32), SHAPE, np.array([2.0, 2.0, 2.0]), *rngs)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("tissue", ["liver", "arterial blood", "fat", "lung"])
def test_a_block_has_the_value_of_its_tissue_and_noise_of_9_to_18_hu(tissue: str, seed: int) -> None:
    block = rendered(tissue, seed)
    spread = SPREAD.get(tissue, 2) + 1.5  # the noise's own mean
    assert PLAIN[tissue] - spread < block.mean() < PLAIN[tissue] + UPTAKE.get(tissue, 0) + spread
    assert 9 <= block.std() <= 18


def test_nothing_is_below_the_scale_of_a_scanner() -> None:
    air = rendered("air", 0)
    assert air.min() == -1024 and -1010 < np.median(air) < -990


def test_the_noise_is_correlated_between_neighbours() -> None:
    noise = rendered("muscle", 1)
    noise = noise - noise.mean()
    for axis in range(3):
        a, b = (np.take(noise, range(start, noise.shape[axis] - 1 + start), axis) for start in (0, 1))
        # Of white noise filtered with a Gaussian of s = 0.6, cut off after one voxel: 2 w0 w1 / (w0^2 + 2 w1^2).
        w = np.exp(-0.5 / 0.36)
        assert (a * b).mean() / noise.var() == pytest.approx(2 * w / (1 + 2 * w * w), abs=0.05)
