"""The machine: device, precision and memory."""

from __future__ import annotations

import resource
import sys
from pathlib import Path
from typing import Any

import torch

from mmreg_lightning.errors import UserError

_MEMINFO, _CGROUPS = Path("/proc/meminfo"), Path("/sys/fs/cgroup")
_OWN_CGROUP = Path("/proc/self/cgroup")
_CLEAR, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


def resolve_device(name: str) -> torch.device:
    """The device called ``name``; ``auto`` is CUDA where there is any, else the CPU.

    Apple's MPS is not chosen: it has no three-dimensional ``grid_sample``.

    Raises:
        UserError: there is no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UserError(f"device={name}: must be auto, cpu, cuda or cuda:N") from error
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device.type == "cuda" and (device.index or 0) >= count:
        raise UserError(f"device={name}: this machine has {count} usable CUDA devices")
    if device.type not in ("cpu", "cuda"):
        raise UserError(f"device={name}: must be auto, cpu, cuda or cuda:N")
    return device


def resolve_precision(precision: Any, accelerator: str) -> Any:
    """``auto`` is ``bf16-mixed`` on GPUs and x86 processors that multiply bfloat16 in hardware, else ``32-true``.

    Elsewhere bfloat16 is emulated, which takes longer than single precision.

    Args:
        precision: of a Lightning ``Trainer``; anything but ``auto`` is returned as it is.
        accelerator: of the same trainer.
    """
    if precision != "auto":
        return precision
    if torch.cuda.is_available() and accelerator in ("auto", "gpu", "cuda"):
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return "bf16-mixed" if native else "32-true"


def reset_peak_memory() -> bool:
    """Forget the largest resident size so far; false where the system cannot (Linux can)."""
    try:
        _CLEAR.write_text("5", encoding="utf-8")
    except OSError:
        return False
    return True


def peak_memory_mb() -> float:
    """Largest resident size of this process, since ``reset_peak_memory`` or since it began."""
    if _STATUS.is_file():
        for line in _STATUS.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10  # bytes there, kB elsewhere


def available_memory() -> int | None:
    """Bytes that this process may still take: what the machine or its container (cgroup) has left.

    None where the system does not say (Linux does).
    """
    left = []
    if _MEMINFO.is_file():
        for line in _MEMINFO.read_text(encoding="utf-8").splitlines():
            if line.startswith("MemAvailable:"):
                left.append(int(line.split()[1]) * 2**10)
    left += [limit for limit in map(_left_in, _own_cgroups()) if limit is not None]
    return max(0, min(left)) if left else None


def _own_cgroups() -> list[Path]:
    """Folders of the cgroups of this process that may limit its memory, version 2 or 1, and those above them."""
    folders: list[Path] = []
    for line in _OWN_CGROUP.read_text(encoding="utf-8").splitlines() if _OWN_CGROUP.is_file() else []:
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        top = _CGROUPS / controllers
        whole = top / path.lstrip("/")
        # Within a container the path is that of the machine, while the folder on top is the container's own.
        folders += [top, *(folder for folder in (whole, *whole.parents) if folder.is_relative_to(top))]
    return list(dict.fromkeys(folders))


def _left_in(cgroup: Path) -> int | None:
    """Bytes that a cgroup has left; caches of files that can be dropped count as free. None without a limit."""
    for limit_name, used_name, cache in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        try:
            limit = (cgroup / limit_name).read_text(encoding="utf-8").strip()
            used = int((cgroup / used_name).read_text(encoding="utf-8"))
            stat = dict(line.split() for line in (cgroup / "memory.stat").read_text(encoding="utf-8").splitlines())
        except OSError:
            continue
        if limit.isdecimal():
            return int(limit) - used + int(stat.get(cache, 0))
    return None
