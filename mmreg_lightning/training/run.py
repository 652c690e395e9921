"""One training as its configuration says, alone or as one of a multirun."""

from __future__ import annotations

import logging
import math
import shlex
import sys
import time
import warnings
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from mmreg_lightning.config import instantiate
from mmreg_lightning.data.datamodule import RegistrationDataModule
from mmreg_lightning.errors import UserError
from mmreg_lightning.files import ensure_output_dir, folder_lock, write_text
from mmreg_lightning.runtime import resolve_precision
from mmreg_lightning.training.checkpoints import (
    StoredConfiguration,
    check_checkpoint,
    check_configuration,
    resumed_from,
    save_last_steps,
)
from mmreg_lightning.training.checks import check_accelerator
from mmreg_lightning.training.guards import CheckpointFiles, DivergenceGuard
from mmreg_lightning.training.initial_weights import initialise
from mmreg_lightning.training.module import DescentModule
from mmreg_lightning.training.refusal import as_it_was
from mmreg_lightning.training.schema import read_training
from mmreg_lightning.training.stopping import GracefulStop
from mmreg_lightning.training.sweep.record import (
    RunIdentity,
    RunRecord,
    identify,
    is_first_process,
    write_identity,
    write_record,
)
from mmreg_lightning.training.tracking.description import DataSummary, OrganTable, describe, summarise
from mmreg_lightning.training.tracking.lineage import log_results, use_data_set
from mmreg_lightning.training.tracking.tracked_run import identified, tracking

# Warnings of Lightning's about what is meant to be so: a training sees to its folder itself (``prepare_output``).
_NOTICED = 0.005  # of Dice: less is no reason to doubt
_NO_NEWS = (
    "Experiment logs directory .* exists and is not empty",
    "Checkpoint directory .* exists and is not empty",
    "`isinstance.treespec, LeafSpec.` is deprecated",
    "The dirpath has changed from",  # a run that goes on in another folder has a best checkpoint of its own there
    "You're resuming from a checkpoint that ended before the epoch ended",  # EpochSampler goes on where it was
)


def train(config: DictConfig, identity: RunIdentity | None = None) -> dict[str, float]:
    """Run one training as ``config`` (conf/train.yaml) says.

    Args:
        config: composed.
        identity: of the training, where its folder notes it already and is locked.

    Returns:
        The last validation's metrics.

    Raises:
        UserError: the configuration or the data set cannot be used, or another training uses the folder.
    """
    settings = read_training(config)
    guard = DivergenceGuard()
    if not is_first_process():  # the others use the folder of the first
        return _train(config, settings, identity, guard)
    out = settings["output_dir"]
    with nullcontext() if identity is not None else folder_lock(out), as_it_was(Path(out), lambda: guard.has_begun):
        return _train(config, settings, identity, guard)


def _train(
    config: DictConfig, settings: dict[str, Any], identity: RunIdentity | None, guard: DivergenceGuard
) -> dict[str, float]:
    """``train``, in a folder of its own."""
    started = time.monotonic()
    logging.captureWarnings(True)  # into the run's log: stderr is for the one line of an error
    for message in _NO_NEWS:
        warnings.filterwarnings("ignore", message)
    logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.WARNING)  # advertisements otherwise
    check_accelerator(settings["trainer"])
    noted = identity is not None
    identity = identity or identify(settings, overrides())
    chosen = dict(settings["trainer"])
    chosen["precision"] = resolve_precision(chosen.get("precision"), chosen.get("accelerator", "auto"))
    pl.seed_everything(settings["seed"], workers=True, verbose=False)
    data = instantiate(settings["data"])
    if settings["features"].get("self_similarity"):
        check_unclipped({name: data.normalisation[name] for name in data.modalities})
    module = DescentModule(
        **{group: settings[group] for group in ("features", "descent", "loss", "training", "optimizer", "solver")},
        modalities=data.modalities,
        label_names=data.label_names,
        normalisation=data.normalisation,
        spacing=settings["data"]["spacing"],
    )
    ckpt_path = resumed_from(settings["ckpt_path"], Path(settings["output_dir"]))
    learned = {**settings, "trainer": chosen}
    note, learning_rate = check_configuration(ckpt_path, learned, identity.data)
    check_checkpoint(ckpt_path, module, settings["trainer"].get("max_steps"))
    if settings["init_from"] is not None:
        note = _begin(settings, ckpt_path, module) or note
    out = prepare_output(settings["output_dir"], ckpt_path)
    if not noted and is_first_process():
        write_identity(identity, out)
    if note and is_first_process():
        print(note)
    callbacks: list[pl.Callback] = [
        guard,
        GracefulStop(),
        StoredConfiguration(learned, identity.data, learning_rate),
    ]
    callbacks += [instantiate(callback) for callback in settings["callbacks"].values() if callback is not None]
    sweep = sweep_folder()
    loggers = [
        instantiate(identified(logger, out, None if sweep is None else sweep.name, overrides()))
        for logger in settings["logger"].values()
        if logger is not None
    ]
    write_text(out / "config.yaml", OmegaConf.to_yaml(config, resolve=True))
    with tracking(loggers) as runs:
        callbacks += [DataSummary(runs, data), *([OrganTable()] if runs else [])]
        trainer = instantiate(chosen, callbacks=callbacks, logger=loggers, default_root_dir=str(out))
        trainer.strategy.checkpoint_io = CheckpointFiles()
        # As often as asked for, but within each epoch and before the end: Lightning would log nothing of short ones.
        last = trainer.max_steps if trainer.max_steps > 0 else math.inf
        often = min(trainer.log_every_n_steps, last, data.batches_per_epoch(trainer.world_size))
        trainer.log_every_n_steps = int(often)
        for logger in loggers:
            logger.log_hyperparams(learned)
        for run in runs:
            describe(run, shlex.join(["mmreg-train", *overrides()]))
            if isinstance(data, RegistrationDataModule):
                use_data_set(run, data.dataset)
        threads = torch.get_num_threads()
        # Threads wait for each other: one that shares its processor with a loading process holds up all.
        torch.set_num_threads(max(1, threads - data.num_workers))
        try:
            trainer.fit(module, datamodule=data, ckpt_path=ckpt_path, weights_only=True)
            save_last_steps(trainer, module, data)
        except SystemExit as stop:
            # Lightning's own end after Ctrl-C, with exit code 1; 143 after SIGTERM is ours.
            if trainer.interrupted and stop.code == 1:
                raise KeyboardInterrupt from stop
            raise
        finally:
            torch.set_num_threads(threads)
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        if trainer.is_global_zero:
            seconds = round(time.monotonic() - started, 1)
            warned = doubts(metrics)
            record = RunRecord(identity.fingerprint, overrides(), metrics, module.validated, seconds, warned)
            write_record(record, out)
            for run in runs:
                summarise(run, trainer.checkpoint_callback)
                log_results(run, out, metrics)
            for callback in trainer.early_stopping_callbacks:
                if callback.stopped_epoch > 0:
                    print(f"stopped early: {callback.monitor} was not better for {callback.wait_count} validations")
            for sentence in warned:
                print(f"warning: {sentence}", file=sys.stderr)
            print(f"checkpoints and metrics: {out}")
    return metrics


def _begin(settings: Mapping[str, Any], ckpt_path: str | None, module: DescentModule) -> str:
    """Take the weights of ``init_from``, where no training is resumed; what there is to tell."""
    if ckpt_path is None:
        return initialise(settings["init_from"], module)
    # Of a training that began with these weights and goes on.
    if Path(ckpt_path).resolve().parent != Path(settings["output_dir"]).resolve():
        raise UserError(
            f"init_from={settings['init_from']}: cannot be used with ckpt_path={ckpt_path}, name one of them"
        )
    return ""


def overrides() -> list[str]:
    """The overrides of this run as they were given; none outside a command of Hydra's."""
    return list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []


def sweep_folder() -> Path | None:
    """``hydra.sweep.dir`` of a multirun; None in a single run and outside a command of Hydra's."""
    if not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.MULTIRUN:
        return None
    return Path(HydraConfig.get().sweep.dir)


def doubts(metrics: Mapping[str, float]) -> list[str]:
    """What a look at the last validation of a training gives reason to doubt, in sentences.

    Args:
        metrics: of the last validation.
    """
    before, after = metrics.get("val/dice_before", math.nan), metrics.get("val/dice", math.nan)
    if not after < before - _NOTICED:
        return []
    return [
        f"the last validation's Dice is {after:.3f} after registration and {before:.3f} before it: these features make "
        "the pairs worse (train longer, or look at optimizer.lr and the pictures)"
    ]


def check_unclipped(recipes: Mapping[str, Mapping[str, Any]]) -> None:
    """Check that descriptors see what lies beyond the intensity window: on clipped images they agree with nothing.

    Raises:
        UserError: a modality's recipe clips.
    """
    for name, recipe in recipes.items():
        if recipe.get("clip", True):
            raise UserError(
                f"data.normalisation.{name}={dict(recipe)}: needs 'clip: false', because features.self_similarity "
                "looks beyond the window (or set features.self_similarity=false)"
            )


def prepare_output(folder: str, ckpt_path: str | None) -> Path:
    """The folder of the run; an earlier run's log of metrics is put aside, because Lightning's logger starts anew.

    Raises:
        UserError: it cannot be written, or holds a training that is not being resumed.
    """
    out = ensure_output_dir(folder)
    if ckpt_path is None and (out / "last.ckpt").exists():
        raise UserError(f"{out} holds a training already: name another hydra.run.dir, or resume with ckpt_path")
    log = out / "metrics.csv"
    if log.exists():
        log.rename(out / f"metrics_before_{len(list(out.glob('metrics_before_*.csv'))) + 1}.csv")
    return out
