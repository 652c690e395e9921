"""What a multirun ends with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback


class SweepReport(Callback):
    """Prints the sweep's table and where its report lies."""

    def on_multirun_end(self, config: Any, **kwargs: Any) -> None:
        """Called by Hydra when all runs have ended."""
        from mmreg_lightning.training.sweep.report import write_sweep_report

        folder = Path(config.hydra.sweep.dir)
        print(write_sweep_report(folder))
        print(f"Report: {folder / 'report.html'}")
