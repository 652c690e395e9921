"""Feature families: an extractor with the intensity recipe, the default step and the search space that suit it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mmreg_lightning.config import CONF_DIR, DEFAULT_FEATURES, check_keys, check_targets, instantiate
from mmreg_lightning.data.learn2reg import Learn2RegDataset
from mmreg_lightning.errors import UserError, check_spacing
from mmreg_lightning.features.checkpoint import TrainedModel, load_checkpoint
from mmreg_lightning.features.fused import FusedFeatures
from mmreg_lightning.features.pretrained import PRETRAINED, find_weights, names_weights, shipped_weights
from mmreg_lightning.features.protocol import FeatureExtractor
from mmreg_lightning.functional.intensity import Recipe, RecipeConfig

FAMILY_KEYS = ("normalisation", "step", "spacing", "space")
"""Keys of a file of conf/features that are of the family; all others are arguments of the extractor."""
UNNAMED = "unnamed"
"""Modality without a name: pictures show it as MR, by percentiles."""


@dataclass
class FamilyConfig:
    """``FAMILY_KEYS`` in a file of conf/features; ``space`` holds ``features.KEY`` and ``spacing`` (mm)."""

    normalisation: RecipeConfig | None = None
    step: dict[str, Any] | None = None
    spacing: Any = None
    space: dict[str, list[Any]] | None = None


@dataclass(frozen=True, eq=False)
class FeatureFamily:
    """Features with all that a registration needs to know of them.

    Attributes:
        name: ``learned`` with a checkpoint, else the name of the configuration.
        config: of the extractor, plain types.
        features: the extractor that ``config`` builds, with trained weights where there is a checkpoint.
        normalisation: intensity recipe of every modality; None is each modality's own.
        step: settings of the demons step where nothing is tuned, by dotted keys below ``solver.step``.
        spacing: of the working grid, mm; None is ``default_spacing`` of each fixed image.
        space: values that a benchmark tries, of ``features.KEY`` and ``spacing``.
        model: of the checkpoint or the shipped weights, if there are any.
    """

    name: str
    config: Mapping[str, Any]
    features: FeatureExtractor
    normalisation: Recipe | None = None
    step: Mapping[str, Any] = field(default_factory=dict)
    spacing: float | Sequence[float] | None = None
    space: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    model: TrainedModel | None = None

    @property
    def checkpoint(self) -> Path | None:
        """File of the trained weights; None without any."""
        return None if self.model is None else self.model.path

    @property
    def modalities(self) -> tuple[str, str] | None:
        """Those that the features are made for; None where they are for any."""
        return None if self.model is None or self.model.general else self.model.modalities

    @property
    def label_names(self) -> dict[int, str]:
        """Organ name of each label id that the checkpoint knows; empty without one."""
        return {} if self.model is None else self.model.label_names

    def recipe(self, modality: str) -> Recipe:
        """Intensity recipe of a modality for the features."""
        recipe = self.normalisation if self.normalisation is not None else self._own_recipe(modality)
        return {**recipe, "clip": False} if getattr(self.features, "unclipped", False) else recipe

    def display(self, modality: str) -> Recipe:
        """The same for pictures and for centres of mass: within the modality's window, clipped."""
        return {**self._own_recipe(modality), "clip": True}

    def variant(self, values: Mapping[str, Any]) -> FeatureFamily:
        """The family with other arguments of its extractor, as ``{"radius": 2}``; itself where there are none."""
        if not values:
            return self
        config = {**self.config, **values}
        return dataclasses.replace(self, config=config, features=instantiate(config))

    def check_modality(self, parameter: str, modality: str) -> str:
        """The modality, spelt as the recipes spell it.

        Raises:
            UserError: the checkpoint does not know it.
        """
        if self.model is None or self.modalities is None:
            return _spelt(modality, self._known_recipes())
        names = [name for name in self.model.hparams["normalisation"] if name in self.model.features.modalities]
        if modality not in names:
            raise UserError(f"{parameter}={modality}: the checkpoint knows only {', '.join(names)}")
        return modality

    def assumed(self, name: str, modality: str) -> list[str]:
        """What is assumed about the intensities of an image, at most one sentence.

        Trained features expect Hounsfield units within a window; hand-crafted ones scale all images alike.

        Args:
            name: of the image, for the sentence.
            modality: see ``check_modality``.
        """
        if self.model is None or self.normalisation is not None or modality in self._known_recipes():
            return []
        what = "its modality is not named" if modality == UNNAMED else f"no intensity recipe is known for {modality}"
        return [
            f"{name}: {what}, so that it is scaled by percentiles as an MR is; a CT has to be named CT, for its "
            "Hounsfield units."
        ]

    def organs(self, dataset: Learn2RegDataset) -> dict[int, str]:
        """Label ids of a data set that count for these features, and their names: all, or the checkpoint's.

        Raises:
            UserError: they are those of a checkpoint that was trained for other modalities or organs.
        """
        if self.model is None or self.model.general:
            return dict(dataset.label_names)
        dataset.check_fits(self.model.path, self.model.modalities, self.label_names)
        return dataset.organs(self.label_names.values())

    def _known_recipes(self) -> Mapping[str, Recipe]:
        own = {} if self.model is None else self.model.hparams["normalisation"]
        return own if self.modalities is not None else {**shipped_normalisation(), **own}

    def _own_recipe(self, modality: str) -> Recipe:
        known = self._known_recipes()
        if self.modalities is not None:
            return known[modality]
        return known.get(_spelt(modality, known), known["MR"])


def family_of_checkpoint(checkpoint: str | Path, space: Mapping[str, Sequence[Any]] | None = None) -> FeatureFamily:
    """The learned features of a checkpoint, with the recipes and the spacing that they were trained with.

    Args:
        checkpoint: of mmreg-train.
        space: see ``FeatureFamily``.

    Raises:
        UserError: the checkpoint cannot be used.
    """
    model = load_checkpoint(checkpoint)
    return FeatureFamily(
        "learned",
        model.hparams["features"],
        model.features,
        spacing=model.hparams["spacing"],
        space=space or {},
        model=model,
    )


def choose_family(features: str | None = None, checkpoint: str | Path | None = None) -> FeatureFamily:
    """The feature family that a command is asked for.

    Args:
        features: ``pretrained`` or another name of shipped weights, a .safetensors file, the name of a file of
            conf/features, or the path of a YAML file of that kind; None is the checkpoint's own features, and
            ``DEFAULT_FEATURES`` without one.
        checkpoint: of mmreg-train. Together with features that have a learned part, as ``fused``, it is this part.

    Raises:
        UserError: the features cannot be used, or have no learned part that a checkpoint could be.
    """
    if features is None:
        return family_of_config(DEFAULT_FEATURES) if checkpoint is None else family_of_checkpoint(checkpoint)
    if checkpoint is not None:
        if not has_learned_part(features):
            raise UserError(
                f"features={features}: cannot be used together with checkpoint={checkpoint}, only features with a "
                "learned part can, as fused"
            )
        return family_of_config(features, learned=str(checkpoint))
    if not names_weights(features):
        return family_of_config(features)
    find_weights(features, "features")
    return family_of_config(features, read_family_config(PRETRAINED), learned=features)


def has_learned_part(features: str) -> bool:
    """Whether features of ``choose_family`` are those of a configuration with a learned part, as ``fused``."""
    return not names_weights(features) and "learned" in read_family_config(features)


def family_of_config(name: str, config: Mapping[str, Any] | None = None, **values: Any) -> FeatureFamily:
    """A feature family without a checkpoint, from its configuration.

    Args:
        name: of the family.
        config: content of a file of conf/features; None is that of ``name``, which may also be the path of a YAML file.
        values: replace entries of the configuration.

    Raises:
        UserError: there is no such configuration, it cannot be read, one of ``FAMILY_KEYS`` has a value that cannot be
            used, or its extractor cannot be imported, does not know an argument or refuses it.
    """
    config = {**(read_family_config(name) if config is None else config), **values}
    own = {key: config.pop(key) for key in FAMILY_KEYS if key in config}
    check_keys(own, FamilyConfig, f"features.{name}")
    if own.get("spacing") is not None:
        check_spacing(f"features.{name}.spacing", own["spacing"])
    if "_target_" not in config:
        raise UserError(f"features.{name}: needs _target_, the class of the extractor, not only {', '.join(config)}")
    empty = [key for key, value in config.items() if value == "???"]
    if empty:
        raise UserError(f"features.{name}.{empty[0]}: must be given")
    given = {key: value for key, value in own.items() if value is not None}
    try:
        check_targets(OmegaConf.create({"features": config}))
        extractor = instantiate(config)
    except UserError as error:
        raise UserError(f"features={name}: {str(error).removeprefix(f'learned={name}: ')}") from error
    if isinstance(extractor, FusedFeatures):
        given = {"spacing": extractor.model.hparams["spacing"], **given, "model": extractor.model}
        if config["learned"] == PRETRAINED:
            config["learned"] = extractor.model.path.stem  # run.yaml must say which
    return FeatureFamily(Path(name).stem, config, extractor, **given)


def read_family_config(name: str) -> dict[str, Any]:
    """Content of a file of conf/features, by its name, or of any YAML file of that kind, by its path.

    Raises:
        UserError: there is no such file, or it is no readable YAML.
    """
    known = sorted(path.stem for path in (CONF_DIR / "features").glob("*.yaml"))
    path = CONF_DIR / "features" / f"{name}.yaml" if name in known else Path(name)
    if not path.is_file():
        weights = f"the weights {', '.join(shipped_weights())}, " if shipped_weights() else ""
        raise UserError(
            f"features={name}: must be one of {', '.join(known)}, {weights}a file of weights (.safetensors), or a YAML "
            "file of that kind"
        )
    try:
        content = OmegaConf.to_container(OmegaConf.load(path))
    except UnicodeDecodeError as error:
        raise UserError(f"features={name}: is no text, as a YAML file is; checkpoint takes a checkpoint") from error
    except (OmegaConfBaseException, yaml.YAMLError, OSError) as error:
        raise UserError(f"features={name}: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise UserError(f"features={name}: must hold keys and values, as conf/features/mind_ssc.yaml does")
    return {str(key): value for key, value in content.items()}


def _spelt(modality: str, known: Mapping[str, Any]) -> str:
    """A modality as it is spelt among known ones; letter case does not matter."""
    return next((name for name in known if name.casefold() == modality.casefold()), modality)


@cache
def shipped_normalisation() -> Mapping[str, Recipe]:
    """Intensity recipe of each modality that the shipped configuration knows; training starts from the same."""
    recipes: dict[str, Recipe] = shipped("data/learn2reg")["normalisation"]
    return recipes


def shipped(name: str) -> Any:
    """A file of the configuration as plain types, its references left as they are."""
    return OmegaConf.to_container(OmegaConf.load(CONF_DIR / f"{name}.yaml"))
