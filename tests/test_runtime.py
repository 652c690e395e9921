"""Where half precision is chosen."""

from __future__ import annotations

import pytest
import torch

from mmreg_lightning.runtime import resolve_precision


@pytest.mark.parametrize(("avx512", "amx", "expected"), [(0, 0, "32-true"), (1, 0, "bf16-mixed"), (0, 1, "bf16-mixed")])
def test_auto_is_what_the_processor_has_units_for(monkeypatch, avx512, amx, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: bool(avx512))
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: bool(amx))
    for accelerator in ("cpu", "auto"):
        assert resolve_precision("auto", accelerator) == expected


@pytest.mark.parametrize("native", [True, False])
def test_auto_on_a_gpu(monkeypatch, native):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native and not including_emulation)
    assert resolve_precision("auto", "gpu") == ("bf16-mixed" if native else "32-true")


def test_what_is_named_is_taken():
    assert resolve_precision("16-mixed", "cpu") == "16-mixed"
    assert resolve_precision(64, "cpu") == 64
