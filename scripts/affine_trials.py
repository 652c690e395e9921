"""Known affines to be found again: ``python scripts/affine_trials.py DATA OUT [--checkpoint C] [--trials 40]``.

The moving image of each pair is moved in the world by a random similarity (rotation of up to 20 degrees about any axis,
shift of up to 30 mm, scale of 0.9 to 1.1), and ``--affine KIND`` must find it, beside ANTs' with mutual
information from its own start (needs the extra peers). The error of a trial is the mean distance, in voxels of the
fixed image, between where the transform takes its brighter half of voxels and where it should.

What is right: for pairs of one subject without a deformation (``mmreg-phantom --intra-displacement 0``) the known
affine itself; for others (``--relative``) the known affine after what the same method finds on the pair as it is.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from mmreg_lightning.data.learn2reg import Learn2RegDataset
from mmreg_lightning.data.pair import Image, Pair
from mmreg_lightning.files import ensure_output_dir, write_json, write_rows
from mmreg_lightning.geometry.frames import transform_points
from mmreg_lightning.geometry.grid import Grid
from mmreg_lightning.geometry.volume import Volume
from mmreg_lightning.io.images import read_image, write_image
from mmreg_lightning.io.transforms import read_affine
from mmreg_lightning.registration.settings import Options, Settings, resolve
from mmreg_lightning.registration.solve import extract

MAX_DEGREES, MAX_SHIFT_MM, SCALES, LIMIT_VOXELS = 20.0, 30.0, (0.9, 1.1), 2.0


def random_similarity(rng: np.random.Generator, center: NDArray[np.float64]) -> NDArray[np.float64]:
    """4x4, world RAS mm, about ``center``."""
    axis, direction = (vector / np.linalg.norm(vector) for vector in rng.normal(size=(2, 3)))
    angle = np.deg2rad(rng.uniform(0, MAX_DEGREES))
    out = np.eye(4)
    out[:3, :3] = Rotation.from_rotvec(angle * axis).as_matrix() * rng.uniform(*SCALES)
    out[:3, 3] = center - out[:3, :3] @ center + direction * rng.uniform(0, MAX_SHIFT_MM)
    return out


def moved(volume: Volume, by: NDArray[np.float64]) -> Volume:
    """The same voxels elsewhere in the world."""
    return Volume(volume.data, Grid(volume.grid.shape, by @ volume.grid.affine), path=volume.path)


def ours(fixed: Volume, moving: Volume, settings: Settings) -> NDArray[np.float64]:
    """4x4 of ``mmreg-register --affine KIND``."""
    return extract(Pair(Image(fixed), Image(moving)), settings).initial


def of_ants(fixed: Volume, moving: Volume, kind: str) -> NDArray[np.float64]:
    """4x4 of ``ants.registration(..., KIND)``, whose metric is mutual information."""
    import ants

    with tempfile.TemporaryDirectory() as folder:
        images = []
        for name, volume in (("fixed", fixed), ("moving", moving)):
            write_image(volume, Path(folder) / f"{name}.nii.gz")
            images.append(ants.image_read(f"{folder}/{name}.nii.gz"))
        found = ants.registration(*images, kind.capitalize(), random_seed=1, outprefix=f"{folder}/out")
        return read_affine(found["fwdtransforms"][0])


def main(arguments: argparse.Namespace) -> None:
    """Run the trials; write trials.csv and summary.json."""
    dataset = Learn2RegDataset.read(arguments.data)
    pairs = [pair for pair in dataset.pairs[arguments.split] if pair.same_subject]
    names = {"fixed_modality": dataset.fixed_modality, "moving_modality": dataset.moving_modality}
    options = {**names, "affine": arguments.kind}
    methods = {"mind_ssc": resolve(Options(**options)), "ants_affine": None}
    if arguments.checkpoint is not None:
        methods["learned"] = resolve(Options(arguments.checkpoint, **options))
    rng = np.random.default_rng(arguments.seed)
    rows = []
    alone: dict[tuple[str, str], NDArray[np.float64]] = {}
    for trial in range(arguments.trials):
        pair = pairs[trial % len(pairs)]
        fixed, moving = read_image(pair.fixed.image), read_image(pair.moving.image)
        known = random_similarity(rng, fixed.grid.center)
        body = np.argwhere(fixed.data[0].numpy() > np.percentile(fixed.data.numpy(), 50))
        points = transform_points(fixed.grid.affine, body[:: max(1, len(body) // 2000)])
        for method, settings in methods.items():

            def find(target: Volume, settings: Settings | None = settings, fixed: Volume = fixed) -> NDArray:
                if settings is None:
                    return of_ants(fixed, target, arguments.kind)
                return ours(fixed, target, settings)

            if (method, pair.name) not in alone:
                alone[method, pair.name] = find(moving) if arguments.relative else np.eye(4)
            start = time.perf_counter()
            found = find(moved(moving, known))
            seconds = time.perf_counter() - start
            right = transform_points(known @ alone[method, pair.name], points)
            voxel = float(np.prod(fixed.grid.spacing)) ** (1 / 3)
            error = float(np.linalg.norm(transform_points(found, points) - right, axis=1).mean()) / voxel
            rows.append({"trial": trial, "pair": pair.name, "method": method, "error": error, "seconds": seconds})
            print(f"{trial + 1}/{arguments.trials} {method}: {error:.2f} voxels, {seconds:.1f} s", flush=True)
    folder = ensure_output_dir(arguments.out)
    write_rows(folder / "trials.csv", rows)
    summary = {}
    for method in methods:
        errors = np.array([row["error"] for row in rows if row["method"] == method])
        summary[method] = {
            "trials": len(errors),
            "found_percent": 100 * float((errors < LIMIT_VOXELS).mean()),
            "median_error_voxels": float(np.median(errors)),
            "mean_seconds": float(np.mean([row["seconds"] for row in rows if row["method"] == method])),
        }
    write_json(
        folder / "summary.json",
        {"seed": arguments.seed, "kind": arguments.kind, "relative": arguments.relative, **summary},
    )
    print(json.dumps(summary, indent=2))


if __name__ == "__main__":
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--split", default="test")
    parser.add_argument("--kind", choices=("rigid", "similarity", "affine"), default="affine")
    parser.add_argument("--relative", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    main(parser.parse_args())
