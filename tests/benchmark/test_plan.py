"""From a configuration to methods and pairs."""

from __future__ import annotations

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from mmreg_lightning.benchmark.plan import Case, demons_space, make_family, make_plan
from mmreg_lightning.benchmark.tuning import settings_grid
from mmreg_lightning.config import CONF_DIR
from mmreg_lightning.data.learn2reg import Learn2RegDataset
from mmreg_lightning.data.perturbed import Perturbation
from mmreg_lightning.errors import UserError
from mmreg_lightning.registration.families import family_of_config
from mmreg_lightning.registration.settings import solver_config, with_setting


@pytest.fixture(scope="module")
def dataset(phantom):
    return Learn2RegDataset.read(phantom)


def test_shipped_configuration_names_what_there_is(pairs_phantom):

    with initialize_config_dir(version_base="1.3", config_dir=str(CONF_DIR)):
        config = compose("benchmark", overrides=[f"data.root={pairs_phantom}", "output_dir=x"])
    settings = OmegaConf.to_container(config, resolve=True)
    del settings["features"]["learned"]
    settings["peers"] = {}
    plan = make_plan(settings)
    assert [m.name for m in plan.methods] == [
        f"{f}+{s}" for f in ("mind_ssc", "intensity") for s in ("demons", "adam", "convex_adam")
    ]
    for name, solver in settings["solvers"].items():
        base = solver_config(name, family_of_config("mind_ssc"))
        for key, values in (solver["space"] or {}).items():
            changed = with_setting(base, {key.removeprefix("solver."): values[0]})
            assert str(changed).count(":") == str(base).count(":"), f"{key} is no setting of {name}"
    with pytest.raises(UserError, match="features.learned needs one"):
        make_family("learned", {}, None, plan.dataset)


def test_label_ids_that_are_left_open_are_the_organs_of_the_data_set(dataset):
    options = {"_target_": "mmreg_lightning.features.labels.LabelFeatures", "stride": 2}
    family = make_family("labels", {**options, "ids": None}, None, dataset)
    assert family.features.ids == sorted(dataset.label_names) and family.features.channels == len(dataset.label_names)
    assert make_family("labels", {**options, "ids": [2]}, None, dataset).features.ids == [2]
    with pytest.raises(UserError, match="features.labels.ids=null: must list"):
        family_of_config("labels")


def test_a_case_has_its_change(dataset):
    files = dataset.pairs["val"][0]
    assert Case(files).kind == "none"
    case = Case(files, Perturbation("shift", [0, 30], "mm", ""), 30)
    pair = files.read()
    moved = case.changed(pair, 1, dataset.label_names)
    offset = moved.moving.volume.grid.affine - pair.moving.volume.grid.affine
    assert case.kind == "shift" and float((offset**2).sum() ** 0.5) == pytest.approx(30)
    assert Case(files).changed(pair, 1, dataset.label_names) is pair


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("GaussianRegulariser", "step.regulariser.sigma_field"),
        ("DiffusionRegulariser", "step.regulariser.weight"),
        ("NoRegulariser", "iterations"),
    ],
)
def test_every_regulariser_gets_as_many_settings(name, key):
    target = f"mmreg_lightning.descent.regularisers.{name}"
    mind = family_of_config("mind_ssc")
    config = solver_config("demons", mind, [f"solver.step.regulariser={{_target_: {target}}}"])
    space = demons_space(config)
    assert list(space) == ["solver.step.alpha", f"solver.{key}"]
    assert len(settings_grid(space)) == 12


def test_what_cannot_be_tuned_is_refused():
    mind = family_of_config("mind_ssc")
    config = solver_config("demons", mind)
    with pytest.raises(UserError, match="solver._target_=my.Solver"):
        demons_space({**config, "_target_": "my.Solver"})
    with pytest.raises(UserError, match="regulariser none: a search space"):
        demons_space({**config, "step": {}})
