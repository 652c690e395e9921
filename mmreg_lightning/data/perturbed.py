"""A pair with one thing wrong, as a configuration declares it."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from omegaconf import MISSING, OmegaConf

from mmreg_lightning.config import check_keys
from mmreg_lightning.data import perturbations as change
from mmreg_lightning.data.pair import PairData
from mmreg_lightning.errors import UserError
from mmreg_lightning.geometry.volume import Volume

Changed = Callable[[PairData, float, "Perturbation", np.random.Generator, Mapping[int, str]], PairData]


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
    pair: PairData, perturbation: Perturbation, level: float, case: str, seed: int, label_names: Mapping[int, str]
) -> PairData:
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
    return KINDS[perturbation.name](pair, level, perturbation, rng, label_names)


def _moving_header(function: Callable[[Volume, float, np.random.Generator], Volume]) -> Changed:
    """A change of the moving image's place, of which its labels are part; landmarks are in voxels and stay."""

    def changed(
        pair: PairData, level: float, _: Perturbation, rng: np.random.Generator, __: Mapping[int, str]
    ) -> PairData:
        state = rng.bit_generator.state

        def moved(volume: Volume) -> Volume:
            rng.bit_generator.state = state  # image and labels move alike
            return function(volume, level, rng)

        labels = None if pair.labels is None else (pair.labels[0], moved(pair.labels[1]))
        moving_labels = labels[1] if labels is not None else None
        return dataclasses.replace(pair, moving=moved(pair.moving), labels=labels, moving_labels=moving_labels)

    return changed


def _fixed_intensity(function: Callable[[Volume, float, np.random.Generator], Volume]) -> Changed:
    """A change of the fixed image's (the MR's) intensities."""

    def changed(
        pair: PairData, level: float, _: Perturbation, rng: np.random.Generator, __: Mapping[int, str]
    ) -> PairData:
        return dataclasses.replace(pair, fixed=function(pair.fixed, level, rng))

    return changed


def _cropped(
    pair: PairData, level: float, _: Perturbation, rng: np.random.Generator, __: Mapping[int, str]
) -> PairData:
    """``level`` percent of the fixed image's slices are cut off, a random part of them below, the rest above."""
    slices = pair.fixed.grid.shape[2]
    total = round(slices * level / 100)
    lower = round(total * rng.random())
    upper = total - lower
    labels = None if pair.labels is None else (change.cropped(pair.labels[0], lower, upper), pair.labels[1])
    landmarks = pair.landmarks
    if landmarks is not None:
        seen = (landmarks[0][:, 2] >= lower - 0.5) & (landmarks[0][:, 2] <= slices - upper - 0.5)
        landmarks = (landmarks[0][seen] - [0, 0, lower], landmarks[1][seen]) if seen.any() else None
    return dataclasses.replace(pair, fixed=change.cropped(pair.fixed, lower, upper), labels=labels, landmarks=landmarks)


def _missing_organ(
    pair: PairData, level: float, kind: Perturbation, rng: np.random.Generator, label_names: Mapping[int, str]
) -> PairData:
    """``level`` organs that both images show are taken out of the moving image and of its labels."""
    if pair.labels is None:
        raise UserError("robustness.perturbations.missing_organ: needs label maps")
    shown = set(pair.labels[0].label_ids) & set(pair.labels[1].label_ids)
    ids = [i for i, name in sorted(label_names.items()) if i in shown and (not kind.organs or name in kind.organs)]
    order = rng.permutation(ids)[: int(level)].tolist()
    moving, labels = change.without_organs(pair.moving, pair.labels[1], order)
    return dataclasses.replace(pair, moving=moving, labels=(pair.labels[0], labels), moving_labels=labels)


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
