"""metrics.csv: Lightning's logger, which names the file where there is no room for it."""

from __future__ import annotations

from pathlib import Path

from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.utilities import rank_zero_only

from mmreg_lightning.errors import NO_ROOM, UserError


class MetricsLog(CSVLogger):
    """Lightning's logger of metrics.csv and hparams.yaml."""

    @rank_zero_only
    def save(self) -> None:
        """Called by Lightning.

        Raises:
            UserError: there is no room on the disk.
        """
        try:
            super().save()
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise
            path = error.filename or Path(self.log_dir) / self.experiment.NAME_METRICS_FILE
            raise UserError(f"cannot write {path}: {error.strerror}") from error
