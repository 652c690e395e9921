"""One training step by part, the trainer against a bare loop, and what T unrolled steps keep in memory."""

from __future__ import annotations

import itertools
import logging
import random
import tempfile
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from clock import in_turns, medians, process, python
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from torch import Tensor

from mmreg_lightning.config import CONF_DIR, instantiate
from mmreg_lightning.descent.targets import paired_targets
from mmreg_lightning.descent.unrolled import unrolled_descent
from mmreg_lightning.training.module import DescentModule

SUBJECTS, SIZE, STEPS = 8, (64, 56, 64), 20


def measure(out: Path, arguments: Namespace) -> dict[str, Any]:
    """Tables by title."""
    data = out / "phantom_training"
    if not data.is_dir():
        size = ["--subjects", SUBJECTS, "--size", *SIZE, "--val", 1, "--test", 0]
        process(python("-m", "mmreg_lightning.cli.phantom", "--out", data, *size), arguments.threads, out)
    overrides = ["experiment=demo", f"data.root={data}", f"data.cache_dir={out / 'cache'}", "output_dir=unused"]
    overrides += [f"data.samples_per_epoch={STEPS}", "training.warmup=0.0", f"trainer.max_steps={STEPS}"]
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        config: Any = OmegaConf.to_container(compose("train", overrides), resolve=True)
    return {
        **_parts(config, arguments.repeats),
        **_overhead(config, arguments.repeats),
        **_memory(config),
    }


def _build(config: Any) -> tuple[Any, DescentModule]:
    pl.seed_everything(1, verbose=False)
    data = instantiate(config["data"])
    groups = {name: config[name] for name in ("features", "descent", "loss", "training", "optimizer", "solver")}
    module = DescentModule(
        **groups,
        modalities=data.modalities,
        label_names=data.label_names,
        normalisation=data.normalisation,
        spacing=config["data"]["spacing"],
    )
    return data, module


def _parts(config: Any, repeats: int) -> dict[str, Any]:
    data, module = _build(config)
    data.setup("fit")
    loader = iter(data.train_dataloader())
    batch = next(loader)
    stride, ids = module.features.stride, module.label_ids
    with torch.no_grad():
        features = [
            module.features.activate(x)
            for x in module.features.pair_logits(batch["fixed"], batch["moving"], module.modalities)
        ]

    def network() -> None:
        fixed, moving = module.features.pair_logits(batch["fixed"], batch["moving"], module.modalities)
        (module.features.activate(fixed) + module.features.activate(moving)).square().mean().backward()

    def descent() -> None:
        leaves = [x.clone().requires_grad_() for x in features]
        targets = paired_targets(module.targets, batch["fixed_labels"], batch["moving_labels"], ids, stride)
        # Of start states as in training: the mean over many draws is what a step costs.
        for seed in range(8):
            loss, _ = module._descent_loss((leaves[0], leaves[1]), targets, random.Random(seed))
            loss.backward()

    times = medians(in_turns({"data": lambda: next(loader), "network": network, "descent": descent}, repeats))
    times["descent"] /= 8
    rows = [["part of a step, one pair", "ms", "x network"]]
    names = {"data": "data, in this process", "network": "network, forward and backward"}
    for name, value in times.items():
        title = names.get(name, "unrolled descent and its loss, forward and backward")
        rows.append([title, f"{value:.0f}", f"{value / times['network']:.2f}"])
    return {f"A training step of experiment=demo, {'x'.join(map(str, SIZE))} voxels": rows}


def _overhead(config: Any, repeats: int) -> dict[str, Any]:
    """The trainer, with its data loading and logging, against a loop over batches in memory."""
    logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.WARNING)
    data, module = _build(config)
    module.configure_optimizers = lambda: torch.optim.AdamW(module.parameters(), 1e-4)  # type: ignore[method-assign]
    data.setup("fit")
    batches = list(itertools.islice(data.train_dataloader(), STEPS))
    alone = _NoTrainer()
    write = module.log

    def bare() -> None:
        module.log, module.trainer = (lambda *_, **__: None), alone  # type: ignore[method-assign, assignment]
        optimizer = torch.optim.AdamW(module.parameters(), 1e-4)
        module.train()
        for number, batch in enumerate(batches):
            optimizer.zero_grad()
            module.training_step(batch, number).backward()
            torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
            optimizer.step()

    def trainer(workers: int) -> None:
        module.log = write  # type: ignore[method-assign]
        data.num_workers = workers
        with tempfile.TemporaryDirectory() as folder:
            pl.Trainer(
                accelerator="cpu",
                max_steps=STEPS,
                limit_val_batches=0,  # they are work, not overhead
                logger=pl.loggers.CSVLogger(folder),
                gradient_clip_val=1.0,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                use_distributed_sampler=False,
            ).fit(module, datamodule=data)

    runs = {
        "bare loop over batches in memory": bare,
        "Lightning, logging, data loading": lambda: trainer(0),
        "the same, data in 1 worker": lambda: trainer(1),
        "the same, data in 2 workers": lambda: trainer(2),
    }
    times = medians(in_turns(runs, repeats))
    base = times["bare loop over batches in memory"]
    rows = [["", "s", "steps / s", "x bare loop"]]
    rows += [
        [name, f"{value / 1e3:.1f}", f"{1e3 * STEPS / value:.2f}", f"{value / base:.2f}"]
        for name, value in times.items()
    ]
    return {f"{STEPS} training steps, one pair each": rows}


class _NoTrainer:
    """What ``training_step`` asks its trainer for, where there is none."""

    global_step = 10**6
    global_rank = 0


def _memory(config: Any) -> dict[str, Any]:
    """Bytes that autograd keeps for T unrolled steps, beyond the features themselves."""
    _, module = _build(config)
    shape = (48, 40, 48)
    labels, start = torch.rand(1, 14, *shape), torch.zeros(1, 3, *shape)
    rows = [["T", "channels", "kept for backward, MB", "scalar fields a step"]]
    for count, channels in itertools.product((1, 2, 4, 8), (16, 64)):
        fixed, moving = (torch.rand(1, channels, *shape).requires_grad_() for _ in range(2))
        kept: dict[int, int] = {}

        def keep(x: Tensor, kept: dict[int, int] = kept) -> Tensor:
            kept[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
            return x

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
            steps = unrolled_descent(module.step, fixed, moving, labels, labels, start, count)
        for leaf in (fixed, moving):
            kept.pop(leaf.untyped_storage().data_ptr(), None)
        total = sum(kept.values())
        rows.append([str(count), str(channels), f"{total / 2**20:.1f}", f"{total / start[0, 0].nbytes / count:.0f}"])
        del steps
    return {f"Memory of T unrolled steps on {'x'.join(map(str, shape))} feature voxels": rows}
