"""The device on which features are computed and compared."""

from __future__ import annotations

import torch

from mmreg_lightning.errors import UserError


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
        raise UserError(f"--device {name}: must be auto, cpu, cuda or cuda:N") from error
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device.type == "cuda" and (device.index or 0) >= count:
        raise UserError(f"--device {name}: this machine has {count} usable CUDA devices")
    if device.type not in ("cpu", "cuda"):
        raise UserError(f"--device {name}: must be auto, cpu, cuda or cuda:N")
    return device
