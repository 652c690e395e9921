"""The checkpoint that a training goes on from, and those that it ends with."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint

from mmreg_lightning.errors import UserError
from mmreg_lightning.features.checkpoint import load_weights


def check_checkpoint(path: str | None, module: torch.nn.Module, max_steps: int | None) -> None:
    """Check that training can be resumed from a checkpoint, before anything is prepared for it.

    Raises:
        UserError: there is no such file, it is no checkpoint, its weights do not fit the module, or it has done
            ``max_steps`` already.
    """
    if path is None:
        return
    if not Path(path).is_file():
        raise UserError(f"ckpt_path={path}: there is no such file")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        load_weights(module, checkpoint["state_dict"])
        done = int(checkpoint["global_step"])
    except UserError as error:
        other = "; repeat the overrides of the first run where they were others (its config.yaml holds them)"
        raise UserError(f"ckpt_path={path}: {error}{other if 'do not fit' in str(error) else ''}") from error
    except (pickle.UnpicklingError, EOFError, OSError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(f"ckpt_path={path}: damaged, or no checkpoint of mmreg-train") from error
    if isinstance(max_steps, int) and 0 < max_steps <= done:
        raise UserError(
            f"ckpt_path={path}: has done {done} steps already, trainer.max_steps={max_steps} must be more to go on"
        )


def save_last_steps(trainer: pl.Trainer, module: pl.LightningModule, data: pl.LightningDataModule) -> None:
    """Validate and save what ``trainer.fit`` ended with, when ``max_steps`` ended it inside an epoch.

    Lightning validates and saves at the end of an epoch only: the steps after it would be lost. Writes last.ckpt, and
    the best checkpoint, too, if there is none or this one is better. Does nothing after ``fast_dev_run``, an
    interruption, or with callbacks that keep no last checkpoint.
    """
    if getattr(trainer, "fast_dev_run", False) or trainer.interrupted:  # Lightning sets the first without declaring it
        return
    keepers = {k.filename: k for k in trainer.checkpoint_callbacks if isinstance(k, ModelCheckpoint)}
    if not {"best", "last"} <= keepers.keys():
        return
    keeper = keepers["best"]
    assert keeper.dirpath is not None and keeper.monitor is not None, "conf/callbacks names both"
    last = Path(keeper.dirpath) / f"last{keeper.FILE_EXTENSION}"
    saved = torch.load(last, map_location="cpu", weights_only=True)["global_step"] if last.is_file() else -1
    if saved >= trainer.global_step and keeper.best_model_path:
        return
    trainer.validate(module, datamodule=data, verbose=False)
    score = trainer.callback_metrics[keeper.monitor].detach().cpu()
    best = keeper.best_model_score
    if best is None or (score > best if keeper.mode == "max" else score < best):
        # All that the callback would note: a resumed run compares with it.
        path = str(Path(keeper.dirpath) / f"{keeper.filename}{keeper.FILE_EXTENSION}")
        keeper.best_model_score = keeper.kth_value = keeper.current_score = score
        keeper.best_model_path = keeper.kth_best_model_path = path
        keeper.best_k_models = {path: score}
        trainer.save_checkpoint(path)
    trainer.save_checkpoint(last)
