"""Colours of features."""

from __future__ import annotations

import torch
from torch import Tensor

_LOW, _HIGH = 0.02, 0.98  # of the values are spread over the colours, so that outliers do not grey the rest


def pca_colours(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Colours that mean the same in both feature maps: their three common principal components as R, G, B.

    Args:
        first, second: (C, I, J, K) and (C, I', J', K').

    Returns:
        (3, I, J, K) and (3, I', J', K') in [0, 1]; missing components (C < 3) and constant ones are 0.5.
    """
    flat = [features.flatten(1).double() for features in (first, second)]
    both = torch.cat(flat, dim=1)
    mean = both.mean(dim=1, keepdim=True)
    # Ascending: the last columns hold the most variance.
    _, vectors = torch.linalg.eigh((both - mean) @ (both - mean).T / both.shape[1])
    axes = vectors.flip(1)[:, :3].T
    # The sign of an eigenvector is arbitrary: its largest entry is made positive, so that colours repeat.
    largest = axes.gather(1, axes.abs().argmax(dim=1, keepdim=True))
    axes = axes * largest.sign()
    components = axes @ (both - mean)
    ordered = components.sort(dim=1).values
    last = ordered.shape[1] - 1
    low, high = ordered[:, round(_LOW * last), None], ordered[:, round(_HIGH * last), None]
    colours = components.new_full((3, both.shape[1]), 0.5)
    scaled = ((components - low) / (high - low).clamp(min=1e-12)).clamp(0, 1)
    colours[: len(axes)] = torch.where(high - low > 1e-9, scaled, colours[: len(axes)])
    a, b = colours.float().split([flat[0].shape[1], flat[1].shape[1]], dim=1)
    return a.reshape(3, *first.shape[1:]), b.reshape(3, *second.shape[1:])
