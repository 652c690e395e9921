"""What a comparison starts from, checked before anything is computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mmreg_lightning.data.learn2reg import Learn2RegDataset, PairRecord
from mmreg_lightning.errors import UserError, positive_int

# In the order in which they are written; results.json says that all registrations are done.
OUTPUTS = ("tuning.json", "pairs", "results.json", "report.html")


@dataclass(frozen=True)
class ComparisonPairs:
    """The pairs of a comparison.

    Attributes:
        tuning: what every feature family is tuned on.
        reported: what the numbers are from.
    """

    tuning: Sequence[PairRecord]
    reported: Sequence[PairRecord]


def select_pairs(dataset: Learn2RegDataset, tune_split: str, tune_pairs: int, report_split: str) -> ComparisonPairs:
    """The pairs to use; for tuning the first ones of two subjects, of one subject where there are no others.

    Raises:
        UserError: a split holds no pairs, a pair of it is not of the data set's two modalities in their roles, an
            image of a used pair has no labels, or ``tune_pairs`` is below 1.
    """
    positive_int("--tune-pairs", tune_pairs)
    for split in (tune_split, report_split):
        if not dataset.pairs[split]:
            raise UserError(f"{dataset.description} lists no pairs of the split {split!r}")
        for pair in dataset.pairs[split]:
            _check_roles(dataset, pair)
    candidates = dataset.pairs[tune_split]
    tuning = ([p for p in candidates if not p.same_subject] or list(candidates))[:tune_pairs]
    selected = ComparisonPairs(tuning, dataset.pairs[report_split])
    for pair in (*selected.tuning, *selected.reported):
        for record in (pair.fixed, pair.moving):
            if record.labels is None:
                raise UserError(f"{record.image}: an image without labels cannot be compared on")
    return selected


def _check_roles(dataset: Learn2RegDataset, pair: PairRecord) -> None:
    for role, record, expected in (
        ("fixed", pair.fixed, dataset.fixed_modality),
        ("moving", pair.moving, dataset.moving_modality),
    ):
        if record.modality != expected:
            raise UserError(
                f"{record.image}: the {role} image of a pair is {record.modality}, not {expected} as "
                f"{dataset.description.name} says"
            )
