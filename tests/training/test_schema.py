"""Every shipped choice of mmreg-train is known, and a slip in any group is refused."""

from __future__ import annotations

import pytest
from hydra import compose, initialize_config_dir

from mmreg_lightning.config import CONF_DIR
from mmreg_lightning.errors import UserError
from mmreg_lightning.training.schema import read_training

NOT_OURS = {
    "robustness": {"default"},
    "features": {"mind_ssc", "intensity", "labels", "pretrained", "fused"},
    "experiment": {"robustness"},
    "sweep": {"optuna"},
}  # mmreg-benchmark's; an extra's; features that are hand-crafted or trained already
CHOICES = sorted(
    f"{path.parent.name}={path.stem}"
    for path in CONF_DIR.glob("*/*.yaml")
    if path.stem not in NOT_OURS.get(path.parent.name, ())
)


def read(*overrides):
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        # Label maps have no root.
        root = [] if {"data=synthetic", "experiment=generalist"} & set(overrides) else ["data.root=x"]
        return read_training(compose("train", overrides=[*root, "output_dir=y", *overrides]))


@pytest.mark.parametrize("choice", CHOICES)
def test_what_is_shipped_is_known(choice):
    assert read(choice.replace("callbacks=", "callbacks=[default,").replace("]", "") + "]" * ("callbacks=" in choice))


@pytest.mark.parametrize(
    "overrides",
    [
        ["logger=wandb", "+logger.wandb.tags=[a]", "+logger.wandb.entity=me"],
        ["data.augmentation=null", "callbacks.pictures=null"],
        ["+data.normalisation.PET={kind: percentile, low: 1, high: 99}"],
        [
            "+callbacks.mine._target_=pytorch_lightning.callbacks.LearningRateMonitor",
            "+callbacks.mine.log_momentum=true",
        ],
        ["optimizer._target_=torch.optim.SGD", "+optimizer.momentum=0.9", "+trainer.min_steps=1"],
        ["data.spacing=[6,6,8]", "solver=convex_adam", "solver.refinement.weight=1"],
    ],
    ids=str,
)
def test_what_a_user_may_add(overrides):
    assert read(*overrides)


@pytest.mark.parametrize(
    ("override", "meant"),
    [
        ("training.warm_up=0", "training.warmup"),
        ("optimiser.lr=0.1", "optimizer"),
        ("max_steps=3", "trainer.max_steps"),
        ("trainer.max_step=3", "trainer.max_steps"),
        ("data.normalisation.CT.hi=300", "data.normalisation.CT.high"),
        ("data.augmentation.degree=1", "data.augmentation.degrees"),
        ("data.patchsize=8", "data.patch_size"),
        ("features.widhts=8", "features.widths"),
        ("descent.unrolled=1", "descent.unrolled_steps"),
        ("descent.step.alfa=1", "descent.step.alpha"),
        ("descent.start_states.label=1", "descent.start_states.labels"),
        ("regulariser.sigma=1", "regulariser.sigma_field"),
        ("targets.sigmas=1", "targets.sigma"),
        ("loss.magnitud=1", "loss.magnitude"),
        ("optimizer.learning_rate=1", "optimizer.lr"),
        ("solver.tolerence=1", "solver.tolerance"),
        ("logger.csv.save_dirs=a", "logger.csv.save_dir"),
        ("callbacks.checkpoint.moniter=a", "callbacks.checkpoint.monitor"),
        ("callbacks.progress.leaf=a", "callbacks.progress.leave"),
        ("seeds=1", "seed"),
    ],
)
def test_a_slip_in_a_group_names_what_was_meant(override, meant):
    with pytest.raises(UserError) as caught:
        read(f"++{override}")
    key = override.partition("=")[0]
    wrong = "optimiser" if key.startswith("optimiser") else key
    if meant == "optimizer.lr":  # no word is near enough to be promised
        assert str(caught.value).startswith(f"{wrong}: there is no such setting, did you mean optimizer.")
    else:
        assert str(caught.value) == f"{wrong}: there is no such setting, did you mean {meant}?"


@pytest.mark.parametrize(
    ("overrides", "key"),
    [
        (["solver=convex_adam", "++solver.refinement.iteration=1"], "solver.refinement.iterations"),
        (["logger=wandb", "++logger.wandb.ofline=true"], "logger.wandb.offline"),
        (["logger=wandb", "++logger.wandb.tag=[a]"], "logger.wandb.tags"),
        (["callbacks=[default,ema]", "++callbacks.ema.decai=1"], "callbacks.ema.decay"),
    ],
    ids=str,
)
def test_slips_in_nested_targets_and_keywords_that_are_passed_on(overrides, key):
    with pytest.raises(UserError, match=f"did you mean {key}"):
        read(*overrides)


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("seed=abc", "seed=abc: must be a whole number"),
        ("training.warmup=abc", "training.warmup=abc: must be a number"),
        ("data.normalisation.CT=3", "data.normalisation.CT=3: must be a mapping"),
        ("descent.levels=[a]", "descent.levels[0]=a: must be a whole number"),
    ],
)
def test_values_of_the_wrong_type(override, sentence):
    with pytest.raises(UserError) as caught:
        read(override)
    assert str(caught.value) == sentence


def test_a_group_of_a_user_that_lacks_a_key():
    with pytest.raises(UserError, match=r"^training\.organ_weight: has no value$"):
        read("~training.organ_weight")


def test_hand_crafted_features_cannot_be_trained():
    with pytest.raises(UserError, match=r"MindFeatures: hand-crafted features cannot be trained, only networks"):
        read("features=mind_ssc")
