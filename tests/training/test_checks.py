"""Values of a configuration that would train nothing, or only fail after an epoch."""

from __future__ import annotations

import pytest
import torch

from mmreg_lightning.errors import UserError
from mmreg_lightning.training.checks import check_accelerator, check_values


def settings(**trainer):
    return {
        "trainer": {"max_steps": 10, "max_epochs": -1, **trainer},
        "objective": "val/dice",
        "callbacks": {
            "checkpoint": {"monitor": "val/dice", "filename": "best"},
            "last": {"filename": "last"},
            "pictures": None,
        },
    }


def test_what_can_be_trained():
    check_values(settings())
    check_values(settings(max_steps=-1, max_epochs=3, limit_val_batches=1, accumulate_grad_batches=None))


@pytest.mark.parametrize(
    ("key", "value", "must"),
    [
        ("max_steps", 0, "1 or more, or -1 for no limit"),
        ("max_steps", -2, "1 or more, or -1 for no limit"),
        ("max_epochs", 0, "1 or more, or -1 for no limit"),
        ("limit_train_batches", 0, "more than 0"),
        ("limit_val_batches", 0.0, "more than 0"),
        ("accumulate_grad_batches", 0, "a whole number, 1 or more"),
        ("check_val_every_n_epoch", 0, "a whole number, 1 or more"),
    ],
)
def test_numbers_that_train_nothing(key, value, must):
    with pytest.raises(UserError) as refused:
        check_values(settings(**{key: value}))
    assert str(refused.value) == f"trainer.{key}={value}: must be {must}"


def test_a_metric_that_there_is_not():
    wrong = settings()
    wrong["callbacks"]["checkpoint"]["monitor"] = "val/dce"
    sentence = "^callbacks.checkpoint.monitor=val/dce: there is no such metric of a training, did you mean val/dice[?]$"
    with pytest.raises(UserError, match=sentence):
        check_values(wrong)
    wrong["callbacks"]["checkpoint"]["monitor"] = None
    with pytest.raises(UserError, match="^callbacks.checkpoint.monitor=null: must be a metric"):
        check_values(wrong)
    with pytest.raises(UserError, match="^objective=val/cosin: .* did you mean val/cosine[?]$"):
        check_values({**settings(), "objective": "val/cosin"})
    stopping = settings()
    stopping["callbacks"]["early_stopping"] = {"monitor": "val/fold_percent"}
    with pytest.raises(UserError, match="^callbacks.early_stopping.monitor=.* did you mean val/folds_percent[?]$"):
        check_values(stopping)


def test_a_gpu_that_there_is_not(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for accelerator in ("cpu", "auto"):
        check_accelerator({"accelerator": accelerator})
    for accelerator in ("gpu", "cuda"):
        with pytest.raises(UserError, match=f"^trainer.accelerator={accelerator}: .* no usable CUDA GPU, trainer=cpu"):
            check_accelerator({"accelerator": accelerator})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    check_accelerator({"accelerator": "gpu"})
