"""The configuration folder is found from a checkout, an editable install and a wheel."""

from __future__ import annotations

from mmreg_lightning.paths import CONF_DIR


def test_configuration_folder():
    assert CONF_DIR.is_absolute()
    assert CONF_DIR.name == "conf" and CONF_DIR.is_dir()
