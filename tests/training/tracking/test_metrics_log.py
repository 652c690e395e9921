"""metrics.csv on a full disk."""

from __future__ import annotations

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from mmreg_lightning.config import CONF_DIR, instantiate
from mmreg_lightning.errors import UserError

FULL = Path("/dev/full")
"""Whatever is written to it meets a full disk."""


@pytest.fixture
def log(tmp_path):
    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        config = compose("train", [f"output_dir={tmp_path}"])
    log = instantiate(config.logger.csv)
    log.log_hyperparams({"seed": 1})
    log.log_metrics({"loss": 1.0}, step=0)
    log.save()
    assert (tmp_path / "metrics.csv").read_text().splitlines()[0] == "loss,step"
    return log


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")
@pytest.mark.parametrize(("name", "metrics"), [("metrics.csv", {"loss": 1.0}), ("metrics.csv", {"other": 1.0})])
def test_a_full_disk_is_one_sentence_with_the_path(log, tmp_path, name, metrics):
    (tmp_path / name).unlink()
    (tmp_path / name).symlink_to(FULL)
    log.log_metrics(metrics, step=1)
    with pytest.raises(UserError, match=f"^cannot write {tmp_path}/metrics.csv: No space left on device$"):
        log.save()


def test_another_error_is_a_defect(log, tmp_path):
    (tmp_path / "metrics.csv").unlink()
    (tmp_path / "metrics.csv").mkdir()
    log.log_metrics({"loss": 1.0}, step=1)
    with pytest.raises(IsADirectoryError):
        log.save()
