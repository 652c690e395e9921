"""What a benchmark compares: a feature family with a solver, or another package."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from mmreg_lightning.benchmark.peers.process import run_peer
from mmreg_lightning.benchmark.tuning import with_setting
from mmreg_lightning.config import instantiate
from mmreg_lightning.data.learn2reg import PairRecord
from mmreg_lightning.data.pair import PairData
from mmreg_lightning.evaluation.fields import read_field
from mmreg_lightning.features.protocol import FeatureExtractor
from mmreg_lightning.functional.intensity import Recipe
from mmreg_lightning.registration.settings import default_spacing
from mmreg_lightning.registration.solve import FeaturePair, extract_features, solve_pair
from mmreg_lightning.runtime import peak_memory_mb, reset_peak_memory

Setting = Mapping[str, Any]


@dataclass(frozen=True)
class Registered:
    """One registration.

    Attributes:
        displacement: (1, 3, I, J, K), voxels of the fixed image's RAS+ grid, fixed to moving.
        seconds: by stage; reading the files and scoring are not in it.
        peak_memory_mb: of the process; None where the system does not tell.
    """

    displacement: Tensor
    seconds: Mapping[str, float]
    peak_memory_mb: float | None


class Method(Protocol):
    """Registers a pair with a setting.

    Attributes:
        name: unique in the benchmark; a file name, too.
        space: values of each key of a setting.
    """

    name: str
    space: Mapping[str, Sequence[Any]]

    def __call__(self, pair: PairRecord, data: PairData, setting: Setting) -> Registered:
        """Register ``pair``, whose files ``data`` holds; keys that ``setting`` lacks have their defaults."""
        ...


@dataclass(frozen=True)
class FeatureFamily:
    """Features with their intensity recipes and working spacing.

    Attributes:
        name: of the family.
        config: of the features; ``features`` is what it builds, loaded weights included.
        normalisation: intensity recipe of each modality.
        spacing: working spacing, mm; None is ``default_spacing`` of each fixed image.
        space: values of ``features.KEY`` and ``spacing`` to try.
    """

    name: str
    config: Mapping[str, Any]
    features: FeatureExtractor
    normalisation: Mapping[str, Recipe]
    spacing: float | Sequence[float] | None
    space: Mapping[str, Sequence[Any]]

    def extract(self, pair: PairRecord, data: PairData, setting: Setting) -> FeaturePair:
        """Features of a pair; new ones are built where the setting changes them."""
        own = {k.removeprefix("features."): v for k, v in setting.items() if k.startswith("features.")}
        return extract_features(
            data.fixed,
            data.moving,
            features=instantiate({**self.config, **own}) if own else self.features,
            spacing=setting.get("spacing", self.spacing) or default_spacing(data.fixed.grid),
            fixed_modality=pair.fixed.modality,
            moving_modality=pair.moving.modality,
            normalisation=self.normalisation,
        )


class FeatureMethod:
    """A feature family with one of the package's solvers.

    Args:
        family: features.
        solver: name and configuration.
        space: values of ``solver.KEY`` to try; the family's own are added.
        memo: keeps features while settings are tried, shared by all solvers of a family; emptied by its owner.
    """

    def __init__(
        self,
        family: FeatureFamily,
        solver: tuple[str, Mapping[str, Any]],
        space: Mapping[str, Sequence[Any]],
        memo: dict[Any, FeaturePair],
    ) -> None:
        self.family = family
        self.name = f"{family.name}+{solver[0]}"
        self.solver_config = solver[1]
        self.space = {**family.space, **space}
        self.memo = memo

    def __call__(self, pair: PairRecord, data: PairData, setting: Setting) -> Registered:
        """See ``Method``."""
        watched = reset_peak_memory()
        features = self.family.extract(pair, data, setting)
        return self._solve(features, setting, watched)

    def tried(self, pair: PairRecord, data: PairData, setting: Setting) -> Registered:
        """The same, with features from the memo; its seconds and memory mean nothing."""
        family = tuple((key, value) for key, value in setting.items() if not key.startswith("solver."))
        key = (pair.name, family)
        if key not in self.memo:
            self.memo[key] = self.family.extract(pair, data, setting)
        return self._solve(self.memo[key], setting, watched=False)

    def _solve(self, features: FeaturePair, setting: Setting, watched: bool) -> Registered:
        own = {k.removeprefix("solver."): v for k, v in setting.items() if k.startswith("solver.")}
        found = solve_pair(features, instantiate(with_setting(self.solver_config, own)))
        seconds = {**found.seconds, "total": sum(found.seconds.values())}
        return Registered(found.displacement, seconds, peak_memory_mb() if watched else None)


class PeerMethod:
    """Another package, in a process of its own.

    Args:
        name: see ``peers.registry``.
        space: values of its settings to try.
    """

    def __init__(self, name: str, space: Mapping[str, Sequence[Any]]) -> None:
        self.name = name
        self.space = space

    def __call__(self, pair: PairRecord, data: PairData, setting: Setting) -> Registered:
        """See ``Method``.

        Raises:
            PeerError: the package failed.
        """
        with tempfile.TemporaryDirectory() as scratch:
            field = Path(scratch) / "field.nii.gz"
            told = run_peer(self.name, pair.fixed.image, pair.moving.image, field, setting, torch.get_num_threads())
            return Registered(read_field(field, data), {"total": told["seconds"]}, told["peak_memory_mb"])

    tried = __call__
