"""ConvexAdam with MIND-SSC, as the package convexAdam runs it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np


class ConvexAdamPeer:
    """``convex_adam_pt`` on both images as arrays; the moving one is resampled to the fixed grid first, as it asks.

    Settings are keyword arguments of ``convex_adam_pt``: ``mind_r``, ``mind_d``, ``grid_sp``, ``disp_hw``,
    ``lambda_weight``, ``selected_niter``, ``selected_smooth``, ``grid_sp_adam``.
    """

    package = "convexAdam"

    def __call__(self, fixed: Path, moving: Path, field: Path, settings: Mapping[str, Any], threads: int) -> None:
        """See ``Peer``."""
        import torch
        from convexAdam.convex_adam_MIND import convex_adam_pt

        from mmreg_lightning.geometry.resample import resample_volume
        from mmreg_lightning.io.images import read_image
        from mmreg_lightning.io.itk_fields import write_itk_field
        from mmreg_lightning.io.l2r_fields import from_l2r

        torch.set_num_threads(threads)
        target = read_image(fixed)
        source = resample_volume(read_image(moving), target.grid, "linear")
        arrays = (target.native.from_canonical(v.data[0].numpy()) for v in (target, source))
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        dtype = torch.float16 if device.type == "cuda" else torch.float32
        found = convex_adam_pt(*(np.ascontiguousarray(a) for a in arrays), dtype=dtype, device=device, **settings)
        displacement = from_l2r(found, target.native, target.native)
        write_itk_field(displacement, target.grid, field, like=target)
