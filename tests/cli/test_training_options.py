"""Early stopping, averaged weights, precision, accumulation, determinism: by configuration, with their effects."""

from __future__ import annotations

import pytest
import torch
from hydra import compose, initialize_config_dir

from mmreg_lightning.config import CONF_DIR
from mmreg_lightning.training.module import DescentModule
from mmreg_lightning.training.run import train

pytestmark = pytest.mark.slow
TINY = ["data.spacing=12", "features=cnn", "features.width=4", "features.depth=1", "solver.iterations=1"]


@pytest.fixture
def fit(phantom, cache_dir, tmp_path, monkeypatch):
    """Trains in this process as mmreg-train would; returns metrics and the last checkpoint."""
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")

    def run(name, *overrides):
        out = tmp_path / name
        common = [
            f"data.root={phantom}",
            f"data.cache_dir={cache_dir}",
            f"output_dir={out}",
            "data.samples_per_epoch=2",
        ]
        common += ["callbacks.pictures=null", "callbacks.progress=null"]
        with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
            config = compose("train", [*TINY, *common, *overrides])
        metrics = train(config)
        return metrics, torch.load(out / "last.ckpt", weights_only=True)

    yield run
    torch.use_deterministic_algorithms(False)


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture
def batches(monkeypatch):
    """What was so in every training step."""
    seen = []
    step = DescentModule.training_step

    def recording(self, batch, batch_idx):
        seen.append(
            {
                "autocast": torch.is_autocast_enabled("cpu"),
                "deterministic": torch.are_deterministic_algorithms_enabled(),
                "step": self.global_step,
            }
        )
        return step(self, batch, batch_idx)

    monkeypatch.setattr(DescentModule, "training_step", recording)
    return seen


def test_early_stopping_stops_early(fit, capsys):
    # Nothing is learned, so the second validation is no better than the first.
    common = ["trainer.max_steps=8", "optimizer.lr=0"]
    assert fit("whole", *common)[1]["global_step"] == 8
    early = ["callbacks=[default,early_stopping]", "callbacks.early_stopping.patience=1"]
    assert fit("early", *common, *early)[1]["global_step"] == 4
    assert "stopped early: val/dice was not better for 1 validations" in capsys.readouterr().out


def test_averaged_weights_are_those_that_are_validated_and_saved(fit, monkeypatch):
    validated = []

    step = DescentModule.validation_step

    def recording(self, batch, batch_idx):
        validated.append({name: value.clone() for name, value in self.state_dict().items()})
        return step(self, batch, batch_idx)

    monkeypatch.setattr(DescentModule, "validation_step", recording)
    _, last = fit("ema", "trainer.max_steps=4", "callbacks=[default,ema]", "callbacks.ema.decay=0.5")
    assert same(last["state_dict"], validated[-1])
    assert not same(last["state_dict"], last["current_model_state"])
    # Whether the last epoch is the best one (saved while training) or not (saved after it) is a matter of chance.
    raw = fit("raw", "trainer.max_steps=4")[1]
    assert same(raw["state_dict"], last["current_model_state"]), "averaging does not change the training"
    assert not same(raw["state_dict"], last["state_dict"])
    # Ended inside an epoch: what is saved after the training can be resumed, too.
    _, early = fit("early", "trainer.max_steps=3", "callbacks=[default,ema]", "callbacks.ema.decay=0.5")
    assert early["global_step"] == 3 and same(early["state_dict"], validated[-1])
    raw = fit("raw_early", "trainer.max_steps=3")[1]
    assert same(raw["state_dict"], early["current_model_state"])


def test_accumulation_makes_one_step_of_two_batches(fit, batches):
    _, last = fit("accumulated", "trainer.max_steps=3", "trainer.accumulate_grad_batches=2")
    assert last["global_step"] == 3
    assert [batch["step"] for batch in batches] == [0, 0, 1, 1, 2, 2]


def test_bfloat16_runs_and_stays_finite(fit, batches):
    # The warm-up ends half-way, so that both losses are seen.
    options = ["trainer.max_steps=4", "training.warmup=0.5"]
    metrics, last = fit("half", *options, "trainer.precision=bf16-mixed")
    assert all(batch["autocast"] for batch in batches) and len(batches) == 4
    assert all(torch.isfinite(torch.tensor(value)) for value in metrics.values())
    assert {value.dtype for value in last["state_dict"].values()} == {torch.float32}
    assert all(torch.isfinite(value).all() for value in last["state_dict"].values())
    assert not same(last["state_dict"], fit("single", *options)[1]["state_dict"])


def test_a_deterministic_training_repeats_itself(fit, batches):
    options = ["trainer.max_steps=4", "training.warmup=0.5", "trainer.deterministic=true"]
    first, second = (fit(name, *options)[1]["state_dict"] for name in ("first", "second"))
    assert same(first, second)
    assert (
        all(batch["deterministic"] for batch in batches) and not torch.is_deterministic_algorithms_warn_only_enabled()
    )
    assert not same(first, fit("other", *options, "seed=2")[1]["state_dict"])


def test_every_epoch_leaves_the_last_checkpoint_though_it_is_not_the_best(fit, monkeypatch):
    monkeypatch.setattr("mmreg_lightning.training.run.save_last_steps", lambda *_: None)  # of the end of a training
    _, last = fit("still", "trainer.max_steps=4", "optimizer.lr=0")  # the second epoch is no better
    keeper = next(state for name, state in last["callbacks"].items() if "'monitor': 'val/dice'" in name)
    assert torch.load(keeper["best_model_path"], weights_only=True)["global_step"] == 2
    assert last["global_step"] == 4
