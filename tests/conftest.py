"""What tests of several layers share: a tiny data set, made once a session."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

SPACING = 12.0
"""Working spacing, mm, at which the tiny phantom has 32 voxels a side."""


@pytest.fixture(scope="session")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five subjects without deformation between MR and CT: 0001-0003 train, 0004 validates, 0005 tests."""
    from mmreg_lightning.data.phantom.dataset import write_phantom

    return write_phantom(
        tmp_path_factory.mktemp("data") / "phantom", 5, (32, 28, 32), spacing=SPACING, intra_displacement=0.0
    )


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for the whole session, so that the phantom is prepared once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)
