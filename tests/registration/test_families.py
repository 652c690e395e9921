"""Feature families: from a configuration or a checkpoint to features, recipes and defaults."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mmreg_lightning.data.learn2reg import Learn2RegDataset
from mmreg_lightning.errors import UserError
from mmreg_lightning.features.checkpoint import load_checkpoint
from mmreg_lightning.features.mind import MindFeatures
from mmreg_lightning.registration.families import (
    choose_family,
    family_of_checkpoint,
    family_of_config,
    has_learned_part,
    read_family_config,
    shipped_normalisation,
)
from mmreg_lightning.registration.settings import Options, resolve

INTENSITY = "mmreg_lightning.features.intensity.IntensityFeatures"


def test_without_a_checkpoint_any_modality_has_a_recipe() -> None:
    settings = resolve(Options(fixed_modality="OCT", moving_modality="CT"))
    family = settings.family
    for modality in ("OCT", "CT"):  # MIND-SSC needs no window
        assert family.recipe(modality) == {"kind": "percentile", "low": 1.0, "high": 99.0, "clip": False}
    assert family.display("OCT") == {"kind": "percentile", "low": 1.0, "high": 99.0, "clip": True}
    assert family.display("CT")["kind"] == "window"
    assert family.display("unnamed")["kind"] == "percentile"


def test_without_a_checkpoint_letter_case_of_a_modality_does_not_matter() -> None:
    settings = resolve(Options(fixed_modality="mr", moving_modality="ct"))
    assert (settings.fixed_modality, settings.moving_modality) == ("MR", "CT")
    assert settings.family.display("CT")["kind"] == "window"


def test_a_configuration_is_parted_between_the_extractor_and_the_family() -> None:
    family = family_of_config("mind_ssc")
    assert isinstance(family.features, MindFeatures)
    assert set(family.config) == {"_target_", "radius", "dilation", "stride"}
    assert family.step == {"alpha": 0.4, "regulariser.sigma_field": 1.0}
    assert family.space == {"features.radius": [1, 2], "features.dilation": [1, 2]}
    assert family.spacing is None and family.model is None and family.label_names == {}


def test_values_replace_those_of_the_file() -> None:
    family = family_of_config("mind_ssc", radius=2, spacing=2.5, normalisation=None)
    assert isinstance(family.features, MindFeatures)
    assert (family.features.radius, family.features.dilation, family.spacing) == (2, 2, 2.5)
    assert family.recipe("CT") == shipped_normalisation()["CT"], "none of its own: that of the modality"
    assert family_of_config("mind_ssc").features.radius == 1


def test_a_file_of_ones_own_is_known_by_its_stem(tmp_path: Path) -> None:
    path = tmp_path / "coarse.yaml"
    path.write_text(f"_target_: {INTENSITY}\nstride: 4\nspacing: [3, 3, 5]\n")
    family = family_of_config(str(path))
    assert (family.name, family.spacing) == ("coarse", [3, 3, 5])
    image = torch.zeros(1, 1, 8, 8, 8)
    image[..., :4] = 3.0
    assert family.features(image, "MR")[0, 0, 0, 0].tolist() == [1.0, 0.0], "blocks of four, clipped"


def test_a_variant_has_other_arguments_and_the_same_defaults() -> None:
    family = family_of_config("mind_ssc")
    assert family.variant({}) is family
    other = family.variant({"dilation": 1})
    assert isinstance(other.features, MindFeatures) and isinstance(family.features, MindFeatures)
    assert (other.features.dilation, family.features.dilation) == (1, 2)
    assert other.config == {**family.config, "dilation": 1}
    assert (other.name, other.step, other.normalisation) == (family.name, family.step, family.normalisation)


def test_a_checkpoint_brings_its_recipes_its_spacing_and_its_weights(checkpoint: Path) -> None:
    family = family_of_checkpoint(checkpoint, {"spacing": [2.0, 3.0]})
    assert (family.name, family.spacing, family.checkpoint) == ("learned", 3.0, checkpoint)
    assert family.label_names == {1: "spleen", 7: "aorta"}
    assert family.space == {"spacing": [2.0, 3.0]} and family_of_checkpoint(checkpoint).space == {}
    assert family.recipe("CT") == {"kind": "window", "low": -160.0, "high": 240.0, "clip": False}
    assert family.display("CT") == {"kind": "window", "low": -160.0, "high": 240.0, "clip": True}
    image = torch.rand(1, 1, 32, 32, 32)
    with torch.no_grad():
        expected = load_checkpoint(checkpoint).features(image, "CT")
        assert torch.equal(family.features(image, "CT"), expected) and expected.std() > 0


def test_a_checkpoint_knows_the_modalities_of_its_network(checkpoint: Path) -> None:
    family = family_of_checkpoint(checkpoint)
    assert family.check_modality("fixed_modality", "CT") == "CT"
    for unknown in ("US", "ct"):
        with pytest.raises(UserError, match=f"^fixed_modality={unknown}: the checkpoint knows only CT, MR$"):
            family.check_modality("fixed_modality", unknown)


def test_without_a_checkpoint_an_unknown_modality_stays_as_it_is() -> None:
    family = family_of_config("intensity")
    assert family.check_modality("fixed_modality", "pEt") == "pEt"
    assert family.recipe("pEt") == shipped_normalisation()["MR"]


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"radius": 2, "step": {}}, "features.edges: needs _target_, the class of the extractor, not only radius"),
        ({"_target_": INTENSITY, "stride": "???"}, "features.edges.stride: must be given"),
    ],
)
def test_a_configuration_that_is_not_whole(config: dict[str, Any], expected: str) -> None:
    with pytest.raises(UserError) as error:
        family_of_config("edges", config)
    assert str(error.value) == expected


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("step", 0.4, "step=0.4: must be a mapping"),
        ("space", {"spacing": 3}, "space.spacing=3: must be a list"),
        ("normalisation", "percentile", "normalisation=percentile: must be a mapping"),
        ("normalisation", {"sort": "window"}, "normalisation.sort: there is no such setting, did you mean"),
        ("spacing", -1, "spacing=-1: must be a positive number of millimetres, or three"),
        ("spacing", "abc", "spacing=abc: must be a positive number of millimetres, or three"),
    ],
)
def test_what_the_family_itself_cannot_use(key: str, value: Any, expected: str) -> None:
    with pytest.raises(UserError) as error:
        family_of_config("mind_ssc", **{key: value})
    assert str(error.value).startswith(f"features.mind_ssc.{expected}")


def test_a_name_of_nothing_is_told_what_there_is() -> None:
    with pytest.raises(UserError) as error:
        read_family_config("sift")
    known = "cnn, fused, intensity, labels, mind_ssc, pretrained, unet"
    assert str(error.value).startswith(f"features=sift: must be one of {known}, ")
    assert str(error.value).endswith("a file of weights (.safetensors), or a YAML file of that kind")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("- one\n- two\n", "must hold keys and values, as conf/features/mind_ssc.yaml does"),
        ("stride: [1\n", "while parsing a flow sequence .*my.yaml"),
        ("stride: ${nowhere\n", "no viable alternative at input"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_sentence(text: str, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=f"^features={path}: {expected}") as error:
        read_family_config(str(path))
    assert "\n" not in str(error.value)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package of a user's with an extractor, on the path."""
    (tmp_path / "their_package.py").write_text(
        "class Edges:\n    stride, channels = 1, 1\n\n    def __init__(self, width: int = 8) -> None:\n"
        "        if width < 1:\n            raise ValueError('width must be positive')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "_target_: no_package.Edges",
            "features._target_=no_package.Edges: cannot be imported, ModuleNotFoundError: No module named 'no_package'",
        ),
        (
            "_target_: their_package.Edge",
            "features._target_=their_package.Edge: cannot be imported, AttributeError: module 'their_package' has no "
            "attribute 'Edge'",
        ),
        (
            "_target_: their_package.Edges\nwidht: 8",
            "features.widht: there is no such setting, did you mean features.width?",
        ),
        (
            "_target_: their_package.Edges\nwidth: 0",
            "Error in call to target 'their_package.Edges': ValueError: width must be positive",
        ),
        (
            "_target_: mmreg_lightning.features.mind.MindFeatures\nradius: two",
            "features.radius=two: must be a whole number, 0 or more",
        ),
        (f"_target_: {INTENSITY}\nstride: 0", "features.stride=0: must be a whole number, 1 or more"),
    ],
)
def test_an_extractor_that_cannot_be_built_is_named_with_its_file(
    text: str, expected: str, tmp_path: Path, package: None
) -> None:
    path = tmp_path / "my.yaml"
    path.write_text(text + "\n")
    with pytest.raises(UserError) as error:
        family_of_config(str(path))
    assert str(error.value) == f"features={path}: {expected}"
    path.write_text("_target_: their_package.Edges\nwidth: 1\n")
    assert family_of_config(str(path)).name == "my"


def test_weights_are_features_for_any_modality(weights: Path) -> None:
    family = choose_family(str(weights))
    assert (family.name, family.spacing, family.checkpoint) == ("generalist-1", 12.0, weights)
    assert family.model is not None and family.model.general and family.modalities is None and family.step == {}
    assert family.config["learned"] == str(weights) and family.features.channels == 16
    assert family.check_modality("fixed_modality", "ct") == "CT" and family.check_modality("x", "pEt") == "pEt"
    assert family.recipe("CT") == shipped_normalisation()["CT"] and family.recipe("ct") == family.recipe("CT")
    assert family.recipe("pEt") == family.recipe("MR")
    settings = resolve(Options(features=str(weights)))
    assert settings.fixed_modality == settings.moving_modality == "unnamed"
    assert settings.files() == {"weights": weights}
    assert settings.calibrated()["fixed_modality"] == "unnamed", "recipes depend on it"


def test_what_is_assumed_of_intensities_is_said(weights: Path, trained: Path) -> None:
    family = choose_family(str(weights))
    assert family.assumed("a.nii", "CT") == family.assumed("a.nii", "US") == []
    (unnamed,) = family.assumed("a.nii", "unnamed")
    assert unnamed.startswith("a.nii: its modality is not named, so that it is scaled by percentiles as an MR is")
    assert "no intensity recipe is known for PET" in family.assumed("a.nii", "PET")[0]
    assert choose_family().assumed("a.nii", "unnamed") == [], "MIND-SSC scales all images alike"
    assert choose_family(None, trained).assumed("a.nii", "MR") == []


def test_fused_features_of_weights_and_of_a_checkpoint(weights: Path, trained: Path, tmp_path: Path) -> None:
    path = tmp_path / "both.yaml"
    path.write_text(f"_target_: mmreg_lightning.features.fused.FusedFeatures\nlearned: {weights}\nmind_weight: 2\n")
    family = choose_family(str(path))
    assert (family.name, family.features.channels, family.modalities) == ("both", 28, None)
    assert family.recipe("CT")["clip"] is False, "MIND-SSC looks beyond the window"
    own = choose_family("fused", trained)
    assert (own.name, own.modalities, own.spacing) == ("fused", ("MR", "CT"), 12.0)
    assert own.model is not None and own.checkpoint == trained and own.step == {"alpha": 0.2}
    assert own.config["learned"] == str(trained)
    with pytest.raises(UserError, match="fixed_modality=PET: the checkpoint knows only CT, MR"):
        own.check_modality("fixed_modality", "PET")
    settings = resolve(Options(trained, "fused"))
    assert settings.solver_config["step"]["alpha"] == 0.2 and settings.solver_config["iterations"] == 1
    assert resolve(Options(trained)).solver_config["step"]["alpha"] == 0.1, "that of its training"
    assert own.variant({"mind_weight": 0.0}).features.channels == 16


def test_features_and_a_checkpoint_that_cannot_be_used_together(trained: Path, weights: Path) -> None:
    for name in ("mind_ssc", str(weights), "pretrained"):
        with pytest.raises(UserError, match=f"^features={name}: cannot be used together with checkpoint={trained}, "):
            choose_family(name, trained)
    assert has_learned_part("fused") and not has_learned_part("pretrained") and not has_learned_part("intensity")


def test_shipped_features_that_are_not_there_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="^features=a-1.safetensors: there is no such file$"):
        choose_family("a-1.safetensors")
    (tmp_path / "best.ckpt").write_bytes(b"\x80\x02")
    with pytest.raises(UserError, match="best.ckpt: is no text, as a YAML file is; checkpoint takes a checkpoint$"):
        choose_family(str(tmp_path / "best.ckpt"))


def test_organs_of_a_data_set(weights: Path, trained: Path, phantom: Path) -> None:
    data = Learn2RegDataset.read(phantom)
    assert choose_family(str(weights)).organs(data) == choose_family().organs(data) == data.label_names
    other = replace(data, fixed_modality="US")
    assert choose_family(str(weights)).organs(other) == data.label_names
    with pytest.raises(UserError, match="was trained to register CT to MR"):
        choose_family("fused", trained).organs(other)
