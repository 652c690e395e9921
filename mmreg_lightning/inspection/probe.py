"""A linear probe: whether one and the same linear classifier reads the organs off the features of both modalities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Samples:
    """Feature vectors with what lies there.

    Attributes:
        features: (N, C).
        labels: (N,) label ids.
    """

    features: Tensor
    labels: Tensor


def sample_voxels(
    features: Tensor, labels: Tensor, ids: Sequence[int], count: int, generator: torch.Generator
) -> Samples:
    """At most ``count`` voxels of each label, drawn without repetition.

    Args:
        features: (C, I, J, K).
        labels: (I, J, K) on the same grid.
        ids: labels to draw, 0 for the background.
        count: of voxels of each.
        generator: of the draw: the same one draws the same voxels for any features on this grid.
    """
    flat = labels.flatten()
    chosen = []
    for label in ids:
        places = (flat == label).nonzero()[:, 0]
        chosen.append(places[torch.randperm(len(places), generator=generator)[:count]])
    index = torch.cat(chosen)
    return Samples(features.flatten(1)[:, index].T.contiguous(), flat[index])


def joined(samples: Sequence[Samples]) -> Samples:
    """Samples of several images as one set."""
    return Samples(torch.cat([s.features for s in samples]), torch.cat([s.labels for s in samples]))


class LinearProbe:
    """Multinomial logistic regression with equal weight for every label, on standardised features.

    Args:
        samples: to learn from.
        penalty: of the squared weights.
    """

    def __init__(self, samples: Samples, penalty: float = 1e-4) -> None:
        self.ids = samples.labels.unique()
        self.mean = samples.features.double().mean(dim=0)
        self.scale = samples.features.double().std(dim=0).clamp_min(1e-6)
        target = torch.searchsorted(self.ids, samples.labels)
        counts = torch.bincount(target, minlength=len(self.ids)).double()
        x = self._inputs(samples.features)
        # Inference mode or no_grad of a caller must not reach the fit.
        with torch.inference_mode(False), torch.enable_grad():
            weights = torch.zeros(x.shape[1], len(self.ids), dtype=torch.float64, requires_grad=True)
            optimiser = torch.optim.LBFGS([weights], max_iter=200, line_search_fn="strong_wolfe")

            def closure() -> Tensor:
                optimiser.zero_grad()
                loss = F.cross_entropy(x @ weights, target, weight=1 / counts) + penalty * weights[:-1].square().sum()
                loss.backward()
                return loss

            optimiser.step(closure)
        self.weights = weights.detach()

    def predict(self, features: Tensor) -> Tensor:
        """Label ids (N,) of feature vectors (N, C)."""
        return self.ids[(self._inputs(features) @ self.weights).argmax(dim=1)]

    def _inputs(self, features: Tensor) -> Tensor:
        standardised = (features.double() - self.mean) / self.scale
        return F.pad(standardised, (0, 1), value=1.0)


def recalls(predicted: Tensor, truth: Tensor) -> dict[int, float]:
    """The part of each label's samples that is predicted right; their mean is the balanced accuracy.

    Args:
        predicted, truth: (N,) label ids.
    """
    return {int(i): float((predicted[truth == i] == i).double().mean()) for i in truth.unique()}


def balanced_accuracy(by_label: Mapping[int, float]) -> float:
    """Mean of ``recalls``; guessing gives one over the number of labels."""
    return sum(by_label.values()) / len(by_label)
