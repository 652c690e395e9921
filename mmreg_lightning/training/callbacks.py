"""Pictures and progress while training."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EMAWeightAveraging, RichProgressBar
from pytorch_lightning.loggers import WandbLogger
from torch import Tensor

from mmreg_lightning.files import atomic_path, ensure_output_dir
from mmreg_lightning.functional.warp import warp
from mmreg_lightning.reporting.pair_figure import FEATURES, REGISTRATION, PairPicture, draw_pair
from mmreg_lightning.training.module import DescentModule


class EpochProgress(RichProgressBar):
    """Lightning's progress bar, with the number of epochs that ``max_steps`` makes instead of its "Epoch 0/-2"."""

    def _get_train_description(self, current_epoch: int) -> str:
        steps, batches = self.trainer.max_steps, self.trainer.num_training_batches
        taken = math.ceil(batches / self.trainer.accumulate_grad_batches)  # steps of an epoch
        epochs = f" of {math.ceil(steps / taken)}" if steps > 0 and batches else ""
        return f"epoch {current_epoch + 1}{epochs}"


class AveragedWeights(EMAWeightAveraging):
    """Validates and saves the running mean of the weights; checkpoints hold the weights of the last step beside it.

    Lightning's own puts the mean in their place when the training ends: what is saved after that could not be resumed.
    """

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep both."""


class PairPictures(pl.Callback):
    """Draws the first validation pair at every validation: its registration, and the colours of its features.

    PNG files ``pictures/registration_STEP.png`` and ``pictures/features_STEP.png`` in the trainer's
    ``default_root_dir``; a ``WandbLogger`` gets them as images, too. The pair is registered once more for it.
    """

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Mapping[str, Any],
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Draw when it is the first batch of the first process, but not in Lightning's sanity check.

        Raises:
            TypeError: the module is no ``DescentModule``.
        """
        if batch_idx > 0 or trainer.sanity_checking or not trainer.is_global_zero:
            return
        if not isinstance(pl_module, DescentModule):
            raise TypeError(f"PairPictures draws what a DescentModule does, not a {type(pl_module).__name__}")
        picture = validation_picture(pl_module, batch)
        folder = ensure_output_dir(Path(trainer.default_root_dir) / "pictures")
        title = f"{batch['name'][0]}, step {trainer.global_step}"
        for kind, columns in (("registration", REGISTRATION), ("features", FEATURES)):
            path = folder / f"{kind}_{trainer.global_step:06d}.png"
            with atomic_path(path) as temporary:
                draw_pair(picture, title, columns).savefig(temporary)
            for logger in trainer.loggers:
                if isinstance(logger, WandbLogger):
                    logger.log_image(f"val/{kind}", [str(path)], step=trainer.global_step)


@torch.no_grad()
def validation_picture(module: DescentModule, batch: Mapping[str, Tensor]) -> PairPicture:
    """Register the first pair of a validation batch, on its working grid.

    Args:
        module: features and solver.
        batch: see ``ValidationPairs``.
    """
    fixed, moving = batch["fixed"][:1], batch["moving"][:1]
    moving_inside = batch["moving_inside"][:1] if "moving_inside" in batch else None
    fixed_features, moving_features, coarse, u = module.register(fixed, moving, batch["inside"][:1], moving_inside)
    moving_labels = batch["moving_labels"][:1]
    warped_labels = warp(moving_labels.float(), u, mode="nearest").long()
    spacing = np.broadcast_to(np.asarray(module.hparams["spacing"], dtype=float), (3,)).tolist()
    return PairPicture(
        fixed=fixed[0, 0].clamp(0, 1).cpu(),
        moving=moving[0, 0].clamp(0, 1).cpu(),
        warped=warp(moving, u)[0, 0].clamp(0, 1).cpu(),
        spacing=spacing,
        displacement=u[0].cpu() * torch.tensor(spacing, dtype=u.dtype).view(3, 1, 1, 1),
        displacement_spacing=spacing,
        fixed_features=fixed_features[0].cpu(),
        warped_features=warp(moving_features, coarse)[0].cpu(),
        feature_spacing=[s * module.features.stride for s in spacing],
        fixed_labels=batch["fixed_labels"][0, 0].cpu(),
        moving_labels=moving_labels[0, 0].cpu(),
        warped_labels=warped_labels[0, 0].cpu(),
    )
