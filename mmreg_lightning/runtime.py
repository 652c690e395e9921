"""The machine: device, precision and memory."""

from __future__ import annotations

import resource
import sys
from pathlib import Path
from typing import Any

import torch

from mmreg_lightning.errors import UserError

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
