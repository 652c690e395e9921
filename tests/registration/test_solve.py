"""Solvers and features that diverge: one sentence, and no results."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from scenes import files_of, register_to

from mmreg_lightning.errors import UserError
from mmreg_lightning.features.mind import MindFeatures
from mmreg_lightning.solvers.demons import DemonsSolver


@pytest.mark.parametrize(
    ("spoilt", "sentence"),
    [
        (DemonsSolver, "solver DemonsSolver: the displacement is not finite"),
        (MindFeatures, "features=mind_ssc: those of the fixed image are not finite"),
    ],
)
def test_nothing_is_written_of_what_is_not_finite(
    write_scene: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoilt: type, sentence: str
) -> None:
    call = spoilt.__call__ if spoilt is DemonsSolver else spoilt.forward
    name = "__call__" if spoilt is DemonsSolver else "forward"
    monkeypatch.setattr(spoilt, name, lambda *args, **kwargs: call(*args, **kwargs) * torch.nan)
    with pytest.raises(UserError, match=sentence):
        register_to(
            files_of(write_scene("f").image, write_scene("m").image),
            tmp_path / "out",
            overrides=["solver.iterations=1"],
        )
    assert not (tmp_path / "out").exists()
