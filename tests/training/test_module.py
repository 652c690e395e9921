"""The module as the shipped configuration composes it, shrunk: phases, gradients, checkpoints."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from torch.utils.data import DataLoader

from mmreg_lightning.config import CONF_DIR
from mmreg_lightning.data.datamodule import RegistrationDataModule
from mmreg_lightning.errors import UserError
from mmreg_lightning.functional.labels import IGNORED
from mmreg_lightning.functional.resize import pool
from mmreg_lightning.training.module import DescentModule, learning_rate_share

SHRUNK = {
    "unet": ["features.widths=[8,8]"],
    "cnn": ["features.width=8", "features.depth=1"],
}
TINY = ["features.channels=4", "descent.levels=[2,1]", "solver.levels=[2,1]", "solver.iterations=2"]
DATA = {
    "modalities": ["MR", "CT"],
    "label_names": {1: "liver", 2: "spleen"},
    "normalisation": {
        "MR": {"kind": "percentile", "low": 1.0, "high": 99.0},
        "CT": {"kind": "window", "low": -160.0, "high": 240.0},
    },
    "spacing": 4.0,
}
GROUPS = ("features", "descent", "loss", "training", "optimizer", "solver")
DESCENT = "mmreg_lightning.descent"


def choices(group):
    return sorted(path.stem for path in (CONF_DIR / group).glob("*.yaml"))


def settings(*overrides, features="unet"):
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF_DIR)):
        config = compose("train", overrides=[f"features={features}", *SHRUNK[features], *TINY, *overrides])
    return {group: OmegaConf.to_container(config[group], resolve=True) for group in GROUPS}


def build(*overrides, features="unet", **changes):
    torch.manual_seed(0)
    return DescentModule(**{**settings(*overrides, features=features), **DATA, **changes})


def pair():
    """An image with two balls, and the same shifted, with other contrast."""
    grid = torch.stack(torch.meshgrid(*[torch.arange(16.0)] * 3, indexing="ij"))

    def ball(centre, radius):
        return (grid - torch.tensor(centre).view(3, 1, 1, 1)).norm(dim=0) < radius

    def image(shift, values):
        labels = torch.zeros(1, 16, 16, 16, dtype=torch.long)
        labels[0][ball([5.0 + shift, 5.0, 6.0], 4)] = 1
        labels[0][ball([10.0 + shift, 11.0, 9.0], 3.5)] = 2
        return torch.tensor(values)[labels], labels

    fixed, fixed_labels = image(0.0, [0.1, 0.5, 0.9])
    moving, moving_labels = image(2.0, [0.5, 0.9, 0.2])
    return {
        "fixed": fixed,
        "moving": moving,
        "fixed_labels": fixed_labels,
        "moving_labels": moving_labels,
        "inside": torch.ones_like(fixed),
        "displacement": torch.tensor([2.0, 0.0, 0.0]).view(3, 1, 1, 1).expand(3, 16, 16, 16).contiguous(),
    }


class Recorder(pl.Callback):
    """Names of what each step logged, and its loss."""

    def __init__(self):
        self.steps = []

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        trainer.callback_metrics.clear()

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        self.steps.append({**trainer.callback_metrics, "loss": outputs["loss"].detach()})


def fit(module, steps, folder, ckpt_path=None, validate=False):
    recorder = Recorder()
    torch.manual_seed(0)
    trainer = pl.Trainer(
        accelerator="cpu",
        max_steps=steps,
        max_epochs=-1,
        logger=False,
        callbacks=[recorder],
        default_root_dir=folder,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        limit_val_batches=1 if validate else 0,
    )
    loader = DataLoader([pair()])
    trainer.fit(module, loader, loader, ckpt_path=ckpt_path, weights_only=True)
    return trainer, recorder.steps


def finite_step(module, folder):
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    _, steps = fit(module, 1, folder)
    assert torch.isfinite(steps[0]["loss"])
    assert any(not torch.equal(before[name], p) for name, p in module.named_parameters())


@pytest.mark.parametrize("features", SHRUNK)
@pytest.mark.parametrize("training", choices("training"))
def test_every_training_of_every_network(features, training, tmp_path):
    finite_step(build(f"training={training}", features=features), tmp_path)


@pytest.mark.parametrize("loss", choices("loss"))
def test_every_loss(loss, tmp_path):
    finite_step(build(f"loss={loss}", "training=paper"), tmp_path)


@pytest.mark.parametrize("name", ["GaussianRegulariser", "DiffusionRegulariser", "NoRegulariser"])
def test_every_regulariser(name, tmp_path):
    descent = settings()["descent"]
    descent["step"]["regulariser"] = {"_target_": f"{DESCENT}.regularisers.{name}"}
    finite_step(build("training=paper", descent=descent), tmp_path)


@pytest.mark.parametrize("name", ["OneHotTargets", "SignedDistanceTargets"])
def test_every_target(name, tmp_path):
    descent = settings()["descent"]
    descent["targets"] = {"_target_": f"{DESCENT}.targets.{name}"}
    finite_step(build("training=paper", descent=descent), tmp_path)


def test_warm_up_learns_from_organs_alone_then_from_the_descent(tmp_path):
    module = build(training={"warmup": 0.5, "organ_weight": 0.0, "descent_weight": 1.0})
    _, steps = fit(module, 4, tmp_path)
    organs = ["train/organ_loss" in step for step in steps]
    descent = ["train/descent_loss" in step for step in steps]
    assert organs == [True, True, False, False]
    assert descent == [False, False, True, True]


def test_organ_loss_goes_on_by_its_weight(tmp_path):
    training = {"warmup": 0.0, "organ_weight": 0.3, "descent_weight": 2.0}
    _, (step,) = fit(build(training=training), 1, tmp_path)
    expected = 0.3 * step["train/organ_loss"] + 2.0 * step["train/descent_loss"]
    torch.testing.assert_close(step["loss"], expected)


CONTRAST = {"contrast": {"_target_": f"{DESCENT}.contrastive.VoxelContrast", "places": 64}}


def test_contrast_comes_before_the_warm_up_and_the_descent(tmp_path):
    training = {"warmup": 0.25, "organ_weight": 0.0, "descent_weight": 2.0, "contrast_share": 0.5, **CONTRAST}
    _, steps = fit(build(training={**training, "contrast_weight": 0.5}), 4, tmp_path)
    seen = [[name for name in ("contrast", "organ", "descent") if f"train/{name}_loss" in step] for step in steps]
    assert seen == [["contrast"], ["contrast"], ["organ"], ["contrast", "descent"]]
    torch.testing.assert_close(steps[1]["loss"], steps[1]["train/contrast_loss"])
    both = 2 * steps[3]["train/descent_loss"] + 0.5 * steps[3]["train/contrast_loss"]
    torch.testing.assert_close(steps[3]["loss"], both)


def test_contrast_learns_one_pair_by_heart(tmp_path):
    training = {"warmup": 0.0, "organ_weight": 0.0, "descent_weight": 1.0, "contrast_share": 1.0, **CONTRAST}
    options = ["features.bound=sigmoid", "features.smoothing=0", "optimizer.lr=0.02"]
    _, steps = fit(build(*options, training=training), 30, tmp_path)
    losses = [float(step["loss"]) for step in steps]
    assert sum(losses[-3:]) / 3 < 0.85 * losses[0]


def test_contrast_needs_a_loss_and_the_true_displacement():
    training = {"warmup": 0.0, "organ_weight": 0.0, "descent_weight": 1.0, "contrast_weight": 1.0}
    with pytest.raises(UserError, match=r"^training.contrast=null: must be a loss"):
        build(training=training)
    module = build(training={**training, **CONTRAST})
    real = {key: value for key, value in pair().items() if key != "displacement"}
    with pytest.raises(UserError, match=r"^training.contrast: these data do not know the displacement"):
        module._contrast_loss((torch.rand(1, 4, 8, 8, 8),) * 2, real, random.Random(0))


@pytest.mark.parametrize("warmup", [1.0, 0.0])
def test_one_pair_can_be_learned_by_heart(warmup, tmp_path):
    descent = settings()["descent"]
    descent["start_states"] = {
        "_target_": f"{DESCENT}.start_states.StartStates",
        "zero": 1.0,
        "labels": 0.0,
        "own": 0.0,
    }
    training = {"warmup": warmup, "organ_weight": 0.0, "descent_weight": 1.0}
    _, steps = fit(build("optimizer.lr=0.01", descent=descent, training=training), 25, tmp_path)
    losses = [float(step["loss"]) for step in steps]
    assert sum(losses[-3:]) / 3 < 0.8 * losses[0]


ALL = torch.ones(2, dtype=torch.bool)


@pytest.fixture
def step_loss(monkeypatch):
    """The loss of a training step on one pair, some entries of it changed."""

    def loss(module, **changes):
        monkeypatch.setattr(module, "log", lambda *_, **__: None)
        monkeypatch.setattr(type(module), "global_rank", 0)
        module.warmup_steps = 0
        batch = {key: value[None] for key, value in {**pair(), **changes}.items()}
        return module.training_step(batch, 0).detach()

    return loss


def test_a_fully_labelled_pair_has_the_same_loss_to_the_bit(step_loss):
    module = build("training=warmup", "training.organ_weight=0.5")
    plain = step_loss(module)
    assert torch.equal(step_loss(module, fixed_labelled=ALL, moving_labelled=ALL), plain)
    assert not torch.equal(step_loss(module, fixed_labelled=ALL, moving_labelled=torch.tensor([True, False])), plain)


def test_labels_outside_a_mask_count_in_no_loss(step_loss):
    module = build("training=paper", "descent.levels=[1]")
    everything = torch.full_like(pair()["fixed_labels"], IGNORED)
    for role in ("fixed", "moving"):
        assert step_loss(module, **{f"{role}_labels": everything}) == 0
    half = pair()["fixed_labels"].clone()
    half[..., 8:] = IGNORED
    loss = step_loss(module, fixed_labels=half)
    assert torch.isfinite(loss) and not torch.equal(loss, step_loss(module))


def test_masks_reach_the_solver(monkeypatch):
    module = build()
    seen = {}

    def solver(fixed, moving, weight=None, moving_weight=None):
        seen.update(weight=weight, moving_weight=moving_weight)
        return torch.zeros(1, 3, *fixed.shape[2:])

    monkeypatch.setattr(module, "solver", solver)
    image, inside = pair()["fixed"][None], torch.ones(1, 1, 16, 16, 16)
    module.register(image, image, inside)
    assert seen == {"weight": None, "moving_weight": None}
    inside[..., 8:] = 0
    module.register(image, image, inside, inside.flip(-1))
    assert seen["weight"][..., 4:].max() == 0 and seen["weight"][..., :4].min() == 1
    assert seen["moving_weight"][..., :4].max() == 0 and seen["moving_weight"][..., 4:].min() == 1


def test_the_cosine_of_a_validation_counts_what_is_within_the_masks(monkeypatch):
    module = build()
    logged = {}
    monkeypatch.setattr(module, "log", lambda name, value, **_: logged.update({name: value}))
    batch = {key: value[None] for key, value in pair().items()}

    def cosine(**changes):
        module.validation_step({**batch, **changes}, 0)
        return logged["val/cosine"]

    inside = batch["inside"].clone()
    inside[..., 8:] = 0
    plain, fixed = cosine(), cosine(inside=inside)
    assert cosine(moving_inside=batch["inside"]) == pytest.approx(plain)
    assert len({plain, fixed, cosine(moving_inside=inside)}) == 3
    assert cosine(inside=0 * inside) == 0


def test_validation_metrics(tmp_path):
    trainer, _ = fit(build(), 1, tmp_path, validate=True)
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
    assert {"val/dice", "val/dice_before", "val/cosine", "val/folds_percent", "val/sdlogj"} <= set(metrics)
    assert 0 < metrics["val/dice_before"] < 1 and 0 <= metrics["val/dice"] <= 1


def test_registration_of_equal_images_is_identity():
    # Features of one image are equal only with a shared stem.
    module = build("features.stem=shared", "features.norm=none").eval()
    image = pair()["fixed"][None]
    u = module.register(image, image, torch.ones_like(image)).displacement
    assert u.shape == (1, 3, 16, 16, 16)
    assert u.abs().max() < 1e-3


def test_too_few_channels():
    with pytest.raises(UserError, match="features.channels=2.*the 2 organs"):
        build("training=warmup", "features.channels=2")
    assert build("training=paper", "features.channels=2").features.channels == 2


def plain(value):
    if isinstance(value, dict):
        return all(type(k) in (str, int) and plain(v) for k, v in value.items())
    if isinstance(value, list):
        return all(map(plain, value))
    return value is None or type(value) in (str, int, float, bool)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    trainer, _ = fit(build(), 3, folder)
    trainer.save_checkpoint(folder / "last.ckpt")
    return folder / "last.ckpt"


def test_hyperparameters_are_plain_types(checkpoint):
    content = torch.load(checkpoint, weights_only=True)
    assert plain(
        {k: dict(v) if not isinstance(v, (list, float)) else v for k, v in content["hyper_parameters"].items()}
    )
    assert content["hyper_parameters"]["label_names"] == {1: "liver", 2: "spleen"}
    assert isinstance(content["mmreg_lightning_version"], str)


@pytest.mark.slow
def test_checkpoint_alone_rebuilds_the_features_in_a_new_process(checkpoint, tmp_path):
    image = pair()["fixed"][None]
    module = DescentModule.load_from_checkpoint(checkpoint, map_location="cpu", weights_only=True).eval()
    torch.save({"image": image, "features": module(image, "MR").detach()}, tmp_path / "expected.pt")
    code = (
        "import sys, torch; from mmreg_lightning.training.module import DescentModule;"
        "m = DescentModule.load_from_checkpoint(sys.argv[1], map_location='cpu', weights_only=True).eval();"
        "e = torch.load(sys.argv[2], weights_only=True);"
        "torch.testing.assert_close(m(e['image'], 'MR'), e['features'])"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    arguments = [sys.executable, "-c", code, str(checkpoint), str(tmp_path / "expected.pt")]
    done = subprocess.run(arguments, capture_output=True, encoding="utf-8", cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr


def test_resuming_goes_on_where_it_stopped(checkpoint, tmp_path):
    module = build()
    trainer, steps = fit(module, 5, tmp_path, ckpt_path=checkpoint)
    assert trainer.global_step == 5
    assert len(steps) == 2


def test_learning_rate_rises_then_falls_to_nothing():
    rates = [learning_rate_share(step / 100) for step in range(101)]
    assert max(rates) == rates[5] == 1
    assert rates[:6] == sorted(rates[:6]) and rates[5:] == sorted(rates[5:], reverse=True)
    assert 0 < rates[0] < 0.1 and rates[100] == pytest.approx(0)
    assert rates[24] == pytest.approx(0.5 + 0.5 * 0.80902, abs=1e-4)  # a fifth of the fall: cos(pi / 5)


def test_descent_under_autocast(tmp_path):
    """bf16 is for the network alone: targets and displacements stay in float32."""
    module = build("training=paper")
    trainer = pl.Trainer(
        accelerator="cpu",
        precision="bf16-mixed",
        max_steps=1,
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(module, DataLoader([pair()]), DataLoader([pair()]))
    assert trainer.global_step == 1
    assert all(torch.isfinite(p).all() for p in module.parameters())


def test_the_end_of_the_warmup_survives_a_longer_resumed_run():
    module = build("training.warmup=0.5")
    module.warmup_steps, module.contrast_steps = 3, 2
    checkpoint = {"global_step": 4}
    module.on_save_checkpoint(checkpoint)
    resumed = build("training.warmup=0.5")
    resumed.on_load_checkpoint(checkpoint)
    assert resumed.warmup_steps == 3 and resumed.contrast_steps == 2
    del checkpoint["contrast_steps"]
    resumed.on_load_checkpoint(checkpoint)
    assert resumed.contrast_steps == 0, "of a version that had no such stage"


def test_sigmoid_features_cannot_learn_from_organ_labels():
    with pytest.raises(UserError, match="features.bound=sigmoid"):
        build("features.bound=sigmoid", "training=warmup")
    assert build("features.bound=sigmoid", "training=paper").features.bound == "sigmoid"


UNLABELLED = ("liver", "lungs")


def without_ct_labels(phantom, root):
    """A copy whose CTs have no labels of two organs, as its description says."""
    shutil.copytree(phantom, root)
    path = next(root.glob("*_dataset.json"))
    content = json.loads(path.read_text(encoding="utf-8"))
    names = content["labels"]["1"]
    gone = [i for i, name in names.items() if name in UNLABELLED]
    content["labels"]["1"] = {i: name for i, name in names.items() if i not in gone}
    path.write_text(json.dumps(content), encoding="utf-8")
    for file in (root / "labelsTr").glob("*_0001.nii.gz"):
        image = nib.load(file)
        array = np.asarray(image.dataobj)
        file.unlink()  # the copy may be a link to the original
        nib.save(nib.Nifti1Image(np.where(np.isin(array, list(map(int, gone))), 0, array), image.affine), file)
    return root


def warmed_up(root, cache_dir):
    """A module after 150 steps of the warm-up on the phantom, and its data."""
    recipes = OmegaConf.to_container(OmegaConf.load(CONF_DIR / "data" / "learn2reg.yaml").normalisation)
    data = RegistrationDataModule(str(root), str(cache_dir), 12.0, recipes, samples_per_epoch=20)
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF_DIR)):
        overrides = ["features=cnn", "features.width=16", "features.depth=3", "optimizer.lr=0.01", "training.warmup=1"]
        config = compose("train", overrides=overrides)
    pl.seed_everything(1, verbose=False)
    module = DescentModule(
        **{group: OmegaConf.to_container(config[group], resolve=True) for group in GROUPS},
        modalities=data.modalities,
        label_names=data.label_names,
        normalisation=recipes,
        spacing=12.0,
    )
    trainer = pl.Trainer(
        accelerator="cpu",
        max_steps=150,
        max_epochs=-1,
        logger=False,
        default_root_dir=cache_dir,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        limit_val_batches=0,
    )
    trainer.fit(module, data)
    return module.eval(), data


@torch.no_grad()
def answers(module, data):
    """Mean of an organ's own channel within it, by organ and modality."""
    found = {}
    for organ in UNLABELLED:
        i = next(i for i, name in data.label_names.items() if name == organ)
        for modality in data.modalities:
            values = []
            for record in data.dataset.train:
                if record.modality == modality:
                    prepared = data.cache.image(record)
                    channel = module(prepared.image[None], modality)[0, module.label_ids.index(i)]
                    inside = pool((prepared.labels == i).float()[None], module.features.stride)[0, 0]
                    values.append(float((channel * inside).sum() / inside.sum()))
            found[organ, modality] = float(np.mean(values))
    return found


@pytest.mark.slow
def test_an_organ_without_labels_in_one_modality_is_learned_in_both(phantom, cache_dir, tmp_path):
    full, data = warmed_up(phantom, cache_dir)
    partly, _ = warmed_up(without_ct_labels(phantom, tmp_path / "partly"), cache_dir)
    expected, found = answers(full, data), answers(partly, data)
    assert min(expected.values()) > 0.5
    assert found == pytest.approx(expected, abs=0.1)
