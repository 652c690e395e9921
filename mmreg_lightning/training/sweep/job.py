"""One training of a Hydra job: alone, or as one of a multirun."""

from __future__ import annotations

import math
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from omegaconf import DictConfig

from mmreg_lightning.errors import UserError
from mmreg_lightning.files import folder_lock
from mmreg_lightning.training.checkpoints import steps_done
from mmreg_lightning.training.run import overrides, sweep_folder, train
from mmreg_lightning.training.schema import read_training
from mmreg_lightning.training.stopping import terminable
from mmreg_lightning.training.sweep.record import (
    FAILURE,
    RunIdentity,
    claim_folder,
    failures,
    identify,
    is_first_process,
    note_asked,
    read_identity,
    read_record,
    write_failure,
)


def train_job(config: DictConfig) -> float | None:
    """The training of a Hydra job.

    Args:
        config: conf/train.yaml, composed.

    Returns:
        In a multirun what a sweeper that searches is told, see ``objective``; else None.

    Raises:
        UserError: see ``train``; of a multirun only what is wrong with the configuration's keys.
    """
    with terminable():
        if sweep_folder() is None:
            train(config)
            return None
        return objective(config, train_in_sweep(config))


def train_in_sweep(config: DictConfig) -> dict[str, float]:
    """``train`` as one run of a multirun.

    A run that has finished, in whatever folder of the sweep, is not done again; one that was killed goes on from its
    last checkpoint; one that fails is noted in its folder, and the next one is begun, except with
    ``sweep.fail_fast=true``. A folder that holds another training, or one of other data, is left alone.

    Returns:
        The last validation's metrics; none of a run that failed.
    """
    settings = read_training(config)
    sweep = sweep_folder()
    assert sweep is not None, "train_job asks first"
    if settings["sweep"]["fail_fast"] and (failed := failures(sweep)):
        print(f"not begun: {settings['output_dir']}, because {failed[0]} failed (sweep.fail_fast=true)")
        return {}
    identity = identify(settings, overrides())
    note_asked(sweep, identity)
    with _own_folder(sweep, Path(settings["output_dir"]), identity) as out:
        config.output_dir = str(out)
        known = read_record(out)
        if known is not None and known.fingerprint == identity.fingerprint and not (out / FAILURE).is_file():
            print(f"finished before: {out}")
            return dict(known.metrics)
        last = out / "last.ckpt"
        if last.is_file() and 0 < (settings["trainer"].get("max_steps") or -1) <= steps_done(last):
            print(f"{out} was stopped after its last step, before its results were written: it begins anew")
            last.unlink()
        if last.is_file():
            config.ckpt_path = str(last)
        try:
            return train(config, identity)
        except UserError as error:
            write_failure(out, str(error), sweep)
            print(f"failed: {out}: {error}", file=sys.stderr)
        except Exception as error:
            write_failure(out, f"{traceback.format_exc()}\n{type(error).__name__}: {error}", sweep)
            print(f"failed: {out}: {type(error).__name__}, see {out / FAILURE}", file=sys.stderr)
    return {}


@contextmanager
def _own_folder(sweep: Path, folder: Path, identity: RunIdentity) -> Iterator[Path]:
    """A folder that notes this training and is locked for it; waits for another process that trains the same."""
    while True:
        out = claim_folder(sweep, folder, identity)
        if not is_first_process():  # the others use the folder of the first
            yield out
            return
        with folder_lock(out, wait=True):
            known = read_identity(out)
            # Whoever held it may have begun another training there, without a look at who had claimed it.
            if known is not None and known.fingerprint == identity.fingerprint:
                yield out
                return


def objective(config: DictConfig, metrics: dict[str, float]) -> float | None:
    """What a sweeper that searches is told about a training: the metric that ``objective`` names.

    Args:
        config: of the training.
        metrics: of its last validation; none of one that failed.

    Returns:
        None where there is no number to compare.

    Raises:
        UserError: the training has no such metric.
    """
    name = config.objective
    if metrics and name not in metrics:
        raise UserError(f"objective={name}: not among the metrics of a training, {', '.join(sorted(metrics))}")
    value = metrics.get(name, math.nan)
    return None if math.isnan(value) else value
