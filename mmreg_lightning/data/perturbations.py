"""What may be wrong with an image or its place: pure functions of a volume, which a strength of 0 leaves as it is."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
import torchio as tio
from numpy.typing import NDArray
from scipy import ndimage

from mmreg_lightning.errors import UserError
from mmreg_lightning.geometry.grid import Grid
from mmreg_lightning.geometry.resample import resample_volume
from mmreg_lightning.geometry.volume import Volume

_BIAS_ORDER = 3
_NODES = 6  # of a random contrast, air included
_MIN_SLICES = 8  # that a cropped image keeps


def shifted(volume: Volume, millimetres: float, rng: np.random.Generator) -> Volume:
    """The volume at another place: its header is moved along a random direction, no voxel changes.

    Args:
        volume: (C, I, J, K).
        millimetres: length of the shift in the world.
        rng: draws the direction, uniform on the sphere.
    """
    matrix = np.eye(4)
    matrix[:3, 3] = millimetres * _direction(rng)
    return _moved(volume, matrix)


def rotated(volume: Volume, degrees: float, rng: np.random.Generator) -> Volume:
    """The volume turned about its centre and a random axis of the world by its header; no voxel changes.

    Args:
        volume: (C, I, J, K).
        degrees: angle.
        rng: draws the axis, uniform on the sphere.
    """
    x, y, z = _direction(rng)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = math.radians(degrees)
    matrix = np.eye(4)
    matrix[:3, :3] = np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross  # Rodrigues
    matrix[:3, 3] = volume.grid.center - matrix[:3, :3] @ volume.grid.center
    return _moved(volume, matrix)


def with_gamma(volume: Volume, log_gamma: float, rng: np.random.Generator) -> Volume:
    """Another grey value curve: ``t ** exp(+-log_gamma)``, t the intensity between the 1st and 99th percentile.

    What is darker than the 1st percentile, noise of air, becomes it.

    Args:
        volume: (C, I, J, K), floating point.
        log_gamma: natural logarithm of the exponent; its sign is drawn.
        rng: draws the sign.
    """
    exponent = math.exp(log_gamma * rng.choice([-1.0, 1.0]))
    low, high = intensity_range(volume.data)
    share = ((volume.data - low) / (high - low)).clamp(min=0)
    return _same_place(volume, low + (high - low) * share**exponent)


def with_contrast(volume: Volume, strength: float, rng: np.random.Generator) -> Volume:
    """Tissues in other, randomly ordered grey values, as another MR sequence has them.

    ``(1 - strength) t + strength g(t)`` with t as in ``with_gamma`` and g piecewise linear through random values at six
    equal steps, but 0 for air: not monotone.

    Args:
        volume: (C, I, J, K), floating point.
        strength: 0 to 1.
        rng: draws g.
    """
    values = np.concatenate([[0.0], rng.random(_NODES - 1)])
    low, high = intensity_range(volume.data)
    share = ((volume.data - low) / (high - low)).numpy()
    remapped = np.interp(share, np.linspace(0, 1, _NODES), values)
    mixed = (1 - strength) * share + strength * remapped
    return _same_place(volume, low + (high - low) * torch.from_numpy(mixed.astype(np.float32)))


def with_bias(volume: Volume, deviation: float, rng: np.random.Generator) -> Volume:
    """Intensities times a smooth field: the exponential of a random polynomial of degree 3 (TorchIO's basis).

    Args:
        volume: (1, I, J, K), floating point.
        deviation: standard deviation of the field's natural logarithm over the image; its mean is 0.
        rng: draws the coefficients, uniform in [-1, 1].
    """
    count = math.comb(_BIAS_ORDER + 3, 3)
    field = tio.BiasField.generate_bias_field(volume.data, _BIAS_ORDER, rng.uniform(-1, 1, count).tolist())
    logarithm = np.log(field.astype(np.float64))
    logarithm = (logarithm - logarithm.mean()) / logarithm.std()
    return _same_place(volume, volume.data * torch.from_numpy(np.exp(deviation * logarithm)).to(volume.data))


def with_noise(volume: Volume, deviation: float, rng: np.random.Generator) -> Volume:
    """Gaussian noise added.

    Args:
        volume: (C, I, J, K), floating point.
        deviation: standard deviation as a share of the range from the 1st to the 99th percentile.
        rng: draws the noise.
    """
    low, high = intensity_range(volume.data)
    noise = rng.standard_normal(tuple(volume.data.shape), dtype=np.float32)
    return _same_place(volume, volume.data + deviation * (high - low) * torch.from_numpy(noise))


def with_thick_slices(volume: Volume, millimetres: float) -> Volume:
    """As acquired in thicker slices along the third axis, interpolated linearly to the old grid again.

    Args:
        volume: (C, I, J, K), floating point.
        millimetres: slice thickness and distance; what is no more than the volume's own changes nothing.
    """
    own = volume.grid.spacing
    if millimetres <= own[2]:
        return volume
    thick = resample_volume(volume, volume.grid.resampled([own[0], own[1], millimetres]))
    # Beyond the outermost slices' centres there is nothing else than these slices.
    back = resample_volume(thick, volume.grid)
    return _same_place(volume, back.data)


def cropped(volume: Volume, lower: int, upper: int) -> Volume:
    """Without the first ``lower`` and the last ``upper`` slices of the third axis.

    Raises:
        UserError: fewer than 8 slices would be left.
    """
    slices = volume.grid.shape[2]
    if slices - lower - upper < min(_MIN_SLICES, slices):
        raise UserError(f"{volume.path or 'a volume'}: of {slices} slices only {slices - lower - upper} would be left")
    offset = np.eye(4)
    offset[2, 3] = lower
    grid = Grid((*volume.grid.shape[:2], slices - lower - upper), volume.grid.affine @ offset)
    data = volume.data[..., lower : slices - upper].contiguous()
    return Volume(data, grid, path=volume.path, stored=volume.stored)


def without_organs(image: Volume, labels: Volume, ids: Sequence[int]) -> tuple[Volume, Volume]:
    """Organs taken out: their voxels, and those beside them, get the intensity of the nearest unlabelled voxel.

    Args:
        image: (1, I, J, K).
        labels: (1, I, J, K) on the same grid.
        ids: of the organs.

    Returns:
        The image, and the label map with background in their place.
    """
    gone = np.isin(labels.data[0].numpy(), list(ids))
    if not gone.any():
        return image, labels
    # The border voxels hold some of the organ, too.
    filled = ndimage.binary_dilation(gone) & (gone | (labels.data[0].numpy() == 0))
    unlabelled = (labels.data[0].numpy() == 0) & ~filled
    nearest = ndimage.distance_transform_edt(
        ~unlabelled, sampling=image.grid.spacing, return_distances=False, return_indices=True
    )
    values = image.data[0].numpy()
    data = np.where(filled, values[tuple(nearest)], values)
    left = torch.where(torch.from_numpy(gone)[None], torch.zeros_like(labels.data), labels.data)
    return _same_place(image, torch.from_numpy(data)[None]), _same_place(labels, left)


def intensity_range(data: torch.Tensor) -> tuple[float, float]:
    """1st and 99th percentile of an image of any shape; the upper one is larger by 1e-6 at least."""
    low, high = np.percentile(data.numpy(), [1, 99]).tolist()
    return low, max(high, low + 1e-6)


def _direction(rng: np.random.Generator) -> NDArray[np.float64]:
    vector = rng.standard_normal(3)
    return vector / np.linalg.norm(vector)


def _moved(volume: Volume, matrix: NDArray[np.float64]) -> Volume:
    grid = Grid(volume.grid.shape, matrix @ volume.grid.affine)
    return Volume(volume.data, grid, path=volume.path, stored=volume.stored)


def _same_place(volume: Volume, data: torch.Tensor) -> Volume:
    return Volume(data.to(volume.data.dtype), volume.grid, volume.native, volume.path, volume.stored)
