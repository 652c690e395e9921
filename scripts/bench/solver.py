"""One demons iteration against what it cannot do without: one sampling of the same features."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from clock import in_turns, medians

from mmreg_lightning.descent.regularisers import GaussianRegulariser
from mmreg_lightning.descent.step import DescentStep
from mmreg_lightning.functional.products import feature_products
from mmreg_lightning.functional.smooth import gaussian_smooth
from mmreg_lightning.functional.warp import to_torch_grid, warp

SHAPE, CHANNELS = (96, 80, 96), 16


@torch.no_grad()
def measure(out: Path, arguments: Namespace) -> dict[str, Any]:
    """Tables by title."""
    torch.manual_seed(1)
    device = torch.device(arguments.device)
    fixed, moving = (gaussian_smooth(torch.rand(1, CHANNELS, *SHAPE), 1.0).to(device) for _ in range(2))
    u = (gaussian_smooth(torch.randn(1, 3, *SHAPE), 2.0) * 5).to(device)
    warped, grid = warp(moving, u), to_torch_grid(u)
    step = DescentStep(GaussianRegulariser(sigma_update=0.7, sigma_field=0.7), alpha=0.1)
    actions = {
        "grid_sample of the moving features": lambda: F.grid_sample(
            moving, grid, padding_mode="border", align_corners=False
        ),
        "copy of the same bytes": moving.clone,
        "gradients, residual and their products": lambda: feature_products(fixed, warped, None, "symmetric"),
        "smoothing of a displacement": lambda: gaussian_smooth(u, 0.7),
        "one demons iteration": lambda: step.advance(u, step.update(fixed, moving, u)),
    }
    if device.type == "cuda":
        actions = {name: _waited(action) for name, action in actions.items()}
    times = medians(in_turns(actions, max(arguments.repeats, 9)))
    limit = times["grid_sample of the moving features"]
    rows = [["", "ms", "x grid_sample"]]
    rows += [[name, f"{value:.0f}", f"{value / limit:.2f}"] for name, value in times.items()]
    return {f"One demons iteration, {CHANNELS} channels on {'x'.join(map(str, SHAPE))} voxels": rows}


def _waited(action: Callable[[], object]) -> Callable[[], None]:
    """The action and the time that a GPU takes for it."""

    def whole() -> None:
        action()
        torch.cuda.synchronize()

    return whole
