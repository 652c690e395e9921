"""A pair with one thing wrong, as a configuration declares it."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from omegaconf import MISSING, OmegaConf

from mmreg_lightning.config import check_keys
from mmreg_lightning.data import perturbations as change
from mmreg_lightning.data.pair import Image, Pair
from mmreg_lightning.errors import UserError
from mmreg_lightning.geometry.volume import Volume

Changed = Callable[[Pair[Image], float, np.random.Generator, Sequence[int]], Pair[Image]]
"""Of a pair, a level, the random state, and the ids of the organs that may be taken out."""


@dataclass(frozen=True)
class Perturbation:
    """One kind of change with its levels.

    Attributes:
        name: one of ``KINDS``.
        levels: ascending, the first one 0: nothing changes.
        unit: of the levels, for axes.
        title: for axes, in words.
        organs: names that ``missing_organ`` draws from.
    """

    name: str
    levels: Sequence[float]
    unit: str
    title: str
    organs: Sequence[str] = ()


@dataclass
class PerturbationConfig:
    """What a configuration says of one kind, see ``Perturbation``."""

    title: str = MISSING
    unit: str = MISSING
    levels: list[float] = MISSING
    organs: list[str] | None = None


def read_perturbations(config: Mapping[str, Mapping[str, Any]]) -> list[Perturbation]:
    """The perturbations of a configuration (conf/robustness/default.yaml).

    Raises:
        UserError: one is unknown, has an unknown key or lacks one, or has levels that are not 0 and ascending
            numbers above it.
    """
    found = []
    for name, options in config.items():
        key = f"robustness.perturbations.{name}"
        if name not in KINDS:
            raise UserError(f"{key}: must be one of {', '.join(KINDS)}")
        known = check_keys(options, PerturbationConfig, key)
        lacking = OmegaConf.missing_keys(known)
        if lacking:
            raise UserError(f"{key}: needs {min(lacking)}")
        levels = options["levels"]
        if known.levels != levels or len(levels) < 2 or levels[0] != 0 or sorted(set(levels)) != levels:
            raise UserError(f"{key}.levels={levels}: must be 0 and then rising numbers")
        found.append(Perturbation(name, levels, options["unit"], options["title"], options.get("organs") or ()))
    return found


def perturb(
    pair: Pair[Image], perturbation: Perturbation, level: float, case: str, seed: int, label_names: Mapping[int, str]
) -> Pair[Image]:
    """The pair with the change of a level; at level 0 the pair itself.

    What is random (a direction, a contrast, which organs) depends on seed, case and kind alone: the levels of a case
    differ in strength only, and every method sees the same images.

    Args:
        pair: images with labels, landmarks or neither.
        perturbation: kind of change.
        level: of it.
        case: name of the pair.
        seed: of the experiment.
        label_names: organ name of each label id.
    """
    if level == 0:
        return pair
    rng = np.random.default_rng([seed, zlib.crc32(case.encode()), zlib.crc32(perturbation.name.encode())])
    wanted = perturbation.organs
    ids = [i for i, name in sorted(label_names.items()) if not wanted or name in wanted]
    return KINDS[perturbation.name](pair, level, rng, ids)


def _moving_header(function: Callable[[Volume, float, np.random.Generator], Volume]) -> Changed:
    """A change of the moving image's place, of which its labels are part; landmarks are in voxels and stay."""

    def changed(pair: Pair[Image], level: float, rng: np.random.Generator, ids: Sequence[int]) -> Pair[Image]:
        state = rng.bit_generator.state

        def moved(volume: Volume | None) -> Volume | None:
            rng.bit_generator.state = state  # all move alike
            return None if volume is None else function(volume, level, rng)

        parts: dict[str, Any] = {part: moved(getattr(pair.moving, part)) for part in ("volume", "labels", "mask")}
        return Pair(pair.fixed, dataclasses.replace(pair.moving, **parts))

    return changed


def _fixed_intensity(function: Callable[[Volume, float, np.random.Generator], Volume]) -> Changed:
    """A change of the fixed image's (the MR's) intensities."""

    def changed(pair: Pair[Image], level: float, rng: np.random.Generator, ids: Sequence[int]) -> Pair[Image]:
        return Pair(dataclasses.replace(pair.fixed, volume=function(pair.fixed.volume, level, rng)), pair.moving)

    return changed


def _cropped(pair: Pair[Image], level: float, rng: np.random.Generator, ids: Sequence[int]) -> Pair[Image]:
    """``level`` percent of the fixed image's slices are cut off, a random part of them below, the rest above."""
    fixed, moving = pair
    slices = fixed.volume.grid.shape[2]
    total = round(slices * level / 100)
    lower = round(total * rng.random())
    upper = total - lower
    given = {part: getattr(fixed, part) for part in ("volume", "labels", "mask")}
    parts: dict[str, Any] = {
        part: None if volume is None else change.cropped(volume, lower, upper) for part, volume in given.items()
    }
    marks: list[NDArray[np.float64] | None] = [fixed.landmarks, moving.landmarks]
    if fixed.landmarks is not None and moving.landmarks is not None:
        seen = (fixed.landmarks[:, 2] >= lower - 0.5) & (fixed.landmarks[:, 2] <= slices - upper - 0.5)
        marks = [fixed.landmarks[seen] - [0, 0, lower], moving.landmarks[seen]] if seen.any() else [None, None]
    return Pair(
        dataclasses.replace(fixed, **parts, landmarks=marks[0]), dataclasses.replace(moving, landmarks=marks[1])
    )


def _missing_organ(pair: Pair[Image], level: float, rng: np.random.Generator, ids: Sequence[int]) -> Pair[Image]:
    """``level`` organs that both images show are taken out of the moving image and of its labels."""
    fixed, moving = pair
    if fixed.labels is None or moving.labels is None:
        raise UserError("robustness.perturbations.missing_organ: needs label maps")
    shown = set(fixed.labels.label_ids) & set(moving.labels.label_ids)
    gone = rng.permutation([i for i in ids if i in shown])[: int(level)].tolist()
    volume, labels = change.without_organs(moving.volume, moving.labels, gone)
    return Pair(fixed, dataclasses.replace(moving, volume=volume, labels=labels))


KINDS: Mapping[str, Changed] = {
    "shift": _moving_header(change.shifted),
    "rotation": _moving_header(change.rotated),
    "gamma": _fixed_intensity(change.with_gamma),
    "contrast": _fixed_intensity(change.with_contrast),
    "bias": _fixed_intensity(change.with_bias),
    "noise": _fixed_intensity(change.with_noise),
    "thickness": _fixed_intensity(lambda volume, level, _: change.with_thick_slices(volume, level)),
    "crop": _cropped,
    "missing_organ": _missing_organ,
}
"""Every kind of change, by the name that a configuration gives it."""
