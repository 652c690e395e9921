"""What scanners and surroundings add to an image."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from mmreg_lightning.synthesis import faults

SHAPE = (24, 20, 28)


def rng(seed=0):
    return np.random.default_rng(seed)


def test_rician_noise_in_air_is_rayleigh():
    noise = faults.add_noise(rng(), torch.zeros(40, 40, 40), 0.3, rician=True)
    assert stats.kstest(noise.flatten().numpy()[:2000], stats.rayleigh(scale=0.3).cdf).pvalue > 0.01


def test_gaussian_noise_has_its_standard_deviation_and_no_bias():
    noise = faults.add_noise(rng(), torch.full((40, 40, 40), 5.0), 0.3, rician=False) - 5
    assert abs(float(noise.mean())) < 0.02 and float(noise.std()) == pytest.approx(0.3, rel=0.02)


def test_thick_slices_blur_one_axis_and_keep_the_mean():
    image = torch.from_numpy(rng().standard_normal(SHAPE)).float()
    for axis in range(3):
        thick = faults.thicken(image, axis, 3.0)
        assert thick.shape == image.shape and float(thick.mean()) == pytest.approx(float(image.mean()), abs=0.02)
        rough = [float(thick.diff(dim=d).abs().mean()) for d in range(3)]
        assert rough.index(min(rough)) == axis
    torch.testing.assert_close(faults.thicken(image, 1, 1.0), image)


def test_gas_is_in_tissue_and_a_table_in_air():
    air = torch.zeros(SHAPE, dtype=torch.bool)
    air[:, :8] = True
    changed = [faults.add_gas(rng(s), torch.ones(SHAPE), air, -1.0) != 1 for s in range(10)]
    assert sum(bool(c.any()) for c in changed) >= 5 and not any(bool(c[air].any()) for c in changed)
    changed = [faults.add_table(rng(s), torch.ones(SHAPE), air, 1.0) > 1.01 for s in range(10)]
    assert sum(bool(c.any()) for c in changed) >= 5 and not any(bool(c[~air].any()) for c in changed)


def test_metal_shines_with_rays_or_leaves_a_halo():
    image = torch.full(SHAPE, 0.5)
    shining = faults.add_metal(rng(3), image, 9.0, 1.0)
    assert float(shining.max()) == 9.0 and (shining < 0.4).any() and (shining > 0.6).any()
    halo = faults.add_metal(rng(3), image, 0.0, 0.0)
    assert float(halo.min()) == 0.0 and float(halo.max()) <= 0.5


def test_streaks_run_along_lines_of_the_axial_planes():
    streaks = faults.add_streaks(rng(1), torch.zeros(SHAPE), 2.0)
    assert float(streaks.std()) == pytest.approx(2.0, rel=0.01)
    plane = streaks[..., 3].numpy()
    power = np.abs(np.fft.fft2(plane - plane.mean())) ** 2
    strongest = np.sort(power.ravel())[::-1]
    assert strongest[: power.size // 10].sum() > 0.6 * strongest.sum()  # white noise has 0.33


def test_a_cut_field_of_view_leaves_the_rest():
    gone = []
    for seed in range(20):
        image = torch.ones(SHAPE)
        cut = faults.cut_field_of_view(rng(seed), image, -1.0)
        assert set(cut.unique().tolist()) <= {-1.0, 1.0} and float(image.min()) == 1.0
        gone.append(float((cut == -1).float().mean()))
    assert 0.0 <= min(gone) and 0.1 < max(gone) < 0.9
