"""Checkpoints of modules that are not trained, and what trainings in processes of their own must have said."""

from __future__ import annotations

import json
from pathlib import Path


def recorded_warnings(folder: Path) -> str:
    """What the runs below a folder have said on stderr: the warnings that their records hold, in the order of paths."""
    records = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.rglob("result.json"))]
    assert records, "a training that ended well has written its record"
    return "".join(f"warning: {sentence}\n" for record in records for sentence in record["warnings"])


def untrained(root: Path, path: Path, *overrides: str) -> Path:
    """Write the checkpoint of a small module with random weights for a data set, at 12 mm; gives its path."""
    import pytorch_lightning as pl
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    from mmreg_lightning.config import CONF_DIR
    from mmreg_lightning.data.learn2reg import Learn2RegDataset
    from mmreg_lightning.training.module import DescentModule

    small = ["features=cnn", "features.width=4", "features.depth=1", "solver.iterations=1", "data.root=x"]
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF_DIR)):
        config = compose("train", overrides=[*small, *overrides])
    groups = ("features", "descent", "loss", "training", "optimizer", "solver")
    data = Learn2RegDataset.read(root)
    module = DescentModule(
        **{group: OmegaConf.to_container(config[group], resolve=True) for group in groups},
        modalities=[data.fixed_modality, data.moving_modality],
        label_names=dict(data.label_names),
        normalisation=OmegaConf.to_container(config.data.normalisation),
        spacing=12.0,
    )
    trainer = pl.Trainer(logger=False, enable_checkpointing=False, enable_progress_bar=False, accelerator="cpu")
    trainer.strategy.connect(module)
    trainer.save_checkpoint(path, weights_only=True)
    return path
