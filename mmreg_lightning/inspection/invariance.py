"""Modality invariance over the held-out images of a data set: distances, linear probe, retrieval."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mmreg_lightning.data.pair import ImageFiles, Pair
from mmreg_lightning.functional.resize import resize
from mmreg_lightning.geometry.frames import transform_points
from mmreg_lightning.geometry.working import working_grid
from mmreg_lightning.inspection.distances import Moments, organ_distances, organ_moments
from mmreg_lightning.inspection.effect_size import majority_labels
from mmreg_lightning.inspection.families import StudiedFamily
from mmreg_lightning.inspection.probe import LinearProbe, Samples, balanced_accuracy, joined, recalls, sample_voxels
from mmreg_lightning.inspection.retrieval import best_matches, sample_features, surface_distance, surface_points
from mmreg_lightning.io.images import read_image
from mmreg_lightning.io.points import read_point_table

Row = dict[str, Any]
PROBE_VOXELS = 100  # of each organ in each image
SURFACE_POINTS = 25  # of each organ in each pair
WINDOW_MM = 40.0


@dataclass
class ImageStatistics:
    """What is kept of the images of one split and modality.

    Attributes:
        moments: of each organ, over all images.
        samples: voxels for the probe, an entry an image.
    """

    moments: dict[int, Moments] = field(default_factory=dict)
    samples: list[Samples] = field(default_factory=list)


def records_of(pairs: Sequence[Pair[ImageFiles]], modality: str, count: int) -> list[ImageFiles]:
    """The images of one modality in a split, each once, of the first ``count`` subjects."""
    images = {r.image: r for p in pairs for r in p if r.modality == modality}
    return sorted(images.values(), key=lambda record: record.subject)[:count]


def image_statistics(
    family: StudiedFamily, records: Sequence[ImageFiles], ids: Sequence[int], seed: int, done: Callable[[], None]
) -> ImageStatistics:
    """Moments and probe samples of images; every family gets the same voxels.

    Args:
        family: the features.
        records: images of one modality, with labels.
        ids: organs.
        seed: of the draw.
        done: called after each image.
    """
    statistics = ImageStatistics()
    for number, record in enumerate(records):
        features, prepared = family.of_image(record)
        labels = majority_labels(prepared.labels, ids, family.features.stride)
        for organ, moments in organ_moments(features, labels, [0, *ids]).items():
            known = statistics.moments.get(organ)
            statistics.moments[organ] = moments if known is None else known + moments
        generator = torch.Generator().manual_seed(seed + number)
        statistics.samples.append(sample_voxels(features, labels, [0, *ids], PROBE_VOXELS, generator))
        done()
    return statistics


def distance_rows(family: str, first: ImageStatistics, second: ImageStatistics, names: dict[int, str]) -> list[Row]:
    """Distances of each organ, and their means as the row ``all``; the background is one of the other organs."""

    def row(organ: str, same: float, other: float, ratio: float) -> Row:
        return {"family": family, "organ": organ} | {
            "between_modalities": same,
            "between_organs": other,
            "ratio": ratio,
        }

    found = {i: d for i, d in organ_distances(first.moments, second.moments).items() if i in names}
    values = [(d.between_modalities, d.between_organs, d.ratio) for d in found.values()]
    means = [_mean(column) for column in zip(*values, strict=True)]
    rows = [row(names[i], *own) for i, own in zip(found, values, strict=True)]
    return [*rows, row("all", *means)] if rows else []


def probe_rows(
    family: str,
    train: dict[str, ImageStatistics],
    test: dict[str, ImageStatistics],
    names: dict[int, str],
) -> list[Row]:
    """Recall of each organ, and the balanced accuracy as the row ``all``, for each modality to learn from and to test.

    Args:
        family: its name.
        train, test: by modality, of different subjects.
        names: of the labels, 0 included.
    """
    rows: list[Row] = []
    for source, taught in train.items():
        probe = LinearProbe(joined(taught.samples))
        for target, asked in test.items():
            samples = joined(asked.samples)
            by_label = recalls(probe.predict(samples.features), samples.labels)
            ways = {"family": family, "trained_on": source, "tested_on": target}
            rows += [{**ways, "organ": names[i], "recall": value} for i, value in by_label.items()]
            rows.append({**ways, "organ": "all", "recall": balanced_accuracy(by_label)})
    return rows


@torch.no_grad()
def retrieval_rows(
    families: Sequence[StudiedFamily], pair: Pair[ImageFiles], names: dict[int, str], seed: int, landmarks: bool
) -> list[Row]:
    """Errors of the best matches of points on organ surfaces: a row a family and point, all of the same points.

    Args:
        families: to compare; a row ``before`` says how far off a point is that stays where it is.
        pair: fixed and moving image.
        names: organ of each label id.
        seed: of the draw.
        landmarks: True takes the landmarks within a feature voxel of an organ's surface, whose counterparts are known.
            False draws points on each organ's surface and measures how far from the same organ's surface the best match
            lies.
    """
    fixed, moving = families[0].cache.pair(pair)
    grid = working_grid(read_image(pair.fixed.image).grid, families[0].cache.spacing)
    spacing = grid.spacing.tolist()
    ids = [i for i in names if bool((fixed.labels == i).any()) and bool((moving.labels == i).any())]
    if landmarks:
        points, partners, organs = _landmarks(pair, grid.affine, fixed.labels[0], ids, spacing, families[0])
    else:
        points, organs = _surface(fixed.labels[0], ids, seed)
    if len(points) == 0:
        return []
    matches: dict[str, Tensor] = {"before": points.round().long() if not landmarks else points}
    for family in families:
        f, m = family.of_pair(pair)
        # Matches are sought on the working grid: half a feature voxel would be lost otherwise.
        shape = fixed.image.shape[1:]
        f, m = (resize(x[None], shape)[0] for x in (f, m))
        matches[family.name] = best_matches(sample_features(f, points), m, points, spacing, WINDOW_MM)
    distances = {} if landmarks else {i: surface_distance(moving.labels[0], [i], spacing) for i in ids}
    rows: list[Row] = []
    for name, found in matches.items():
        if landmarks:
            errors = ((found - partners) * torch.tensor(spacing)).norm(dim=1).tolist()
        else:
            errors = [float(distances[i][tuple(p)]) for i, p in zip(organs, found.tolist(), strict=True)]
        rows += [
            {"family": name, "case": pair.name, "organ": names[i], "error_mm": e}
            for i, e in zip(organs, errors, strict=True)
        ]
    return rows


def _surface(labels: Tensor, ids: Sequence[int], seed: int) -> tuple[Tensor, list[int]]:
    generator = torch.Generator().manual_seed(seed)
    drawn = [surface_points(labels, i, SURFACE_POINTS, generator) for i in ids]
    return torch.cat(drawn) if drawn else torch.empty(0, 3), [i for i, p in zip(ids, drawn, strict=True) for _ in p]


def _landmarks(
    pair: Pair[ImageFiles],
    affine: NDArray[np.float64],
    labels: Tensor,
    ids: Sequence[int],
    spacing: Sequence[float],
    family: StudiedFamily,
) -> tuple[Tensor, Tensor, list[int]]:
    """Landmarks near a surface and their counterparts, in working voxels, and the organ whose surface is nearest."""
    if pair.fixed.landmarks is None or pair.moving.landmarks is None or not pair.same_subject or not ids:
        return torch.empty(0, 3), torch.empty(0, 3), []
    to_working = np.linalg.inv(affine)
    both = []
    for record in pair:
        assert record.landmarks is not None
        volume = read_image(record.image)
        voxels = volume.native.points_to_canonical(read_point_table(record.landmarks).coordinates)
        both.append(transform_points(to_working @ volume.grid.affine, voxels))
    nearest = np.rint(both[0]).astype(int).clip(0, np.array(labels.shape) - 1)
    away = np.stack([surface_distance(labels, [i], spacing)[tuple(nearest.T)] for i in ids])
    near = away.min(axis=0) <= family.features.stride * max(spacing)
    points, partners = (torch.from_numpy(p[near]).float() for p in both)
    return points, partners, [ids[n] for n in away.argmin(axis=0)[near]]


def _mean(values: Sequence[float]) -> float:
    known = [v for v in values if not math.isnan(v)]
    return sum(known) / len(known) if known else math.nan
