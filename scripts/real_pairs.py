"""Registers real pairs by ``mmreg-register --fixed A --moving B --out O`` without a further option, and pictures them.

    python scripts/real_pairs.py DATA VERTEBRAE outputs/real_pairs

DATA holds the data sets ``sts-mr-ct`` and ``prostate-mr-us`` and the label maps ``head-label-maps``, VERTEBRAE the
samples ``sample_ct`` and ``sample_mri`` of the package tptbox. A folder of outputs/real_pairs holds each result; a pair
that has one is not registered again. docs/results/real_pairs.json says of each pair how the command ended, how long it
took, and its notes; docs/pictures/real_*.jpg show them. Ends with an error if a command did not end with 0.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np
import yaml
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image as Picture
from scipy import ndimage
from scipy.spatial.transform import Rotation

from mmreg_lightning.data.learn2reg import Learn2RegDataset
from mmreg_lightning.files import write_json
from mmreg_lightning.functional.intensity import normalise_intensity
from mmreg_lightning.geometry.grid import Grid
from mmreg_lightning.geometry.resample import resample_volume
from mmreg_lightning.geometry.volume import Volume
from mmreg_lightning.geometry.world_transforms import map_points
from mmreg_lightning.io.images import read_image
from mmreg_lightning.io.transforms import read_transform
from mmreg_lightning.reporting.pages import COLOURS
from mmreg_lightning.reporting.planes import AXIAL, GREY, cut, extent, frame_plane, show_plane

COMMAND = "mmreg-register --fixed FIXED --moving MOVING --out OUT"
BYTES = 400_000  # of a picture in the docs
PERCENTILES = {"kind": "percentile", "low": 1.0, "high": 99.0}
SKIN_HU, FAT_HU, BONE_HU = -300, -30, 200  # between air, fat, muscle and bone
SLAB = 20  # slices
FINE, COARSE = 0.7, 3.0  # mm
AWAY = np.eye(4)
"""World RAS mm of the fine head to that of the coarse one."""
AWAY[:3, :3] = Rotation.from_euler("xyz", [4, -3, 6], degrees=True).as_matrix()
AWAY[:3, 3] = 12, -9, 15


class Case(NamedTuple):
    """A pair of files."""

    name: str
    fixed: Path
    moving: Path


def cases(data: Path, vertebrae: Path, out: Path) -> Iterator[Case]:
    """All pairs; what is cut or rendered is written to ``out``."""
    dataset = Learn2RegDataset.read(data / "sts-mr-ct", "data")
    patients = [pair for split in ("train", "val") for pair in dataset.pairs[split]]
    for pair in patients:
        yield Case(f"sts-{pair.fixed.subject}", pair.fixed.image, pair.moving.image)
    yield Case("slab", slab(patients[0].fixed.image, out), patients[0].moving.image)
    yield Case(
        "vertebrae",
        vertebrae / "sample_mri" / "sub-mri_label-6_T2w.nii.gz",
        vertebrae / "sample_ct" / "sub-ct_label-22_ct.nii.gz",
    )
    prostate = Learn2RegDataset.read(data / "prostate-mr-us", "data").pairs["val"][0]
    yield Case("prostate", prostate.fixed.image, prostate.moving.image)
    yield Case("sizes", *heads(data / "head-label-maps" / "head_01.nii.gz", out))


def slab(image: Path, out: Path) -> Path:
    """The middle slices of an image, as a file."""
    whole, path = nib.load(image), out / "slab.nii.gz"
    first = (whole.shape[2] - SLAB) // 2
    nib.save(whole.slicer[:, :, first : first + SLAB], path)
    return path


def heads(labels: Path, out: Path) -> tuple[Path, Path]:
    """A head of real anatomy and an intensity for each label, as SynthSeg renders it: a fine part of it, and all of it.

    The fine image is 160 x 160 x 120 mm about the middle of the head. The coarse one is 400 mm a side, has other
    intensities, and is turned and shifted by ``AWAY``. Both have noise, in air too.
    """
    head = read_image(labels)
    anatomy = head.data[0].long().numpy()
    middle = head.grid.affine[:3, :3] @ np.argwhere(anatomy).mean(axis=0) + head.grid.affine[:3, 3]
    paths = []
    for seed, name, spacing, size, away in (
        (1, "head_fine", FINE, (160, 160, 120), np.eye(4)),
        (2, "head_coarse", COARSE, (400, 400, 400), AWAY),
    ):
        rng = np.random.default_rng(seed)
        intensity = rng.uniform(30, 255, anatomy.max() + 1).astype(np.float32)
        intensity[0] = 0
        # The right half of the brain as the left one.
        intensity[41:48], intensity[49:53] = intensity[2:9], intensity[10:14]
        intensity[[53, 54, 58, 60]] = intensity[[17, 18, 26, 28]]
        rendered = Volume(head.data.new_tensor(intensity[anatomy])[None], head.grid)
        shape = tuple(round(side / spacing) for side in size)
        affine = np.diag([spacing, spacing, spacing, 1.0])
        affine[:3, 3] = middle - spacing * (np.array(shape) - 1) / 2
        array = resample_volume(rendered, Grid(shape, affine), fill=0.0).data[0].numpy()
        array = np.abs(array + rng.normal(0, 5, shape)).astype(np.int16)
        paths.append(out / f"{name}.nii.gz")
        nib.save(nib.Nifti1Image(array, away @ affine), paths[-1])
    return paths[0], paths[1]


def head_error(case: Case, result: Path) -> dict[str, object]:
    """Mean distance in mm from where the fine image's voxels belong in the coarse one, before and after.

    ``error_mm_by_height`` is that after the registration, of slabs of 20 mm, the lowest first.
    """
    grid = read_image(case.fixed).grid
    voxels = np.stack(np.meshgrid(*(np.arange(0, n, 8) for n in grid.shape), indexing="ij"), axis=-1).reshape(-1, 3)
    # Air has no place of its own.
    voxels = voxels[read_image(case.fixed).data[0].numpy()[tuple(voxels.T)] > 25]
    points = voxels @ grid.affine[:3, :3].T + grid.affine[:3, 3]
    right = points @ AWAY[:3, :3].T + AWAY[:3, 3]
    found = map_points(read_transform(result / "displacement.itk.nii.gz").transform, points)
    before, after = (np.linalg.norm(at - right, axis=1) for at in (points, found))
    height = (voxels[:, 2] * FINE // 20).astype(int)
    return {
        "error_mm_before": round(before.mean(), 2),
        "error_mm_after": round(after.mean(), 2),
        "error_mm_by_height": [round(after[height == n].mean(), 2) for n in range(height.max() + 1)],
    }


def register(case: Case, out: Path) -> dict[str, object]:
    """Run the command, unless it has been; what docs/results says of it."""
    record, result = out / case.name / "run.json", out / case.name / "result"
    if not record.is_file():
        start = time.perf_counter()
        files = ["--fixed", str(case.fixed), "--moving", str(case.moving), "--out", str(result)]
        # A result without a record is that of a run that was stopped before it was noted.
        if result.exists():
            files.append("--overwrite")
        ended = subprocess.run(
            [sys.executable, "-m", "mmreg_lightning.cli.register", *files], stderr=subprocess.PIPE, encoding="utf-8"
        )
        seconds = round(time.perf_counter() - start, 1)
        if ended.returncode == 0:
            notes = yaml.safe_load((result / "run.yaml").read_text(encoding="utf-8"))["notes"]
        else:
            notes = ended.stderr.strip().splitlines()[-1:]
        for path in (case.fixed, case.moving):
            notes = [note.replace(str(path), path.name) for note in notes]
        found = {"pair": case.name, "exit_code": ended.returncode, "seconds": seconds, "notes": notes}
        if case.name == "sizes" and ended.returncode == 0:
            found |= head_error(case, result)
        record.parent.mkdir(parents=True, exist_ok=True)
        write_json(record, found)
    return dict(json.loads(record.read_text(encoding="utf-8")))


def draw_patients(patients: Sequence[Case], out: Path) -> Figure:
    """The middle axial slice of each MR, with what the CT shows as outlines: before, and after."""
    columns = 5
    rows = -(-len(patients) // columns)
    figure = Figure(figsize=(2.9 * columns, 1.62 * rows + 0.3), dpi=110)
    grid = figure.add_gridspec(
        rows, columns * 2, left=0.004, right=0.996, bottom=0.004, top=0.955, wspace=0.03, hspace=0.15
    )
    for number, case in enumerate(patients):
        row, column = divmod(number, columns)
        fixed, moving = read_image(case.fixed), read_image(case.moving)
        warped = read_image(out / case.name / "result" / "warped.nii.gz")
        states = {"before": resample_volume(moving, fixed.grid), "after": warped}
        for side, (state, image) in enumerate(states.items()):
            ax = figure.add_subplot(grid[row, 2 * column + side])
            shown = normalise_intensity(fixed.data, PERCENTILES)[0]
            spacing = fixed.grid.spacing.tolist()
            show_plane(ax, shown, spacing, AXIAL, 0.0, **GREY)
            outline(ax, image)
            frame_plane(ax, fixed.grid.shape, spacing, AXIAL)
            ax.set_title(f"{case.name.removeprefix('sts-')} {state}", fontsize=7, pad=1.5)
    figure.suptitle(
        "Middle axial slice of each MR, with outlines of the CT: skin and table, or the end of its field of view "
        "(orange), fat against muscle (blue), bone (pink)",
        fontsize=10,
        y=0.995,
    )
    return figure


def outline(ax: Axes, ct: Volume) -> None:
    """Draw skin, fat and bone of a CT as lines on its middle axial plane."""
    spacing = ct.grid.spacing.tolist()
    plane = ndimage.gaussian_filter(cut(ct.data[0], AXIAL, spacing, 0.0), 0.7)
    left, right, bottom, top = extent(ct.grid.shape, spacing, AXIAL)
    x, y = (
        low + (np.arange(n) + 0.5) * (high - low) / n
        for n, low, high in zip(plane.shape[::-1], (left, bottom), (right, top), strict=True)
    )
    for level, colour in ((FAT_HU, COLOURS[4]), (SKIN_HU, COLOURS[1]), (BONE_HU, COLOURS[3])):
        if plane.min() < level < plane.max():
            ax.contour(x, y, plane, levels=[level], colors=colour, linewidths=0.6, linestyles="solid")


def save(picture: Picture.Image, path: Path) -> None:
    """Save a picture as JPEG, of less than ``BYTES``."""
    for quality in (90, 85, 80, 70):
        picture.convert("RGB").save(path, quality=quality, optimize=True)
        if path.stat().st_size < BYTES:
            return
    raise SystemExit(f"{path}: has {path.stat().st_size} bytes, the limit is {BYTES}")


def main() -> None:
    """Register and draw as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("vertebrae", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--docs", type=Path, default=Path("docs"))
    arguments = parser.parse_args()
    out = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    found = list(cases(arguments.data, arguments.vertebrae, out))
    rows = []
    for case in found:
        rows.append(register(case, out))
        print(json.dumps(rows[-1]), flush=True)
    write_json(arguments.docs / "results" / "real_pairs.json", {"command": COMMAND, "pairs": rows})
    failed = [str(row["pair"]) for row in rows if row["exit_code"] != 0]
    if failed:
        raise SystemExit(f"{len(failed)} of {len(rows)} pairs failed: {', '.join(failed)}")
    patients = [case for case in found if case.name.startswith("sts-")]
    sheet = out / "patients.png"
    draw_patients(patients, out).savefig(sheet)
    pictures = arguments.docs / "pictures"
    save(Picture.open(sheet), pictures / "real_patients.jpg")
    for case in found[len(patients) :]:
        save(Picture.open(out / case.name / "result" / "report.png"), pictures / f"real_{case.name}.jpg")


if __name__ == "__main__":
    main()
