"""Where half precision is chosen, and how much memory is left."""

from __future__ import annotations

import pytest
import torch

from mmreg_lightning import runtime
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


def cgroup(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(f"{text}\n", encoding="utf-8")


@pytest.mark.parametrize("version", [1, 2])
def test_memory_that_is_left_is_that_of_the_tightest_limit(version, tmp_path, monkeypatch):
    # Files as the kernel's documentation gives them: Admin Guide, cgroup-v2 and cgroup-v1/memory.
    (tmp_path / "meminfo").write_text("MemTotal: 9000 kB\nMemFree: 100 kB\nMemAvailable: 8000 kB\n", encoding="utf-8")
    monkeypatch.setattr(runtime, "_MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(runtime, "_CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(runtime, "_OWN_CGROUP", tmp_path / "own")
    top = tmp_path / "cgroup" / ("memory" if version == 1 else "")
    line = "4:memory:/job/step" if version == 1 else "0::/job/step"
    (tmp_path / "own").write_text(f"9:name=systemd:/x\n{line}\n", encoding="utf-8")
    assert runtime.available_memory() == 8000 * 2**10

    def limited(folder, limit, used, inactive):
        if version == 1:
            names = {"memory__limit_in_bytes": limit, "memory__usage_in_bytes": used}
            cgroup(folder, **names, memory__stat=f"inactive_file 7\ntotal_inactive_file {inactive}")
        else:
            cgroup(folder, memory__max=limit, memory__current=used, memory__stat=f"anon 3\ninactive_file {inactive}")

    unlimited = "9223372036854771712" if version == 1 else "max"
    limited(top / "job" / "step", unlimited, 10, 0)
    assert runtime.available_memory() == 8000 * 2**10
    limited(top / "job", 5_000_000, 3_000_000, 400_000)
    assert runtime.available_memory() == 2_400_000
    limited(top, 1_000_000, 2_000_000, 0)  # as a container sees its own
    assert runtime.available_memory() == 0


def test_without_such_files_nothing_is_known(tmp_path, monkeypatch):
    for name in ("_MEMINFO", "_CGROUPS", "_OWN_CGROUP"):
        monkeypatch.setattr(runtime, name, tmp_path / "nothing")
    assert runtime.available_memory() is None
