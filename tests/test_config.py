"""Objects from configuration, and what the user reads when one cannot be built."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import pytest
from omegaconf import MISSING, OmegaConf

from mmreg_lightning.config import CONF_DIR, arguments_of, check_keys, instantiate, read_config
from mmreg_lightning.errors import UserError


def test_configuration_folder():
    assert CONF_DIR.is_absolute()
    assert CONF_DIR.name == "conf" and CONF_DIR.is_dir()


def test_builds_the_target():
    config = OmegaConf.create({"_target_": "fractions.Fraction", "numerator": 3})
    assert instantiate(config, denominator=4) == Fraction(3, 4)


@pytest.mark.parametrize(
    ("solver", "words"),
    [
        ({"_target_": "nowhere.Solver"}, ["nowhere.Solver", "No module named", "solver"]),
        ({"_target_": "fractions.Fraction", "speed": 1}, ["fractions.Fraction", "'speed'", "key solver"]),
        ({"_target_": "math.sqrt", "_args_": [-1]}, ["math.sqrt", "ValueError", "key solver"]),
        ({"_target_": "math.pi"}, ["Expected a callable", "key solver"]),
        ({"_target_": "math.sqrt", "_args_": ["${missing}"]}, ["missing", "not found"]),
        ({"speed": 1}, ["{'speed': 1}", "needs _target_"]),
    ],
)
def test_failure_is_one_line_that_names_target_and_cause(solver, words):
    with pytest.raises(UserError) as caught:
        instantiate(OmegaConf.create({"solver": solver}).solver)
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in words), message


def test_error_of_the_user_keeps_its_sentence():
    image = {"_target_": "torch.zeros", "_args_": [1, 6, 6, 6]}
    config = OmegaConf.create({"features": {"_target_": "mmreg_lightning.functional.mind.mind_ssc", "image": image}})
    with pytest.raises(UserError, match=r"^mind_ssc needs .* not \(1, 6, 6, 6\) \(configuration key features\)$"):
        instantiate(config.features)


@dataclass
class Part:
    speed: float = MISSING
    name: str | None = None


@dataclass
class Whole:
    part: Part = MISSING
    built: Any = MISSING
    parts: dict[str, Part] = field(default_factory=dict)
    counts: list[int] = field(default_factory=list)
    lists: dict[str, list[Any]] = field(default_factory=dict)


GOOD = {"part": {"speed": 1}, "built": {"_target_": "fractions.Fraction", "numerator": "${part.speed}"}}


def test_values_stay_as_they_are_and_references_are_resolved():
    config = OmegaConf.create(GOOD)
    assert read_config(config, Whole) == {
        "part": {"speed": 1},
        "built": {"_target_": "fractions.Fraction", "numerator": 1},
    }
    assert isinstance(read_config(config, Whole)["part"]["speed"], int), "a checksum of the settings depends on it"


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"part": {"sped": 2}}, "part.sped: there is no such setting, did you mean part.speed?"),
        (
            {"parts": {"a": {"name": "b", "spd": 2}}},
            "parts.a.spd: there is no such setting, did you mean parts.a.speed?",
        ),
        ({"buit": 1}, "buit: there is no such setting, did you mean built?"),
        ({"numerators": 1}, "numerators: there is no such setting, did you mean built.numerator?"),
        ({"xyz": {"speed": 1}}, "xyz: there is no such setting, did you mean "),
        ({"built": {"dominator": 1}}, "built.dominator: there is no such setting, did you mean built.denominator?"),
        (
            {"built": {"numerator": [{"_target_": "fractions.Fraction", "numeratr": 1}]}},
            "built.numerator[0].numeratr: there is no such setting, did you mean built.numerator[0].numerator?",
        ),
        ({"part": {"speed": "fast"}}, "part.speed=fast: must be a number"),
        ({"part": {"speed": None}}, "part.speed=null: must be a number"),
        ({"parts": {"a": 3}}, "parts.a=3: must be a mapping"),
        ({"counts": [1, 2.5]}, "counts[1]=2.5: must be a whole number"),
        ({"counts": 1}, "counts=1: must be a list"),
        ({"lists": {"step.alpha": 1}}, "lists.step.alpha=1: must be a list"),
        ({"parts": {"a": {"name": "b"}}}, "parts.a.speed: has no value"),
        ({"part": {"name": "${nowhere}"}}, "part.name: Interpolation key 'nowhere' not found"),
        (
            {"built": {"_target_": "nowhere.Solver"}},
            "built._target_=nowhere.Solver: cannot be imported, Module",
        ),
        ({"built": {"_target_": "math.pi"}}, "built._target_=math.pi: must be a class or function"),
        (
            {"experiment": {"part": {"speed": 2}}},
            "experiment: the keys of the file that experiment=NAME names landed under 'experiment.', where they set "
            "nothing, because it lacks the line '# @package _global_' at its top",
        ),
    ],
)
def test_what_is_no_setting_is_one_sentence(more, sentence):
    with pytest.raises(UserError) as caught:
        read_config(OmegaConf.merge(GOOD, more), Whole)
    assert str(caught.value).startswith(sentence) and "\n" not in str(caught.value)


@pytest.mark.parametrize("part", [{"speed": "???"}, {}])
def test_a_mandatory_value(part):
    with pytest.raises(UserError, match=r"^part\.speed: has no value$"):
        read_config(OmegaConf.create({**GOOD, "part": part}), Whole)


class Base:
    def __init__(self, width=1, **kwargs):
        pass


class Middle(Base):
    config_mappings = {"recipes": dict[str, Part]}

    def __init__(self, recipes, depth=1, **kwargs):
        super().__init__(**kwargs)


class Closed(Middle):
    pass


class OpenEnd(Base):
    def __init__(self, **kwargs):
        pass


class End(Middle):
    def __init__(self, length, *args, **options):
        super().__init__(*args, **options)


class Empty:
    pass


class Narrow(Base):
    def __init__(self, own=1):
        super().__init__(width=2)


def arguments(target):
    schema = arguments_of(target)
    return None if schema is None else [name for name in OmegaConf.structured(schema) if name[0] != "_"]


def test_the_arguments_of_a_target():
    assert arguments(Empty) == [] and arguments(Narrow) == ["own"]
    assert arguments(Fraction) == ["numerator", "denominator"], "of __new__"
    assert arguments(lambda a, *b, c=1: None) == ["a", "c"]
    for anything in (Base, Middle, Closed, OpenEnd, End, dict, lambda **options: None):
        assert arguments(anything) is None, "who takes any keyword can be told any"


def test_keywords_that_are_passed_on_are_those_of_the_base_class():
    from pytorch_lightning import Trainer

    from mmreg_lightning.training.callbacks import AveragedWeights, EpochProgress
    from mmreg_lightning.training.tracking.tracked_run import TrackedRun

    assert {"offline", "save_dir", "project", "tags", "entity"} <= set(arguments(TrackedRun))
    assert {"decay", "use_buffers", "multi_avg_fn"} <= set(arguments(AveragedWeights))
    assert {"leave", "theme"} <= set(arguments(EpochProgress)) and "max_steps" in arguments(Trainer)


def test_what_a_mapping_holds_is_known_where_its_class_says_so():
    class Known(Middle):
        def __init__(self, recipes, depth=1):
            pass

    schema = arguments_of(Known)
    check_keys({"recipes": {"CT": {"speed": 1.5}}}, schema, "data")
    with pytest.raises(UserError, match=r"^data\.recipes\.CT\.sped: .* did you mean data\.recipes\.CT\.speed\?$"):
        check_keys({"recipes": {"CT": {"sped": 1.5}}}, schema, "data")
