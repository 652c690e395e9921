"""What mmreg-benchmark may be told."""

from __future__ import annotations

import pytest
from hydra import compose, initialize_config_dir

from mmreg_lightning.benchmark.schema import read_benchmark
from mmreg_lightning.config import CONF_DIR
from mmreg_lightning.errors import UserError


def read(*overrides):
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        return read_benchmark(compose("benchmark", overrides=["data.root=x", "output_dir=y", *overrides]))


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["experiment=robustness", "robustness.same_subject_pairs=null", "+robustness.checkpoints={4: a.ckpt}"],
        ["experiment=robustness", "+robustness.settings.mind_ssc={solver.step.alpha: 0.3}"],
        ["features.mind_ssc.space=null", "features.mind_ssc.spacing=[4,4,5]", "report.pairs=2"],
        ["+solvers.demons.overrides=['solver.iterations=2']", "~peers.greedy", "checkpoint=a.ckpt"],
    ],
    ids=str,
)
def test_what_is_known(overrides):
    assert read(*overrides)


@pytest.mark.parametrize(
    ("override", "meant"),
    [
        ("features.mind_ssc.spacings=1", "features.mind_ssc.spacing"),
        ("solvers.demons.override=[a]", "solvers.demons.overrides"),
        ("solvers.demons.spaces={}", "solvers.demons.space"),
        ("peers.greedy.spaces={}", "peers.greedy.space"),
        ("tuning.trails=3", "tuning.trials"),
        ("report.pair=3", "report.pairs"),
        ("data.rot=3", "data.root"),
        ("trials=3", "tuning.trials"),
        ("robustness.percents=3", "robustness.percent"),
        ("robustness.perturbations.noise.level=[0,1]", "robustness.perturbations.noise.levels"),
    ],
)
def test_a_slip_names_what_was_meant(override, meant):
    with pytest.raises(UserError) as caught:
        read("experiment=robustness", f"++{override}")
    assert str(caught.value) == f"{override.partition('=')[0]}: there is no such setting, did you mean {meant}?"


def test_values_of_the_wrong_type():
    with pytest.raises(UserError, match=r"^tuning\.trials=many: must be a whole number$"):
        read("tuning.trials=many")
    with pytest.raises(UserError, match=r"^robustness\.perturbations\.noise\.levels\[1\]=x: must be a number$"):
        read("experiment=robustness", "robustness.perturbations.noise.levels=[0,x]")


@pytest.mark.parametrize(
    ("override", "meant"),
    [
        ("solvers.demons.space={solver.step.alfa: [1]}", "solvers.demons.space.solver.step.alpha"),
        ("solvers.adam.space={solver.refinement.wait: [1]}", "solvers.adam.space.solver.refinement.weight"),
        ("features.mind_ssc.space={features.radii: [1]}", "features.mind_ssc.space.features.radius"),
        ("robustness.settings.mind_ssc={features.radii: 1}", "robustness.settings.mind_ssc.features.radius"),
        ("robustness.settings.mind_ssc={solver.tolerence: 1}", "robustness.settings.mind_ssc.solver.tolerance"),
    ],
)
def test_a_slip_in_a_setting_to_try_names_what_was_meant(override, meant):
    with pytest.raises(UserError, match=f"there is no such setting, did you mean {meant}"):
        read("experiment=robustness", f"++{override}")


@pytest.mark.parametrize(
    "override",
    [
        "solvers.demons.space={step.alpha: [1]}",
        "solvers.demons.space={spacing: [1]}",
        "features.mind_ssc.space={radius: [1]}",
        "features.learned.space={feature.width: [1]}",
        "robustness.settings.mind_ssc={step.alpha: 1}",
    ],
)
def test_a_setting_that_no_part_of_a_method_would_read(override):
    with pytest.raises(
        UserError, match=r"^[a-z_.]+: there is no such setting, did you mean [a-z_.]+\.(solver|features|spacing)\?$"
    ):
        read("experiment=robustness", f"++{override}")


def test_settings_that_the_shipped_solver_leaves_at_their_default():
    assert read("experiment=robustness", "++robustness.settings.mind_ssc={spacing: 4, features.stride: 1}")
    assert read("++features.mind_ssc.space={spacing: [4, 6]}", "++solvers.demons.space={solver.step.max_step: [1]}")
