"""Objects from configuration, and what the user reads when one cannot be built."""

from __future__ import annotations

from fractions import Fraction

import pytest
from omegaconf import OmegaConf

from mmreg_lightning.config import CONF_DIR, instantiate
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
