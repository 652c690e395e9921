"""Measures of learned features on held-out images of a data set, beside MIND-SSC and intensity."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import fmean, median
from typing import Any

import torch

from mmreg_lightning.config import instantiate
from mmreg_lightning.data.learn2reg import Learn2RegDataset
from mmreg_lightning.data.pair import ImageFiles, Pair
from mmreg_lightning.errors import UserError, positive_int
from mmreg_lightning.geometry.working import default_spacing
from mmreg_lightning.inspection.descent import DISPLACEMENTS, DescentMeasures, align, displacements
from mmreg_lightning.inspection.distances import distance_rows, majority_labels, organ_moments
from mmreg_lightning.inspection.families import StudiedFamily, label_family
from mmreg_lightning.inspection.probe import Samples, probe_rows, require_scikit_learn, sample_voxels
from mmreg_lightning.inspection.retrieval import retrieval_rows
from mmreg_lightning.inspection.rows import Row, averaged, grouped
from mmreg_lightning.io.images import read_image
from mmreg_lightning.registration.families import choose_family
from mmreg_lightning.solvers.protocol import step_counter

Progress = Callable[[str, int, int], None]
"""Called with (what is measured, done, in all)."""
Tables = Mapping[str, Sequence[Row]]
"""Rows of each measure: distances, probe, retrieval_landmarks, retrieval_surfaces, capture, landscape."""
PROBE_VOXELS = 100  # of each organ in each image


@dataclass
class Study:
    """A measurement of learned features on a data set; all inputs are checked at its creation.

    Attributes:
        checkpoint: of mmreg-train; None with ``features``.
        root: data set in Learn2Reg layout.
        split: split of the images that are measured.
        probe_split: split of the images that the linear probe is trained on.
        subjects: maximum number of subjects of each split.
        descent_pairs: maximum number of pairs for capture range and landscape.
        seed: of all random draws.
        features: see ``choose_family``; they must be trained ones. Where their spacing is open, it is that of a
            registration to the first fixed image.

    Raises:
        UserError: features or data set cannot be used, or not together; a split is empty, or both are the same; an
            image has no labels; a count is below 1; or scikit-learn is not installed.
    """

    checkpoint: str | Path | None
    root: str | Path
    split: str = "test"
    probe_split: str = "val"
    subjects: int = 10
    descent_pairs: int = 3
    seed: int = 0
    features: str | None = None

    def __post_init__(self) -> None:
        learned = choose_family(self.features, self.checkpoint)
        if learned.model is None:
            raise UserError(f"features={learned.name}: are not trained, and what is measured are trained features")
        self.model = learned.model
        self.dataset = dataset = Learn2RegDataset.read(self.root)
        self.names = learned.organs(dataset)
        self.modalities = (dataset.fixed_modality, dataset.moving_modality)
        if self.split == self.probe_split:
            raise UserError(f"probe_split={self.probe_split}: must differ from split, or no image is held out")
        splits = (self.split, self.probe_split)
        self.pairs = {name: dataset.check_labelled(name, ("probe_split", "split")) for name in splits}
        for pairs in self.pairs.values():
            dataset.check_roles(pairs)
        positive_int("subjects", self.subjects)
        positive_int("descent_pairs", self.descent_pairs)
        require_scikit_learn()
        first = self.pairs[self.split][0].fixed.image
        self.learned = replace(learned, spacing=learned.spacing or default_spacing(read_image(first).grid))

    def run(self, families: Sequence[StudiedFamily], progress: Progress | None = None) -> tuple[Tables, dict[str, Any]]:
        """Measure all families on the same voxels, points and displacements.

        Args:
            families: of ``make_families``.
            progress: called after each image, pair and displacement.

        Returns:
            The tables, and their summary, which features.json holds.

        Raises:
            UserError: a file cannot be used.
        """

        def counter(what: str, total: int) -> Callable[[], None]:
            return step_counter(total, None if progress is None else partial(progress, what))

        pairs = self.pairs[self.split]
        own, other = ([p for p in pairs if p.same_subject is same] for same in (True, False))
        retrieval = {"landmarks": own[: self.subjects], "surfaces": (other or own)[: self.subjects]}
        aligned = (own or other)[: self.descent_pairs]
        images = {
            (split, modality): images_of(self.pairs[split], modality, self.subjects)
            for split in (self.split, self.probe_split)
            for modality in self.modalities
        }
        tables: dict[str, list[Row]] = {"distances": [], "probe": []}
        done = counter("images", len(families) * sum(map(len, images.values())))
        for family in families:
            distances, probe = self._invariance(family, images, done)
            tables["distances"] += distances
            tables["probe"] += probe
        done = counter("retrieval", sum(map(len, retrieval.values())))
        for kind, chosen in retrieval.items():
            rows = tables[f"retrieval_{kind}"] = []
            for pair in chosen:
                rows += retrieval_rows(families, pair, self.names, self.seed, landmarks=kind == "landmarks")
                done()
        capture, landscape, exact = self._descent(
            families, aligned, counter("displacements", DISPLACEMENTS * len(aligned))
        )
        tables["capture"] = averaged(capture, "case", ["cosine"])
        tables["landscape"] = averaged(landscape, "case", ["energy", "lowest_mm", "basin_mm"])
        facts = {
            "split": self.split,
            "probe_split": self.probe_split,
            "subjects": max(len(images[self.split, modality]) for modality in self.modalities),
            "probe_subjects": max(len(images[self.probe_split, modality]) for modality in self.modalities),
            "aligned_by": "known displacement" if exact else "registration of the true labels",
        }
        return tables, {**facts, **summarise(tables)}

    @torch.no_grad()
    def _invariance(
        self,
        family: StudiedFamily,
        images: Mapping[tuple[str, str], Sequence[ImageFiles]],
        done: Callable[[], None],
    ) -> tuple[list[Row], list[Row]]:
        """Rows of distances and of the probe, from the images by split and modality."""
        names = {0: "background", **self.names}
        moments, samples = {}, {}
        for key, records in images.items():
            found = []
            for number, files in enumerate(records):
                prepared = family.cache.image(files)
                features = family(prepared, files.modality)[0]
                labels = majority_labels(prepared.labels, list(self.names), family.features.stride)
                # All families get the same voxels.
                generator = torch.Generator().manual_seed(self.seed + number)
                drawn = sample_voxels(features, labels, list(names), PROBE_VOXELS, generator)
                found.append((organ_moments(features, labels, list(names)), drawn))
                done()
            moments[key] = torch.stack([m for m, _ in found]).sum(dim=0)
            samples[key] = Samples(*map(torch.cat, zip(*(s for _, s in found), strict=True)))
        fixed, moving = (moments[self.split, modality] for modality in self.modalities)
        train, test = (
            {modality: samples[split, modality] for modality in self.modalities}
            for split in (self.probe_split, self.split)
        )
        return distance_rows(family.name, fixed, moving, names), probe_rows(family.name, train, test, names)

    def _descent(
        self, families: Sequence[StudiedFamily], pairs: Sequence[Pair[ImageFiles]], done: Callable[[], None]
    ) -> tuple[list[Row], list[Row], bool]:
        """Rows of capture range and landscape, and whether the displacement of all pairs is known."""
        labels = label_family(families[0], list(self.names))
        solver, levels = instantiate(self.model.hparams["solver"]), self.model.hparams["descent"]["levels"]
        capture: list[Row] = []
        landscape: list[Row] = []
        exact = True
        for number, pair in enumerate(pairs):
            truth, known = align(self.dataset, pair, labels, solver)
            exact = exact and known
            measures = DescentMeasures(pair, truth, [*families, labels], self.names)
            landscape += measures.landscape_rows()
            for displacement in displacements(truth.shape[2:], measures.stride, self.seed + number):
                capture += measures.capture_rows(displacement, levels)
                done()
        return capture, landscape, exact


def images_of(pairs: Sequence[Pair[ImageFiles]], modality: str, count: int) -> list[ImageFiles]:
    """The images of one modality in a split, each once, of the first ``count`` subjects."""
    images = {files.image: files for pair in pairs for files in pair if files.modality == modality}
    return sorted(images.values(), key=lambda files: files.subject)[:count]


def summarise(tables: Tables) -> dict[str, Any]:
    """The most important numbers of each table, by family."""
    accuracies: dict[str, dict[str, float]] = {}
    for row in tables["probe"]:
        if row["organ"] == "all":
            accuracies.setdefault(row["family"], {})[f"{row['trained_on']} to {row['tested_on']}"] = row["recall"]
    return {
        "distance_ratio": {row["family"]: row["ratio"] for row in tables["distances"] if row["organ"] == "all"},
        "probe_balanced_accuracy": accuracies,
        **{name: _retrieval_summary(tables[name]) for name in ("retrieval_landmarks", "retrieval_surfaces")},
        "capture_cosine": averaged(tables["capture"], "organ", ["cosine"]),
        "landscape": {
            family: {
                "lowest_off_by_mm": fmean(abs(row["lowest_mm"]) for row in rows),
                "basin_mm": fmean(row["basin_mm"] for row in rows),
            }
            for (family,), rows in grouped(tables["landscape"], "family").items()
        },
    }


def _retrieval_summary(rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    """Median error, fraction of points with an error up to 10 mm, and number of points of each family."""
    summary = {}
    for (family,), own in grouped(rows, "family").items():
        errors = [row["error_mm"] for row in own]
        within = fmean(e <= 10 for e in errors)
        summary[family] = {"median_mm": median(errors), "within_10_mm": within, "points": len(errors)}
    return summary


def retrieval_by_organ(rows: Sequence[Row]) -> list[Row]:
    """Median error of each family and organ, mm."""
    return [
        {"family": family, "organ": organ, "median_mm": median(row["error_mm"] for row in own), "points": len(own)}
        for (family, organ), own in grouped(rows, "family", "organ").items()
    ]
