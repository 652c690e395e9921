"""Colours of features."""

from __future__ import annotations

import torch
from torch import Tensor

_LOW, _HIGH = 0.02, 0.98  # quantiles at the ends of the colours, so that outliers do not grey the rest


def pca_colours(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """The first three principal components of two feature maps together, as colours that mean the same in both.

    Args:
        first, second: (C, I, J, K) and (C, I', J', K').

    Returns:
        (3, I, J, K) and (3, I', J', K'): red, green and blue in [0, 1]. Components that are missing (C < 3) or constant
        are 0.5.
    """
    samples = torch.cat([features.flatten(1).double() for features in (first, second)], dim=1)
    samples = samples - samples.mean(dim=1, keepdim=True)
    # Eigenvalues are in ascending order: the last columns hold the most variance.
    _, vectors = torch.linalg.eigh(samples @ samples.T / samples.shape[1])
    axes = vectors.flip(1)[:, :3].T
    # The sign of an eigenvector is arbitrary: its largest entry is made positive, so that colours repeat.
    axes = axes * axes.gather(1, axes.abs().argmax(dim=1, keepdim=True)).sign()
    components = axes @ samples
    ordered = components.sort(dim=1).values
    last = ordered.shape[1] - 1
    low, high = ordered[:, round(_LOW * last), None], ordered[:, round(_HIGH * last), None]
    scaled = ((components - low) / (high - low).clamp(min=1e-12)).clamp(0, 1)
    colours = components.new_full((3, samples.shape[1]), 0.5)
    colours[: len(axes)] = scaled.masked_fill(high - low <= 1e-9, 0.5)
    a, b = colours.float().split([first[0].numel(), second[0].numel()], dim=1)
    return a.reshape(3, *first.shape[1:]), b.reshape(3, *second.shape[1:])
