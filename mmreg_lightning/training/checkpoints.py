"""The checkpoint that a training goes on from or begins with, and those that it writes."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint

from mmreg_lightning.errors import UserError, positive_int
from mmreg_lightning.features.checkpoint import load_weights
from mmreg_lightning.training.identity import differences

CONFIGURATION = "mmreg_configuration"
"""Key of a checkpoint: resolved configuration and checksum of the data of the training."""
UNREADABLE = (pickle.UnpicklingError, EOFError, OSError, RuntimeError, KeyError, TypeError, ValueError)
_NAMED = 3
"""So many differences are told."""


class BestCheckpoint(ModelCheckpoint):
    """Lightning's keeper of the best checkpoint, which can write last.ckpt inside an epoch, too.

    Args:
        every_n_steps: write last.ckpt after every so many steps of the optimiser, besides every validation.
        kwargs: of ``ModelCheckpoint``.

    Raises:
        UserError: ``every_n_steps`` is no whole number of 1 or more.
    """

    def __init__(self, every_n_steps: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._due = False
        self.every_n_steps = (
            None if every_n_steps is None else positive_int("callbacks.checkpoint.every_n_steps", every_n_steps)
        )

    @property
    def state_key(self) -> str:
        """That of Lightning's own: checkpoints from before there was this class are resumed, too."""
        return super().state_key.replace(type(self).__qualname__, ModelCheckpoint.__qualname__, 1)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *batch: Any) -> None:
        """Called by Lightning. What is due at the end of an epoch is written after its validation, or the next step."""
        super().on_train_batch_end(trainer, pl_module, *batch)
        if self.every_n_steps is None or not step_is_done(trainer):
            return
        self._due = self._due or trainer.global_step % self.every_n_steps == 0
        if self._due and not is_last_batch(trainer):
            write_last(trainer, self.dirpath)
            self._due = False

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Called by Lightning. The callback ``last`` writes last.ckpt now."""
        super().on_validation_end(trainer, pl_module)
        self._due = False


class StoredConfiguration(pl.Callback):
    """Puts the configuration into every checkpoint, for the training that is resumed from it.

    Args:
        settings: resolved configuration.
        data: see ``training_data``.
        learning_rate: of a resumed training in place of that of its checkpoint; None keeps it.
    """

    def __init__(self, settings: Mapping[str, Any], data: str, learning_rate: float | None = None) -> None:
        self.settings = dict(settings)
        self.data = data
        self.learning_rate = learning_rate

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Called by Lightning."""
        checkpoint[CONFIGURATION] = {"settings": self.settings, "data": self.data}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Called by Lightning when the optimiser is as it was in the checkpoint."""
        if self.learning_rate is None:
            return
        for entry in trainer.lr_scheduler_configs:
            scheduler = entry.scheduler
            assert isinstance(scheduler, torch.optim.lr_scheduler.LambdaLR), "DescentModule's own"
            scheduler.base_lrs = [self.learning_rate] * len(scheduler.base_lrs)
            for group, share in zip(scheduler.optimizer.param_groups, scheduler.lr_lambdas, strict=True):
                group["initial_lr"] = self.learning_rate
                group["lr"] = self.learning_rate * share(scheduler.last_epoch)


def step_is_done(trainer: pl.Trainer) -> bool:
    """Whether the batch that ended completed a step of the optimiser, and not a part of one."""
    taken = trainer.fit_loop.epoch_loop.batch_progress.current.ready
    return taken % trainer.accumulate_grad_batches == 0 or is_last_batch(trainer)


def is_last_batch(trainer: pl.Trainer) -> bool:
    """Whether the batch is the epoch's last one."""
    return bool(trainer.fit_loop.epoch_loop.batch_progress.is_last_batch)


def last_path(trainer: pl.Trainer, folder: str | Path | None) -> Path:
    """Where last.ckpt lies; None is the trainer's own folder."""
    return Path(folder or trainer.default_root_dir) / f"last{ModelCheckpoint.FILE_EXTENSION}"


def write_last(trainer: pl.Trainer, folder: str | Path | None) -> Path:
    """Write last.ckpt, which a training goes on from exactly."""
    path = last_path(trainer, folder)
    trainer.save_checkpoint(path, weights_only=False)
    return path


def resumed_from(ckpt_path: str | None, folder: Path) -> str | None:
    """The checkpoint that ``ckpt_path`` means: a path, ``last`` of the folder, or ``auto``, that if there is one."""
    last = folder / "last.ckpt"
    if ckpt_path == "auto":
        return str(last) if last.is_file() else None
    return str(last) if ckpt_path == "last" else ckpt_path


def steps_done(path: str | Path) -> int:
    """Steps of the optimiser that a checkpoint has done; -1 where it cannot be read."""
    try:
        return int(torch.load(path, map_location="cpu", weights_only=True)["global_step"])
    except UNREADABLE:
        return -1


def check_configuration(path: str | None, settings: Mapping[str, Any], data: str) -> tuple[str, float | None]:
    """Check that a training is resumed with the configuration and the data that it was begun with.

    Args:
        path: of the checkpoint; None begins a training.
        settings: resolved configuration; ``resume=override`` allows another ``optimizer.lr``.
        data: see ``training_data``.

    Returns:
        A sentence to tell, or nothing; and the learning rate, where it is another one.

    Raises:
        UserError: what must stay differs.
    """
    if settings.get("resume") not in (None, "override"):
        raise UserError(f"resume={settings['resume']}: must be null or override")
    stored = None if path is None else _stored(path)
    if path is None or stored is None:
        unknown = path is not None and Path(path).is_file()
        note = f"{path} does not hold its configuration, which cannot be compared with this one"
        return (note if unknown else ""), None
    found = differences(stored["settings"], settings)
    rate = next((each for each in found if each.key == "optimizer.lr"), None)
    if rate is not None and settings.get("resume") == "override":
        found.remove(rate)
    told = [str(each) for each in found[:_NAMED]]
    if stored["data"] != data:
        told.insert(0, f"other data ({_root(stored['settings'])}, now {_root(settings)}: files or labels changed)")
    if told:
        more = f" and {len(found) - _NAMED} more settings" if len(found) > _NAMED else ""
        only_rate = [each.key for each in found] == ["optimizer.lr"] and stored["data"] == data
        how = "resume=override takes the new one" if only_rate else "repeat its settings, or use init_from"
        raise UserError(f"ckpt_path={path}: was trained with {', '.join(told)}{more}; {how}")
    if rate is None:
        return "", None
    return f"resumed with optimizer.lr={rate.new} in place of {rate.old}", float(rate.new)


def _stored(path: str) -> dict[str, Any] | None:
    """What ``StoredConfiguration`` wrote; None where there is nothing, or nothing that can be read."""
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True).get(CONFIGURATION)
    except (*UNREADABLE, AttributeError):
        return None  # ``check_checkpoint`` says why
    return stored if isinstance(stored, dict) else None


def _root(settings: Mapping[str, Any]) -> str:
    data = settings["data"]
    return f"data.root={data.get('root')}" if "root" in data or "maps" not in data else f"data.maps={data['maps']}"


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
    except UNREADABLE as error:
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
    if steps_done(last) >= trainer.global_step and keeper.best_model_path:
        return
    # It counts as one at the end of the epoch under way: Lightning has counted that one and its last step already.
    epochs, steps = trainer.fit_loop.epoch_progress.current, trainer.fit_loop.epoch_loop
    epochs.completed, steps._batches_that_stepped = epochs.completed - 1, steps._batches_that_stepped - 1
    try:
        trainer.validate(module, datamodule=data, verbose=False)
    finally:
        epochs.completed, steps._batches_that_stepped = epochs.completed + 1, steps._batches_that_stepped + 1
    score = trainer.callback_metrics[keeper.monitor].detach().cpu()
    best = keeper.best_model_score
    if best is None or (score > best if keeper.mode == "max" else score < best):
        # All that the callback would note: a resumed run compares with it.
        path = str(Path(keeper.dirpath) / f"{keeper.filename}{keeper.FILE_EXTENSION}")
        keeper.best_model_score = keeper.kth_value = keeper.current_score = score
        keeper.best_model_path = keeper.kth_best_model_path = path
        keeper.best_k_models = {path: score}
        trainer.save_checkpoint(path, weights_only=False)
    trainer.save_checkpoint(last, weights_only=False)
