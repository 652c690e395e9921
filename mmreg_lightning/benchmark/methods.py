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
Memo = dict[Any, FeatureMaps]
"""Features of one family, by pair and by the values that they depend on."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """One registration by a method.

    Attributes:
        displacement: (1, 3, I, J, K), voxels of the fixed image's RAS+ grid, fixed to moving.
        seconds: by stage, without reading the files and without scoring.
        peak_memory_mb: of the process; None where the system does not report it.
        registration, settings: fields, features and settings, of a method of this package.
    """

    displacement: Tensor
    seconds: Mapping[str, float]
    peak_memory_mb: float | None
    registration: Registration | None = None
    settings: Settings | None = None


class FeatureMethod:
    """A feature family with one of the package's solvers.

    Args:
        family: features.
        solver: name of the solver.
        config: its configuration.
        space: values of ``solver.KEY`` to try, besides the family's own space.
    """

    def __init__(
        self, family: FeatureFamily, solver: str, config: Mapping[str, Any], space: Mapping[str, Sequence[Any]]
    ) -> None:
        self.family = family
        self.name = f"{family.name}+{solver}"
        self.config = config
        self.space = {**family.space, **space}

    def settings(self, files: Pair[ImageFiles], setting: Setting) -> Settings:
        """The settings of a registration; what ``setting`` does not name has its default."""

        features, solver = (
            {key.removeprefix(group): value for key, value in setting.items() if key.startswith(group)}
            for group in ("features.", "solver.")
        )
        config, spacing = with_setting(self.config, solver), setting.get("spacing", self.family.spacing)
        modalities = (files.fixed.modality, files.moving.modality)
        return Settings(self.family.variant(features), instantiate(config), config, *modalities, spacing, {})

    def __call__(
        self, files: Pair[ImageFiles], pair: Pair[Image], setting: Setting, memo: Memo | None = None
    ) -> Outcome:
        """Register a pair.

        Args:
            files: of the pair.
            pair: its images, which may be perturbed.
            setting: values of ``features.KEY``, ``solver.KEY`` and ``spacing`` that differ from the default.
            memo: provides the features where it has them, and keeps new ones; then time and memory are not measured.

        Raises:
            UserError: see ``extract`` and ``solve``.
        """
        watched = memo is None and reset_peak_memory()
        settings = self.settings(files, setting)
        key = (files.name, tuple((k, v) for k, v in setting.items() if not k.startswith("solver.")))
        maps = extract(pair, settings) if memo is None or key not in memo else memo[key]
        if memo is not None:
            memo[key] = maps
        found = solve(maps, settings.solver)
        seconds = {**found.seconds, "total": sum(found.seconds.values())}
        return Outcome(found.displacement, seconds, peak_memory_mb() if watched else None, found, settings)


@dataclass(frozen=True, eq=False)
class PeerMethod:
    """Another package (``peers.registry``), in a process of its own; ``space`` has values of its settings to try."""

    name: str
    space: Mapping[str, Sequence[Any]]

    def __call__(
        self, files: Pair[ImageFiles], pair: Pair[Image], setting: Setting, memo: Memo | None = None
    ) -> Outcome:
        """Register the files of a pair; the arguments are as of ``FeatureMethod``.

        Raises:
            PeerError: the package failed.
        """
        with tempfile.TemporaryDirectory() as scratch:
            field = Path(scratch) / "field.nii.gz"
            told = run_peer(self.name, files.fixed.image, files.moving.image, field, setting, torch.get_num_threads())
            return Outcome(read_field(field, pair), {"total": told["seconds"]}, told["peak_memory_mb"])


Method = FeatureMethod | PeerMethod
"""Registers a pair with a setting. ``name`` is unique in a benchmark and a file name; ``space`` has values to try."""
