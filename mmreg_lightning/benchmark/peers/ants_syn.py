"""ANTs: affine and SyN, both with Mattes mutual information (antspyx)."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class AntsSynPeer:
    """``ants.registration`` with ``type_of_transform="SyN"``, which begins with an affine registration.

    Settings are keyword arguments of ``ants.registration``: ``grad_step``, ``flow_sigma``, ``total_sigma``,
    ``reg_iterations``.
    """

    package = "antspyx"

    def __call__(self, fixed: Path, moving: Path, field: Path, settings: Mapping[str, Any], threads: int) -> None:
        """See ``Peer``; the number of threads is ITK's, which ``run_peer`` sets before the package is imported."""
        import ants

        target, source = ants.image_read(str(fixed)), ants.image_read(str(moving))
        with tempfile.TemporaryDirectory() as scratch:
            result = ants.registration(
                target,
                source,
                type_of_transform="SyN",
                aff_metric="mattes",
                syn_metric="mattes",
                outprefix=f"{scratch}/",
                random_seed=1,
                **settings,
            )
            composed = ants.apply_transforms(target, source, result["fwdtransforms"], compose=f"{scratch}/composed_")
            shutil.copyfile(composed, field)
