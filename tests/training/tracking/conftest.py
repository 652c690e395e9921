"""A W&B server that only listens."""

from __future__ import annotations

from unittest.mock import MagicMock

import pytest
import wandb


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> MagicMock:
    """In the place of ``wandb.init``: gives a run that is online."""
    run = MagicMock(id="abcd1234", offline=False, disabled=False)
    monkeypatch.setattr(wandb, "init", MagicMock(return_value=run))
    monkeypatch.setattr(wandb, "run", None)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    return run
