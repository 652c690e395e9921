"""The precision that a training computes in where nobody names one."""

from __future__ import annotations

from typing import Any

import torch


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
