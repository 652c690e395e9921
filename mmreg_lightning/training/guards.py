"""What keeps a training from going on with numbers that are none, and its checkpoints whole."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO

from mmreg_lightning.errors import UserError
from mmreg_lightning.features.checkpoint import check_finite
from mmreg_lightning.files import atomic_path
from mmreg_lightning.training.module import DescentModule


class FiniteGuard(pl.Callback):
    """Stops a training whose loss, weights or validation are not finite, before a checkpoint of it is written.

    It must come before all other callbacks; Lightning itself calls those that write checkpoints last.
    """

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Mapping[str, Any], batch_idx: int
    ) -> None:
        """Look at the loss of a batch, and at the weights after it.

        Raises:
            UserError: one of them is not finite.
        """
        loss = outputs["loss"] if isinstance(outputs, Mapping) else outputs
        images = "; ".join(batch.get("images", []))
        where = f" with {images}" if images else ""
        if loss is not None and not torch.isfinite(loss):
            raise _stopped(trainer, f"the loss{where} is {float(loss)}")
        weights = [value for value in (*pl_module.parameters(), *pl_module.buffers()) if value.is_floating_point()]
        # One number of all weights: a look at each would wait for the GPU as often.
        if not torch.isfinite(torch.nn.utils.get_total_norm(weights, math.inf)):
            raise _stopped(trainer, f"the weights after the loss{where} are not finite")

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Mapping[str, Any],
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Look at the registration of a validation pair.

        Raises:
            UserError: its displacement was not finite.
        """
        assert isinstance(pl_module, DescentModule)
        if pl_module.validated and math.isnan(pl_module.validated[-1]["folds_percent"]):
            raise _stopped(
                trainer, f"the displacement of the validation pair {pl_module.validated[-1]['case']} is not finite"
            )


def _stopped(trainer: pl.Trainer, what: str) -> UserError:
    folder = Path(trainer.default_root_dir)
    kept = [name for name in ("best.ckpt", "last.ckpt") if (folder / name).is_file()]
    before = f"{' and '.join(kept)} of before are in {folder}" if kept else "there is no checkpoint of before"
    return UserError(
        f"step {trainer.global_step}: {what}, so the training stops; {before} (a smaller optimizer.lr helps most often)"
    )


class CheckpointFiles(TorchCheckpointIO):
    """Writes checkpoints whole or not at all, beside the one that each replaces, and none that is not finite.

    Lightning's own writes to the system's folder for temporary files first, and copies from there: where the disk is
    full, a part of a checkpoint is left in the place of the last good one.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Called by Lightning.

        Raises:
            UserError: there is no room, or the weights are not finite.
        """
        target = Path(path)
        try:
            check_finite(checkpoint["state_dict"])
        except UserError as error:
            raise UserError(f"{target} is not written: {error}") from error
        content = io.BytesIO()  # torch.save into a file makes a RuntimeError of a full disk
        torch.save(checkpoint, content)
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(target) as temporary:
            temporary.write_bytes(content.getbuffer())
