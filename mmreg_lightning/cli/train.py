"""mmreg-train: learn features by supervised iterative descent (a Hydra command)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import hydra
from omegaconf import OmegaConf

from mmreg_lightning.cli._app import run, run_hydra
from mmreg_lightning.config import CONF_DIR
from mmreg_lightning.training.sweep.names import run_name

if TYPE_CHECKING:
    from omegaconf import DictConfig


OmegaConf.register_new_resolver("mmreg.run_name", run_name, replace=True)


@hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name="train")
def main(config: DictConfig) -> float | None:
    def work() -> float | None:
        from mmreg_lightning.training.run import run_job

        return run_job(config)

    # The exit is inside, because Hydra adds a line of its own to every exception that passes through it.
    return run(work)


def entry() -> None:
    """Console script."""
    run_hydra(main)


if __name__ == "__main__":
    entry()
