"""Linear probe: can one linear classifier read the organs from the features of both modalities?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from mmreg_lightning.errors import UserError
from mmreg_lightning.inspection.rows import Row

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline


class Samples(NamedTuple):
    """Feature vectors (N, C) and the label ids (N,) at their places."""

    features: Tensor
    labels: Tensor


def sample_voxels(
    features: Tensor, labels: Tensor, ids: Sequence[int], count: int, generator: torch.Generator
) -> Samples:
    """Draw at most ``count`` voxels of each label without repetition.

    Args:
        features: (C, I, J, K).
        labels: (I, J, K) on the same grid.
        ids: labels to draw; 0 is the background.
        count: number of voxels of each label.
        generator: with the same state it draws the same voxels for any features on this grid.
    """
    flat = labels.flatten()
    places = [(flat == label).nonzero()[:, 0] for label in ids]
    index = torch.cat([p[torch.randperm(len(p), generator=generator)[:count]] for p in places])
    return Samples(features.flatten(1)[:, index].T.contiguous(), flat[index])


def require_scikit_learn() -> None:
    """Check that scikit-learn can be imported.

    Raises:
        UserError: it is not installed.
    """
    try:
        import sklearn  # noqa: F401
    except ImportError as error:
        raise UserError(
            "the linear probe needs scikit-learn of the extra inspection: pip install 'mmreg-lightning[inspection]'"
        ) from error


def fit_probe(samples: Samples, penalty: float = 1e-4) -> Pipeline:
    """Fit multinomial logistic regression with equal weight for every label to standardised features.

    The loss is ``mean_over_labels(mean_over_samples(-log p(label))) + penalty |W|^2``; the intercept has no penalty.

    Args:
        samples: training samples of at least two labels.
        penalty: factor of the squared weights.

    Returns:
        A fitted scikit-learn pipeline: ``predict`` maps an array (N, C) to label ids (N,).

    Raises:
        UserError: scikit-learn is not installed.
    """
    require_scikit_learn()
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    # scikit-learn minimises C * (sum of the weighted losses) + |W|^2 / 2, where balanced weights sum up to N. For two
    # labels it has one weight vector, the difference of the two of the multinomial model, which halves the penalty.
    halves = 2 if len(samples.labels.unique()) > 2 else 1
    # Newton steps: few weights, and the line search of the default (lbfgs) fails now and then at this tolerance.
    strength = 1 / (halves * penalty * len(samples.labels))
    model = LogisticRegression(C=strength, class_weight="balanced", tol=1e-8, solver="newton-cholesky")
    return make_pipeline(StandardScaler(), model).fit(samples.features.double().numpy(), samples.labels.numpy())


def recalls(predicted: Tensor, truth: Tensor) -> dict[int, float]:
    """Fraction of each label's samples that is predicted correctly, from label ids (N,)."""
    return {int(i): float((predicted[truth == i] == i).double().mean()) for i in truth.unique()}


def probe_rows(
    family: str, train: Mapping[str, Samples], test: Mapping[str, Samples], names: Mapping[int, str]
) -> list[Row]:
    """Recall of each label for each modality to train on and to test on; the organ ``all`` is the balanced accuracy.

    Args:
        family: name of the features.
        train, test: samples by modality, of different subjects.
        names: of the labels, 0 included.

    Raises:
        UserError: scikit-learn is not installed.
    """
    rows: list[Row] = []
    for source, known in train.items():
        probe = fit_probe(known)
        for target, asked in test.items():
            predicted = torch.from_numpy(probe.predict(asked.features.double().numpy()))
            by_label = recalls(predicted, asked.labels)
            common = {"family": family, "trained_on": source, "tested_on": target}
            rows += [{**common, "organ": names[i], "recall": recall} for i, recall in by_label.items()]
            rows.append({**common, "organ": "all", "recall": fmean(by_label.values())})
    return rows
