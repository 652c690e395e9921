"""What keeps a training from going on after it has diverged, and its checkpoints whole."""

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

MOST_GROWTH = 100.0
"""A training has diverged when its weights, by their root mean square, are so many times what they were at its start.

Measured: 2.3 after the 1250 steps of the demo; at most 3.9 after 300 steps with learning rates of 0.001 to 0.03,
whatever the loss. 342 within 12 steps with a learning rate of 10, 25000 with 1000, 560000 after one step with 1e6.
Losses, features and gradients tell less: normalisation and softmax keep all of them finite, and the features in [0, 1].
"""
_LONG = 1000
"""Beyond so many steps the limit rises with the root of their number, as Adam's steps move a weight at random."""


class DivergenceGuard(pl.Callback):
    """Stops a training that has diverged, before a checkpoint of it is written.

    It has where its loss, its weights or a validation are not finite, or its weights have grown beyond ``MOST_GROWTH``.
    It must come before all other callbacks; Lightning itself calls those that write checkpoints last.
    """

    def __init__(self) -> None:
        self.has_begun = False  # whether a batch has been learned from
        self._start: float | None = None  # root mean square of the weights

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note the weights that the training begins with; one that is resumed has those of its first start."""
        if self._start is None:
            self._start = float(_root_mean_square(pl_module))

    def state_dict(self) -> dict[str, Any]:
        """Kept in checkpoints."""
        return {"start": self._start}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """From a checkpoint."""
        self._start = state_dict["start"]

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Mapping[str, Any], batch_idx: int
    ) -> None:
        """Look at the loss of a batch, and at the weights after it.

        Raises:
            UserError: one of them is not finite, or the weights have grown too large.
        """
        self.has_begun = True
        loss = outputs["loss"] if isinstance(outputs, Mapping) else outputs
        images = "; ".join(batch.get("images", []))
        where = f" with {images}" if images else ""
        if loss is not None and not torch.isfinite(loss):
            raise _stopped(trainer, f"the loss{where} is {float(loss)}")
        buffers = [value for value in pl_module.buffers() if value.is_floating_point()]
        # Two numbers of all weights, read at once: a look at each would wait for the GPU as often.
        largest = torch.nn.utils.get_total_norm([*pl_module.parameters(), *buffers], math.inf)
        size = _root_mean_square(pl_module)
        values = torch.stack([largest.to(size), size]).tolist()
        if not math.isfinite(values[0]):
            raise _stopped(trainer, f"the weights after the loss{where} are not finite")
        limit = MOST_GROWTH * math.sqrt(max(1.0, trainer.global_step / _LONG))
        if self._start and values[1] > limit * self._start:
            raise _stopped(
                trainer,
                f"the weights after the loss{where} are {values[1] / self._start:.3g} times as large as at the start "
                f"(root mean square {values[1]:.3g})",
            )

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


def _root_mean_square(module: pl.LightningModule) -> torch.Tensor:
    weights = list(module.parameters())
    return torch.nn.utils.get_total_norm([weight.detach() for weight in weights]) / math.sqrt(
        sum(weight.numel() for weight in weights)
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
