"""Random changes of a training image, drawn for each image of a pair on its own."""

from __future__ import annotations

from collections.abc import Sequence

import torchio as tio

from mmreg_lightning.errors import UserError


def build_augmentation(
    degrees: float = 8.0,
    scales: float = 0.08,
    translation: float = 0.0,
    elastic: float = 0.0,
    log_gamma: float = 0.3,
    noise: float = 0.05,
    bias: float = 0.3,
    flip: Sequence[int] = (),
) -> tio.Compose:
    """TorchIO transforms of one image and its labels: small affine and elastic changes, then its contrast.

    Args:
        degrees: rotations about each axis lie within plus and minus this.
        scales: scales of each axis lie within 1 plus and minus this.
        translation: within plus and minus this, mm.
        elastic: largest displacement of the elastic deformation's control points, mm; 0 leaves it out.
        log_gamma: logarithm of the gamma exponent lies within plus and minus this.
        noise: largest standard deviation of additive noise, as a share of the intensity window.
        bias: largest coefficient of the bias field's polynomial; 0 leaves it out.
        flip: voxel axes along which half of the images are mirrored, as [0]; only for anatomy that is symmetric there.

    Raises:
        UserError: ``flip`` names an axis that is none.

    Returns:
        A transform of a ``Subject`` with ``image`` and ``labels``.
    """
    if not set(flip) <= {0, 1, 2}:
        raise UserError(f"data.augmentation.flip={list(flip)}: must name voxel axes, 0, 1 or 2")
    transforms: list[tio.Transform] = []
    if flip:
        transforms.append(tio.RandomFlip(axes=tuple(flip)))
    if degrees or scales or translation:
        transforms.append(
            tio.RandomAffine(scales=scales, degrees=degrees, translation=translation, default_pad_value="minimum")
        )
    if elastic:
        transforms.append(tio.RandomElasticDeformation(num_control_points=7, max_displacement=elastic))
    if bias:
        transforms.append(tio.RandomBiasField(coefficients=bias, order=2, p=0.5))
    if log_gamma:
        transforms.append(tio.RandomGamma(log_gamma=(-log_gamma, log_gamma)))
    if noise:
        transforms.append(tio.RandomNoise(std=(0, noise)))
    return tio.Compose(transforms)
