"""MIND-SSC: hand-crafted, modality-independent features."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mmreg_lightning.errors import UserError

# Pairs of face neighbours that are sqrt(2) apart, as steps along (I, J, K), in the order of the authors' code.
_PAIRS = (
    ((1, 0, 0), (0, -1, 0)), ((-1, 0, 0), (0, 1, 0)), ((-1, 0, 0), (0, -1, 0)), ((1, 0, 0), (0, 1, 0)),
    ((0, -1, 0), (0, 0, -1)), ((0, 1, 0), (0, 0, 1)), ((-1, 0, 0), (0, 0, -1)), ((1, 0, 0), (0, 0, 1)),
    ((0, 1, 0), (0, 0, -1)), ((0, -1, 0), (0, 0, 1)), ((1, 0, 0), (0, 0, -1)), ((-1, 0, 0), (0, 0, 1)),
)  # fmt: skip


@torch.no_grad()
def mind_ssc(image: Tensor, radius: int = 2, dilation: int = 2) -> Tensor:
    """Modality independent neighbourhood descriptor with self-similarity context, without gradient.

    Each channel is ``exp(-(D - min D) / V)``. D is the mean squared difference of two cubic patches, each
    ``2 radius + 1`` voxels wide and centred ``dilation`` voxels from the voxel along two different axes. V is the mean
    of ``D - min D`` over the channels, bounded to 1/1000 to 1000 times its mean over the volume. The result does not
    depend on scale and offset of the intensities.

    Source: Heinrich et al., Towards realtime multimodal fusion for image-guided interventions using self-similarities,
    MICCAI 2013. Channel order and variance bounds are those of the convexAdam package.

    Args:
        image: (B, 1, I, J, K), floating point; the border is repeated outside.
        radius: half width of the patches in voxels, 0 or more.
        dilation: distance of the patches from the voxel in voxels, 1 or more.

    Returns:
        (B, 12, I, J, K) in (0, 1]; the largest channel of every voxel is 1. A constant image gives ones.

    Raises:
        UserError: ``radius`` or ``dilation`` is out of range.
        ValueError: the image has another shape.
    """
    if image.ndim != 5 or image.shape[1] != 1:
        raise ValueError(f"mind_ssc needs an image of shape (B, 1, I, J, K), not {tuple(image.shape)}")
    if radius < 0 or dilation < 1:
        raise UserError(f"radius={radius} and dilation={dilation}: must be 0 or more and 1 or more")
    padded = F.pad(image, (dilation,) * 6, mode="replicate")
    descriptor = image.new_empty((image.shape[0], len(_PAIRS), *image.shape[2:]))
    # One pair at a time: temporaries have the size of the image instead of twelve times that.
    for channel, (first, second) in enumerate(_PAIRS):
        difference = _shifted(padded, first, dilation) - _shifted(padded, second, dilation)
        descriptor[:, channel : channel + 1] = _box_mean(difference.square_(), radius)
    descriptor -= descriptor.amin(dim=1, keepdim=True)
    variance = descriptor.mean(dim=1, keepdim=True)
    typical = variance.mean(dim=(2, 3, 4), keepdim=True)
    variance = torch.minimum(torch.maximum(variance, 0.001 * typical), 1000 * typical)
    # A constant image has variance 0 everywhere, and a descriptor of 0 / tiny: no NaN.
    descriptor /= variance.clamp_min_(torch.finfo(image.dtype).tiny)
    return descriptor.neg_().exp_()


def _shifted(padded: Tensor, step: tuple[int, int, int], dilation: int) -> Tensor:
    """View of ``image(x + dilation * step)`` of an image that was padded by ``dilation`` on all sides."""
    for axis, direction in enumerate(step, start=2):
        padded = padded.narrow(axis, dilation * (1 + direction), padded.shape[axis] - 2 * dilation)
    return padded


def _box_mean(x: Tensor, radius: int) -> Tensor:
    """Mean over cubes of ``2 radius + 1`` voxels with replicated borders, one axis after the other."""
    width = 2 * radius + 1
    for axis in (2, 3, 4):
        margins = [0] * 6
        margins[2 * (4 - axis)] = margins[2 * (4 - axis) + 1] = radius
        padded = F.pad(x, margins, mode="replicate")
        size = x.shape[axis]
        # Sums of slices: a running sum would be cheaper but cancels in single precision.
        x = padded.narrow(axis, 0, size).clone()
        for offset in range(1, width):
            x += padded.narrow(axis, offset, size)
    return x.div_(width**3)
