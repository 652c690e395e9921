"""What is in real images beside tissue: tables, gas, metal, streaks, cut fields of view, thick slices, noise."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mmreg_lightning.functional.smooth import gaussian_smooth
from mmreg_lightning.functional.warp import identity_grid
from mmreg_lightning.phantom.render_mr import slice_profiles
from mmreg_lightning.synthesis.fields import white_noise


def _ball(rng: np.random.Generator, shape: tuple[int, int, int], least: float, most: float) -> Tensor:
    """Squared distance to a random centre in radii of ``least`` to ``most`` voxels, (I, J, K)."""
    centre = torch.from_numpy(rng.uniform(0, shape)).float().view(3, 1, 1, 1)
    radii = torch.from_numpy(np.exp(rng.uniform(np.log(least), np.log(most), 3))).float().view(3, 1, 1, 1)
    return ((identity_grid(shape)[0] - centre) / radii).square().sum(0)


def add_gas(rng: np.random.Generator, image: Tensor, air: Tensor, value: float) -> Tensor:
    """One to four pockets of gas in tissue, flat on their lower side as in a patient that lies on the back.

    Args:
        rng: draws them.
        image: (I, J, K).
        air: (I, J, K) bool, where there is no tissue.
        value: of gas.
    """
    for _ in range(int(rng.integers(1, 5))):
        pocket = (_ball(rng, (image.shape[0], image.shape[1], image.shape[2]), 1.5, 6) < 1) & ~air
        level = float(rng.uniform(0, image.shape[1]))
        if rng.random() < 0.5:
            pocket &= torch.arange(image.shape[1]).view(1, -1, 1) > level
        image = image.masked_fill(pocket, value)
    return image


def add_table(rng: np.random.Generator, image: Tensor, air: Tensor, contrast: float) -> Tensor:
    """A table or a head rest: one or two curved sheets in the air behind the patient.

    Args:
        rng: draws it.
        image: (I, J, K), J from posterior to anterior.
        air: (I, J, K) bool.
        contrast: of the densest sheet to air.
    """
    i, j, _ = identity_grid((image.shape[0], image.shape[1], image.shape[2]))[0]
    bow = float(rng.uniform(-0.3, 1.2)) / image.shape[0]
    height = float(rng.uniform(0, 0.35)) * image.shape[1]
    surface = j - height - bow * (i - float(rng.uniform(0.3, 0.7)) * image.shape[0]).square()
    for gap in (0.0, float(rng.uniform(3, 8))):
        sheet = (-((surface + gap) / float(rng.uniform(0.5, 1.2))).square()).exp()
        image = torch.where(air, image + sheet * contrast * float(rng.uniform(0.1, 1)), image)
        if rng.random() < 0.4:
            break
    return image


def add_metal(rng: np.random.Generator, image: Tensor, value: float, streaks: float) -> Tensor:
    """A small piece of metal with what it does to its surroundings.

    Args:
        rng: draws it.
        image: (I, J, K).
        value: of the metal itself: very bright in CT, nothing in MR.
        streaks: amplitude of the rays in its axial planes; 0 makes a dark halo instead (MR).
    """
    shape = (image.shape[0], image.shape[1], image.shape[2])
    distance = _ball(rng, shape, 1.0, 3.0)
    if streaks:
        centre = np.unravel_index(int(distance.argmin()), shape)
        i, j, _ = identity_grid(shape)[0]
        angle = torch.atan2(j - float(centre[1]), i - float(centre[0]))
        rays = torch.sin(angle * int(rng.integers(2, 7)) + float(rng.uniform(0, 6.3)))
        image = image + streaks * rays * (-distance / float(rng.uniform(20, 80))).exp()
    else:
        image = image * (1 - (-distance / float(rng.uniform(2, 8))).exp())
    return image.masked_fill(distance < 1, value)


def add_streaks(rng: np.random.Generator, image: Tensor, amplitude: float) -> Tensor:
    """Noise along a few directions of the axial planes (I, J), as between shoulders or of few photons."""
    shape = (image.shape[0], image.shape[1], image.shape[2])
    i, j, _ = identity_grid(shape)[0]
    total = torch.zeros(shape)
    for _ in range(int(rng.integers(1, 6))):
        angle = rng.uniform(0, np.pi)
        length = sum(shape[:2])
        lines = gaussian_smooth(white_noise(rng, 1, 1, 2 * length, 1, shape[2]), (float(rng.uniform(0.5, 1.5)), 0, 0.7))
        place = (i * float(np.cos(angle)) + j * float(np.sin(angle)) + length).round().long().clamp(0, 2 * length - 1)
        total += torch.gather(lines[0, 0, :, 0], 0, place.reshape(-1, shape[2])).view(shape)
    return image + amplitude * total / total.std().clamp_min(1e-6)


def thicken(image: Tensor, axis: int, thickness: float) -> Tensor:
    """Slices of so many voxels along an axis, interpolated back to (I, J, K)."""
    profile, back = (torch.from_numpy(x) for x in slice_profiles(image.shape[axis], 1.0, thickness))
    moved = image.movedim(axis, 0)
    stack = back @ (profile @ moved.reshape(moved.shape[0], -1))
    return stack.view(moved.shape).movedim(0, axis).contiguous()


def add_noise(rng: np.random.Generator, image: Tensor, sigma: float, rician: bool) -> Tensor:
    """Gaussian noise, white or correlated, or the magnitude of an image with complex noise (Rician).

    Args:
        rng: draws it.
        image: (I, J, K); 0 is no signal where the noise is Rician.
        sigma: standard deviation.
        rician: kind.
    """
    shape = (1, 1, *image.shape)
    if rician:
        real, imaginary = (sigma * white_noise(rng, *image.shape) for _ in range(2))
        return ((image + real).square() + imaginary.square()).sqrt()
    noise = gaussian_smooth(white_noise(rng, *shape), float(rng.uniform(0, 1)))[0, 0]
    return image + sigma * noise / noise.std()


def cut_field_of_view(rng: np.random.Generator, image: Tensor, value: float) -> Tensor:
    """Nothing beyond some planes, or beyond a circle in the axial planes (I, J)."""
    shape = (image.shape[0], image.shape[1], image.shape[2])
    if rng.random() < 0.3:
        i, j, _ = identity_grid(shape)[0]
        centre = [float(rng.uniform(0.35, 0.65)) * n for n in shape[:2]]
        radius = float(rng.uniform(0.35, 0.6)) * min(shape[:2])
        return image.masked_fill((i - centre[0]).square() + (j - centre[1]).square() > radius**2, value)
    image = image.clone()
    for axis in range(3):
        if rng.random() < 0.5:
            n = shape[axis]
            gone = int(rng.uniform(0.05, 0.35) * n)
            image.narrow(axis, 0 if rng.random() < 0.5 else n - gone, gone).fill_(value)
    return image
