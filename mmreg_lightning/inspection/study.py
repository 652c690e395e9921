"""Measures of a checkpoint's features on held-out images of a data set, beside MIND-SSC and intensity."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mmreg_lightning.config import instantiate
from mmreg_lightning.data.learn2reg import Learn2RegDataset
from mmreg_lightning.data.pair import ImageFiles, Pair
from mmreg_lightning.errors import UserError, positive_int
from mmreg_lightning.features.checkpoint import TrainedModel
from mmreg_lightning.inspection.descent import Aligned, align, descent_rows, displacement_count
from mmreg_lightning.inspection.families import StudiedFamily, make_families
from mmreg_lightning.inspection.invariance import (
    distance_rows,
    image_statistics,
    probe_rows,
    records_of,
    retrieval_rows,
)
from mmreg_lightning.registration.families import FeatureFamily, family_of_checkpoint
from mmreg_lightning.solvers.protocol import step_counter

Row = dict[str, Any]
Progress = Callable[[str, int, int], None]
BACKGROUND = "background"


@dataclass(frozen=True)
class Study:
    """What ``run_study`` found; each list holds the rows of one CSV file.

    Attributes:
        split, probe_split: splits of the tested images and of those that the probe learned from.
        subjects, probe_subjects: how many subjects of each.
        exact: whether the pairs of capture and landscape were aligned by a known displacement.
        distances, probe, landmarks, surfaces, capture, landscape: see ``inspection.invariance`` and
            ``inspection.descent``; ``landmarks`` and ``surfaces`` are rows of retrieval.
        mind_ssc: configuration of MIND-SSC.
    """

    split: str
    probe_split: str
    subjects: int
    probe_subjects: int
    exact: bool
    distances: Sequence[Row]
    probe: Sequence[Row]
    landmarks: Sequence[Row]
    surfaces: Sequence[Row]
    capture: Sequence[Row]
    landscape: Sequence[Row]
    mind_ssc: Mapping[str, Any]


@dataclass(frozen=True)
class StudyPlan:
    """What is to be measured, checked.

    Attributes:
        learned: features of the checkpoint.
        dataset: that it fits.
        names: organ of each label id.
        split, probe_split: names of splits.
        pairs, probe_pairs: of them.
        subjects: at most so many of each split.
        descent_pairs: at most so many pairs for capture range and landscape.
        seed: of all draws.
    """

    learned: FeatureFamily
    dataset: Learn2RegDataset
    names: dict[int, str]
    split: str
    probe_split: str
    pairs: Sequence[Pair[ImageFiles]]
    probe_pairs: Sequence[Pair[ImageFiles]]
    subjects: int
    descent_pairs: int
    seed: int

    @property
    def model(self) -> TrainedModel:
        """Of the checkpoint."""
        assert self.learned.model is not None, "checked by plan_study"
        return self.learned.model


def plan_study(
    checkpoint: str | Path,
    root: str | Path,
    *,
    split: str = "test",
    probe_split: str = "val",
    subjects: int = 10,
    descent_pairs: int = 3,
    seed: int = 0,
) -> StudyPlan:
    """Check what ``run_study`` needs.

    Args:
        checkpoint: of mmreg-train.
        root: data set in Learn2Reg layout.
        split: what is measured.
        probe_split: what the linear probe learns from.
        subjects, descent_pairs, seed: see ``StudyPlan``.

    Raises:
        UserError: checkpoint or data cannot be used, or not together, a split is empty or both are the same, or an
            image has no labels.
    """
    learned = family_of_checkpoint(checkpoint)
    assert learned.model is not None, "a checkpoint has a model"
    dataset = Learn2RegDataset.read(root)
    dataset.check_fits(checkpoint, learned.model.modalities, learned.label_names)
    if split == probe_split:
        raise UserError(f"probe_split={probe_split}: must be another split than split, or nothing is held out")
    for name in (split, probe_split):
        if not dataset.pairs[name]:
            raise UserError(f"{dataset.description} lists no pairs of the split {name!r}")
        dataset.check_labelled(dataset.pairs[name])
    return StudyPlan(
        learned,
        dataset,
        dataset.organs(learned.label_names.values()),
        split,
        probe_split,
        dataset.pairs[split],
        dataset.pairs[probe_split],
        positive_int("subjects", subjects),
        positive_int("descent_pairs", descent_pairs),
        seed,
    )


def run_study(plan: StudyPlan, cache_dir: str | Path, progress: Progress | None = None) -> Study:
    """Measure all families on the same voxels, points and displacements.

    Args:
        plan: of ``plan_study``.
        cache_dir: where prepared arrays are kept.
        progress: told of each image, pair and displacement.
    """
    families = make_families(plan.learned, plan.dataset, cache_dir)
    modalities = plan.model.modalities
    distances, probe = [], []
    records = {
        part: {m: records_of(pairs, m, plan.subjects) for m in modalities}
        for part, pairs in (("test", plan.pairs), ("train", plan.probe_pairs))
    }
    done = _counter(progress, "images", len(families) * sum(len(r) for p in records.values() for r in p.values()))
    ids = list(plan.names)
    for family in families:
        found = {
            part: {m: image_statistics(family, r, ids, plan.seed, done) for m, r in own.items()}
            for part, own in records.items()
        }
        test = found["test"]
        distances += distance_rows(family.name, test[modalities[0]], test[modalities[1]], plan.names)
        probe += probe_rows(family.name, found["train"], test, {0: BACKGROUND, **plan.names})
    own, other = ([p for p in plan.pairs if p.same_subject is same] for same in (True, False))
    landmarks, surfaces = _retrieval(plan, families, own, other or own, progress)
    aligned = [_aligned(plan, pair, families[0]) for pair in (own or other)[: plan.descent_pairs]]
    done = _counter(progress, "displacements", displacement_count() * len(aligned))
    capture: list[Row] = []
    landscape: list[Row] = []
    for number, pair in enumerate(aligned):
        rows, energies = descent_rows(
            pair, families, plan.model.hparams["descent"]["levels"], plan.names, plan.seed + number, done
        )
        capture += rows
        landscape += energies
    return Study(
        plan.split,
        plan.probe_split,
        max(map(len, records["test"].values())),
        max(map(len, records["train"].values())),
        all(pair.exact for pair in aligned),
        distances,
        probe,
        landmarks,
        surfaces,
        _averaged(capture, "cosine"),
        _averaged(landscape, "energy"),
        next(f.family.config for f in families if f.name == "mind_ssc"),
    )


def _retrieval(
    plan: StudyPlan,
    families: Sequence[StudiedFamily],
    own: Sequence[Pair[ImageFiles]],
    ring: Sequence[Pair[ImageFiles]],
    progress: Progress | None,
) -> tuple[list[Row], list[Row]]:
    landmarks: list[Row] = []
    surfaces: list[Row] = []
    own, ring = own[: plan.subjects], ring[: plan.subjects]
    done = _counter(progress, "retrieval", len(own) + len(ring))
    for pairs, rows, known in ((own, landmarks, True), (ring, surfaces, False)):
        for pair in pairs:
            rows += retrieval_rows(families, pair, plan.names, plan.seed, known)
            done()
    return landmarks, surfaces


def _aligned(plan: StudyPlan, pair: Pair[ImageFiles], family: StudiedFamily) -> Aligned:
    solver = instantiate(plan.model.hparams["solver"])
    return align(plan.dataset, pair, family, solver, list(plan.names))


def retrieval_summary(rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    """Median error and the share of points within 10 mm of each family, and how many points there were."""
    summary = {}
    for family in dict.fromkeys(row["family"] for row in rows):
        errors = [row["error_mm"] for row in rows if row["family"] == family]
        within = sum(e <= 10 for e in errors) / len(errors)
        summary[family] = {"median_mm": statistics.median(errors), "within_10_mm": within, "points": len(errors)}
    return summary


def retrieval_by_organ(rows: Sequence[Row]) -> list[Row]:
    """Median error of each family and organ, mm."""
    keys = dict.fromkeys((row["family"], row["organ"]) for row in rows)
    table = []
    for family, organ in keys:
        errors = [row["error_mm"] for row in rows if (row["family"], row["organ"]) == (family, organ)]
        table.append({"family": family, "organ": organ, "median_mm": statistics.median(errors), "points": len(errors)})
    return table


def study_summary(study: Study) -> dict[str, Any]:
    """The numbers that features.json holds beside the rows of the CSV files."""
    facts = {key: getattr(study, key) for key in ("split", "probe_split", "subjects", "probe_subjects")}
    ratios = {row["family"]: row["ratio"] for row in study.distances if row["organ"] == "all"}
    accuracies: dict[str, dict[str, float]] = {}
    for row in study.probe:
        if row["organ"] == "all":
            way = f"{row['trained_on']} to {row['tested_on']}"
            accuracies.setdefault(row["family"], {})[way] = row["recall"]
    return {
        **facts,
        "aligned_by": "known displacement" if study.exact else "registration of the true labels",
        "distance_ratio": ratios,
        "probe_balanced_accuracy": accuracies,
        "retrieval_landmarks": retrieval_summary(study.landmarks),
        "retrieval_surfaces": retrieval_summary(study.surfaces),
        "capture_cosine": capture_means(study.capture),
        "landscape": _basins(study.landscape),
    }


def capture_means(rows: Sequence[Row]) -> list[Row]:
    """Mean over organs for each family, kind, level and size."""
    return _averaged([{k: v for k, v in row.items() if k != "organ"} for row in rows], "cosine")


def _basins(rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    basins = {}
    for family in dict.fromkeys(row["family"] for row in rows):
        own = [row for row in rows if row["family"] == family]
        lowest = statistics.fmean(abs(row["lowest_mm"]) for row in own)
        basins[family] = {"lowest_off_by_mm": lowest, "basin_mm": statistics.fmean(r["basin_mm"] for r in own)}
    return basins


def _averaged(rows: Sequence[Row], *values: str) -> list[Row]:
    """Means over all rows that agree in everything but the values and the case."""
    measured = (*values, "lowest_mm", "basin_mm")
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(v for k, v in row.items() if k not in (*measured, "case")), []).append(row)
    averaged = []
    for group in groups.values():
        mean = {key: statistics.fmean(row[key] for row in group) for key in measured if key in group[0]}
        averaged.append({**{k: v for k, v in group[0].items() if k != "case"}, **mean})
    return averaged


def _counter(progress: Progress | None, what: str, total: int) -> Callable[[], None]:
    return step_counter(total, None if progress is None else partial(progress, what))
