"""The LightningModule: learns features by supervised iterative descent, and registers with them."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from torch import Tensor

from mmreg_lightning import __version__
from mmreg_lightning.config import instantiate
from mmreg_lightning.descent.agreement import descent_agreement
from mmreg_lightning.descent.contrastive import VoxelContrast
from mmreg_lightning.descent.losses import DescentLoss, mean_cosine, organ_loss
from mmreg_lightning.descent.start_states import StartStates
from mmreg_lightning.descent.step import DescentStep
from mmreg_lightning.descent.targets import DescentTargets, paired_targets
from mmreg_lightning.descent.unrolled import UnrolledStep, Weights, unrolled_descent
from mmreg_lightning.errors import UserError, non_negative, positive_int
from mmreg_lightning.evaluation.dice import mean_dice, mean_shared_dice, registered_dice
from mmreg_lightning.evaluation.jacobian import jacobian_statistics
from mmreg_lightning.features.learned import LearnedFeatures
from mmreg_lightning.functional.labels import IGNORED
from mmreg_lightning.functional.resize import carried_displacement, pool, pool_weight, pyramid, resize_displacement
from mmreg_lightning.solvers.protocol import Solver


class ModuleRegistration(NamedTuple):
    """What ``DescentModule.register`` gives.

    Attributes:
        fixed_features, moving_features: (B, C, i, j, k), the moving ones not warped.
        feature_displacement: (B, 3, i, j, k) in voxels of the feature grid, fixed to moving.
        displacement: (B, 3, I, J, K), the same in voxels of the working grid.
    """

    fixed_features: Tensor
    moving_features: Tensor
    feature_displacement: Tensor
    displacement: Tensor


class DescentModule(pl.LightningModule):
    """Feature network, unrolled Demons descent, losses, and the solver that validation registers with.

    Every argument is a plain type (dict, list, str, number), so ``DescentModule.load_from_checkpoint(path,
    weights_only=True)`` rebuilds the module from its checkpoint alone.

    Args:
        features: configuration of a ``LearnedFeatures``.
        descent: configuration: ``step``, ``targets``, ``start_states``, ``unrolled_steps`` and pyramid ``levels``.
        loss: configuration of a ``DescentLoss``.
        training: ``warmup`` (share of the optimiser's steps that learn from organ labels alone), and the weights
            ``organ_weight`` and ``descent_weight`` of both losses after it. Optionally ``contrast``, configuration of a
            ``VoxelContrast``, with ``contrast_share``, of the steps before all others that learn from it alone, and
            ``contrast_weight`` after them.
        optimizer: configuration, with ``_partial_: true``; the learning rate follows one cosine cycle.
        solver: configuration of the ``Solver`` that validation uses; it is the default of a registration, too.
        modalities: fixed and moving modality.
        label_names: organ name of each label id.
        normalisation: intensity recipe of each modality.
        spacing: of the working grid, mm.

    Raises:
        UserError: a configuration cannot be built, or has fewer feature channels than the warm-up needs.
    """

    def __init__(
        self,
        features: Mapping[str, Any],
        descent: Mapping[str, Any],
        loss: Mapping[str, Any],
        training: Mapping[str, Any],
        optimizer: Mapping[str, Any],
        solver: Mapping[str, Any],
        modalities: Sequence[str],
        label_names: Mapping[int, str],
        normalisation: Mapping[str, Mapping[str, float | str]],
        spacing: float | Sequence[float],
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.features: LearnedFeatures = instantiate(features, modalities=list(dict.fromkeys(modalities)))
        self.step: DescentStep = instantiate(descent["step"])
        self.targets: DescentTargets = instantiate(descent["targets"])
        self.start_states: StartStates = instantiate(descent["start_states"])
        self.unrolled_steps = positive_int("descent.unrolled_steps", descent["unrolled_steps"])
        self.levels = [positive_int("descent.levels", factor) for factor in descent["levels"]]
        if not self.levels:
            raise UserError("descent.levels=[]: must name at least one pooling factor, as [4, 2, 1]")
        self.loss: DescentLoss = instantiate(loss)
        self.solver: Solver = instantiate(solver)
        self.warmup, self.organ_weight, self.descent_weight = (
            non_negative(f"training.{key}", training[key]) for key in ("warmup", "organ_weight", "descent_weight")
        )
        self.contrast_share, self.contrast_weight = (
            non_negative(f"training.{key}", training.get(key, 0.0)) for key in ("contrast_share", "contrast_weight")
        )
        self.contrast: VoxelContrast | None = instantiate(training.get("contrast"))
        if self.contrast is None and (self.contrast_share or self.contrast_weight):
            raise UserError("training.contrast=null: must be a loss where contrast_share or contrast_weight is not 0")
        non_negative("optimizer.lr", optimizer["lr"])
        self.modalities = (modalities[0], modalities[1])
        self.label_names = {int(i): name for i, name in label_names.items()}
        self.label_ids = list(self.label_names)
        if (self.warmup or self.organ_weight) and self.features.bound != "softmax":
            raise UserError(
                f"features.bound={self.features.bound}: learning from organ labels needs 'softmax'; "
                "training=paper does without"
            )
        if (self.warmup or self.organ_weight) and self.features.channels <= len(self.label_ids):
            raise UserError(
                f"features.channels={self.features.channels}: learning from organ labels needs more channels than "
                f"the {len(self.label_ids)} organs"
            )
        self.warmup_steps = self.contrast_steps = -1  # known when the number of steps is
        self.validated: list[dict[str, Any]] = []  # the measures of each pair of the last validation
        self._seed = torch.initial_seed()

    def forward(self, image: Tensor, modality: str) -> Tensor:
        """Features; see ``FeatureExtractor``."""
        out: Tensor = self.features(image, modality)
        return out

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Contrast first, then the organ loss of the warm-up, then the unrolled descent, and both by their weights."""
        stride = self.features.stride
        fixed, moving = self.features.pair_logits(batch["fixed"], batch["moving"], self.modalities)
        contrasting = self.global_step < self.contrast_steps
        warming = not contrasting and self.global_step < self.contrast_steps + self.warmup_steps
        # Of the step alone, so that a resumed run draws what one that was never stopped does.
        drawing = random.Random(f"{self._seed} {self.global_step} {batch_idx} {self.global_rank}")
        loss = fixed.new_zeros(())
        if warming or (self.organ_weight and not contrasting):
            organs = 0.5 * (
                organ_loss(fixed, batch["fixed_labels"], self.label_ids, stride, batch.get("fixed_labelled"))
                + organ_loss(moving, batch["moving_labels"], self.label_ids, stride, batch.get("moving_labelled"))
            )
            self.log("train/organ_loss", organs, prog_bar=True)
            loss = loss + (1.0 if warming else self.organ_weight) * organs
        if not warming:
            with torch.autocast(self.device.type, enabled=False):
                features = (self.features.activate(fixed), self.features.activate(moving))
                if not contrasting:
                    loss = loss + self.descent_weight * self._logged_descent(features, batch, drawing)
                if contrasting or self.contrast_weight:
                    contrast = self._contrast_loss(features, batch, drawing)
                    self.log("train/contrast_loss", contrast, prog_bar=True)
                    loss = loss + (1.0 if contrasting else self.contrast_weight) * contrast
        self.log("train/loss", loss)
        return loss

    def _contrast_loss(
        self, features: tuple[Tensor, Tensor], batch: dict[str, Tensor], drawing: random.Random
    ) -> Tensor:
        assert self.contrast is not None, "the constructor has checked it"
        if "displacement" not in batch:
            raise UserError(
                "training.contrast: these data do not know the displacement of their pairs, data=synthetic do"
            )
        return self.contrast(*features, batch["displacement"], self.features.stride, drawing.getrandbits(62))

    def _logged_descent(
        self, features: tuple[Tensor, Tensor], batch: dict[str, Tensor], drawing: random.Random
    ) -> Tensor:
        """The descent loss of a batch, which is logged with its cosine."""
        stride = self.features.stride
        targets = paired_targets(self.targets, batch["fixed_labels"], batch["moving_labels"], self.label_ids, stride)
        descent, cosine = self._descent_loss(features, targets, _weights(batch, stride), drawing)
        self.log("train/descent_loss", descent, prog_bar=True)
        self.log("train/cosine", cosine, prog_bar=True)
        return descent

    def _descent_loss(
        self,
        features: tuple[Tensor, Tensor],
        targets: tuple[Tensor, Tensor],
        weights: Weights | None,
        drawing: random.Random,
    ) -> tuple[Tensor, Tensor]:
        """Loss and mean cosine over all pyramid levels, each started where its start state says."""
        kind = self.start_states.draw(drawing)
        losses, cosines = [], []
        carried: Tensor | None = None
        for f, m, *level in pyramid((*features, *targets, *(weights or ())), self.levels):
            level_targets = (level[0], level[1])
            trust = None if weights is None else (level[2], level[3])
            carried = carried_displacement(carried, f)
            start = self.start_states.start(kind, self.step, (f, m), level_targets, carried, drawing, trust)
            steps = unrolled_descent(self.step, f, m, *level_targets, start, self.unrolled_steps, trust)
            losses.append(self.loss(steps, level_targets))
            cosines.append(_average_cosine(steps))
            carried = steps[-1].displacement.detach()
        return torch.stack(losses).mean(), torch.stack(cosines).mean()

    @torch.no_grad()
    def register(
        self, fixed: Tensor, moving: Tensor, inside: Tensor, moving_inside: Tensor | None = None
    ) -> ModuleRegistration:
        """Register prepared images with the module's own features and solver, as ``register_pair`` does.

        Args:
            fixed, moving: (B, 1, I, J, K) on one working grid.
            inside: (B, 1, I, J, K), 1 where both images are seen and the fixed mask is set, 0 elsewhere.
            moving_inside: (B, 1, I, J, K), the moving image's mask; None where it has none.
        """
        stride = self.features.stride
        f, m = self.features(fixed, self.modalities[0]), self.features(moving, self.modalities[1])
        # Displacements of tens of voxels need more than the eight bits of a bfloat16.
        with torch.autocast(self.device.type, enabled=False):
            moving_weight = None if moving_inside is None else pool_weight(moving_inside, stride)
            u = self.solver(f, m, weight=pool_weight(inside, stride), moving_weight=moving_weight)
            return ModuleRegistration(f, m, u, resize_displacement(u, fixed.shape[2:]))

    def on_validation_epoch_start(self) -> None:
        """Begin the list of validated pairs anew."""
        self.validated = []

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Register a whole pair; log Dice, folds and the agreement of the descent."""
        fixed_labels, moving_labels = batch["fixed_labels"], batch["moving_labels"]
        f, m, _, displacement = self.register(
            batch["fixed"], batch["moving"], batch["inside"], batch.get("moving_inside")
        )
        with torch.autocast(self.device.type, enabled=False):
            targets = paired_targets(self.targets, fixed_labels, moving_labels, self.label_ids, self.features.stride)
            weights = _weights(batch, self.features.stride)
            cosine = descent_agreement(self.step, f, m, *targets, self.levels, weights=weights)
        jacobian = jacobian_statistics(displacement)
        organs = registered_dice(fixed_labels, moving_labels, displacement, self.label_ids)
        values = {
            "val/dice": mean_dice(organs),
            "val/dice_before": mean_shared_dice(fixed_labels, moving_labels, moving_labels, self.label_ids),
            "val/cosine": cosine,
            "val/folds_percent": jacobian.folds_percent,
            "val/sdlogj": jacobian.sdlogj,
        }
        self.validated.append(
            {
                "case": batch.get("name", [str(batch_idx)])[0],
                **{name.removeprefix("val/"): value for name, value in values.items()},
                "organs": {self.label_names[i]: dice for i, dice in organs.items()},
            }
        )
        for name, value in values.items():
            self.log(name, value, on_epoch=True, batch_size=1, sync_dist=True, prog_bar=name == "val/dice")

    def on_validation_epoch_end(self) -> None:
        """Put together the pairs of all processes."""
        if self.trainer.world_size > 1:
            shares: list[Any] = [None] * self.trainer.world_size
            torch.distributed.all_gather_object(shares, self.validated)
            # By name, because every process validates all pairs where there are fewer pairs than processes.
            self.validated = list({case["case"]: case for share in shares for case in share}.values())

    def on_fit_start(self) -> None:
        """Note where contrast and warm-up end, which a resumed run keeps."""
        if self.warmup_steps < 0:
            total = int(self.trainer.estimated_stepping_batches)
            self.warmup_steps, self.contrast_steps = round(self.warmup * total), round(self.contrast_share * total)

    def configure_optimizers(self) -> Any:
        """The configured optimiser; its learning rate rises for 5 % of the steps, then falls along a cosine."""
        optimizer = instantiate(self.hparams["optimizer"])(self.parameters())
        total = self.trainer.estimated_stepping_batches
        # A function is not kept in checkpoints, so a run can be resumed with more steps than it was started with.
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: learning_rate_share(step / total))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Note the package's version and the ends of contrast and warm-up."""
        checkpoint["mmreg_lightning_version"] = __version__
        checkpoint["warmup_steps"] = self.warmup_steps
        checkpoint["contrast_steps"] = self.contrast_steps

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on with contrast and warm-up as they were."""
        self.warmup_steps = int(checkpoint["warmup_steps"])
        self.contrast_steps = int(checkpoint.get("contrast_steps", 0))  # none before there was this stage


def learning_rate_share(progress: float, rise: float = 0.05) -> float:
    """Share of the largest learning rate: a linear rise, then half a cosine down to 0.

    Args:
        progress: share of the optimiser's steps that are done.
        rise: share of the steps in which it rises.
    """
    if progress < rise:
        return 0.04 + 0.96 * progress / rise
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (progress - rise) / (1 - rise))))


def _weights(batch: Mapping[str, Tensor], stride: int) -> Weights | None:
    """Where labels say something and masks are set, of each image on the feature grid; None is everywhere in both."""
    known = [(batch[f"{role}_labels"] != IGNORED).float() for role in ("fixed", "moving")]
    for index, name in enumerate(("inside", "moving_inside")):  # of a validation pair
        if name in batch:
            known[index] = known[index] * batch[name]
    if all(bool(x.all()) for x in known):
        return None
    return pool(known[0], stride), pool(known[1], stride)


def _average_cosine(steps: Sequence[UnrolledStep]) -> Tensor:
    return torch.stack([mean_cosine(step.update.detach(), step.target) for step in steps]).mean()
