"""What a benchmark compares: a feature family with a solver, or another package."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mmreg_lightning.benchmark.peers.process import run_peer
from mmreg_lightning.config import instantiate
from mmreg_lightning.data.pair import Image, ImageFiles, Pair
from mmreg_lightning.evaluation.fields import read_field
from mmreg_lightning.registration.families import FeatureFamily
from mmreg_lightning.registration.settings import Settings, with_setting
from mmreg_lightning.registration.solve import FeatureMaps, Registration, extract, solve
from mmreg_lightning.runtime import peak_memory_mb, reset_peak_memory

Setting = Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Outcome:
    """One registration by a method.

    Attributes:
        displacement: (1, 3, I, J, K), voxels of the fixed image's RAS+ grid, fixed to moving.
        seconds: by stage; reading the files and scoring are not in it.
        peak_memory_mb: of the process; None where the system does not tell.
        registration: fields and features, of a method of this package.
    """

    displacement: Tensor
    seconds: Mapping[str, float]
    peak_memory_mb: float | None
    registration: Registration | None = None


class FeatureMethod:
    """A feature family with one of the package's solvers.

    Args:
        family: features.
        solver: name and configuration.
        space: values of ``solver.KEY`` to try; the family's own are added.
        memo: keeps features while settings are tried, shared by all solvers of a family; emptied by its owner.
        label_names: organ name of each label id, for reports.
    """

    def __init__(
        self,
        family: FeatureFamily,
        solver: tuple[str, Mapping[str, Any]],
        space: Mapping[str, Sequence[Any]],
        memo: dict[Any, FeatureMaps],
        label_names: Mapping[int, str] | None = None,
    ) -> None:
        self.family = family
        self.name = f"{family.name}+{solver[0]}"
        self.solver_config = solver[1]
        self.space = {**family.space, **space}
        self.memo = memo
        self.label_names = label_names or {}

    def settings(self, files: Pair[ImageFiles], setting: Setting) -> Settings:
        """What registers a pair with a setting; new features are built where the setting changes them."""
        own = {k.removeprefix("features."): v for k, v in setting.items() if k.startswith("features.")}
        config = self.solver(setting)
        return Settings(
            self.family.variant(own),
            instantiate(config),
            config,
            files.fixed.modality,
            files.moving.modality,
            setting.get("spacing", self.family.spacing),
            self.label_names,
        )

    def solver(self, setting: Setting) -> dict[str, Any]:
        """Configuration of the solver with a setting."""
        own = {k.removeprefix("solver."): v for k, v in setting.items() if k.startswith("solver.")}
        return with_setting(self.solver_config, own)

    def __call__(self, files: Pair[ImageFiles], pair: Pair[Image], setting: Setting) -> Outcome:
        """Register ``pair``, which ``files`` holds; keys that ``setting`` lacks have their defaults."""
        watched = reset_peak_memory()
        settings = self.settings(files, setting)
        return _solved(extract(pair, settings), settings, watched)

    def tried(self, files: Pair[ImageFiles], pair: Pair[Image], setting: Setting) -> Outcome:
        """The same, with features from the memo; its seconds and memory mean nothing."""
        settings = self.settings(files, setting)
        key = (files.name, tuple((k, v) for k, v in setting.items() if not k.startswith("solver.")))
        if key not in self.memo:
            self.memo[key] = extract(pair, settings)
        return _solved(self.memo[key], settings, watched=False)


def _solved(maps: FeatureMaps, settings: Settings, watched: bool) -> Outcome:
    found = solve(maps, settings.solver)
    seconds = {**found.seconds, "total": sum(found.seconds.values())}
    return Outcome(found.displacement, seconds, peak_memory_mb() if watched else None, found)


class PeerMethod:
    """Another package, in a process of its own.

    Args:
        name: see ``peers.registry``.
        space: values of its settings to try.
    """

    def __init__(self, name: str, space: Mapping[str, Sequence[Any]]) -> None:
        self.name = name
        self.space = space

    def __call__(self, files: Pair[ImageFiles], pair: Pair[Image], setting: Setting) -> Outcome:
        """Register the files of a pair, see ``FeatureMethod``.

        Raises:
            PeerError: the package failed.
        """
        with tempfile.TemporaryDirectory() as scratch:
            field = Path(scratch) / "field.nii.gz"
            told = run_peer(self.name, files.fixed.image, files.moving.image, field, setting, torch.get_num_threads())
            return Outcome(read_field(field, pair), {"total": told["seconds"]}, told["peak_memory_mb"])

    tried = __call__


Method = FeatureMethod | PeerMethod
"""Registers a pair with a setting. ``name`` is unique in a benchmark, and a file name; ``space`` has values to try."""
