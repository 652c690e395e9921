"""mmreg-train: learn features by supervised iterative descent (a Hydra command)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import hydra
from omegaconf import OmegaConf

from mmreg_lightning.cli._hydra import run_hydra, run_job
from mmreg_lightning.config import CONF_DIR
from mmreg_lightning.training.sweep.names import run_name

if TYPE_CHECKING:
    from omegaconf import DictConfig


OmegaConf.register_new_resolver("mmreg.run_name", run_name, replace=True)


@hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name="train")
def main(config: DictConfig) -> float | None:
    def work() -> float | None:
        from mmreg_lightning.training.sweep.job import train_job

        return train_job(config)

    return run_job(work)


def entry() -> None:
    """Console script."""
    run_hydra(main, "train")


if __name__ == "__main__":
    entry()
