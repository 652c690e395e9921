"""greedy: rigid or affine with NMI, then diffeomorphic with its metric for multi-modal images (picsl_greedy)."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class GreedyPeer:
    """The three commands of greedy's documentation: ``-a`` (affine), deformable, and composition.

    Settings: ``dof`` of the affine stage (6 or 12; with 12 it ran away on the phantom), ``metric`` of the deformable
    stage (``NMI``, ``WNCC 2x2x2``), ``smoothing`` (``-s``, as ``2.0vox 0.5vox``), ``iterations`` (``-n``, as
    ``100x50x10``).
    """

    package = "picsl_greedy"

    def __call__(self, fixed: Path, moving: Path, field: Path, settings: Mapping[str, Any], threads: int) -> None:
        """See ``Peer``."""
        from picsl_greedy import Greedy3D

        dof = settings.get("dof", 6)
        metric = settings.get("metric", "NMI")
        smoothing = settings.get("smoothing", "2.0vox 0.5vox")
        iterations = settings.get("iterations", "100x50x10")
        run = Greedy3D().execute
        with tempfile.TemporaryDirectory() as scratch:
            affine, warp = f"{scratch}/affine.mat", f"{scratch}/warp.nii.gz"
            common = f"-threads {threads} -i {fixed} {moving}"
            run(f"{common} -a -dof {dof} -m NMI -ia-identity -n 100x50x10 -o {affine}")
            run(f"{common} -it {affine} -m {metric} -s {smoothing} -n {iterations} -o {warp}")
            # The field alone (-rc) of both transforms, warp first seen from the fixed image.
            run(f"-threads {threads} -rf {fixed} -rm {moving} {scratch}/w.nii.gz -r {warp} {affine} -rc {field}")
