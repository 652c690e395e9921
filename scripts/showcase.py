"""The difficult pairs of docs/register.md: ``python scripts/showcase.py outputs/phantom outputs/showcase``.

Cuts three pairs out of one MR and one CT of a phantom data set, as they come from different scanners, registers each by
``mmreg-register`` and leaves files and reports in a folder for each.
"""

from __future__ import annotations

import sys
from pathlib import Path

import nibabel as nib
import numpy as np

from mmreg_lightning.cli.register import main as register
from mmreg_lightning.geometry.grid import Grid
from mmreg_lightning.geometry.native import NativeGrid
from mmreg_lightning.geometry.resample import resample_volume
from mmreg_lightning.geometry.volume import Volume
from mmreg_lightning.io.images import read_image, read_labels, save_array


def write(volume: Volume, folder: Path, name: str, axes: str = "RAS") -> Path:
    """A volume in any axis order of the file, as "LPI"."""
    order = nib.orientations.ornt_transform(nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(axes))
    array = volume.data[0].numpy().astype(np.int16)
    image = nib.Nifti1Image(array, volume.grid.affine).as_reoriented(order)
    path = folder / f"{name}.nii.gz"
    save_array(np.asarray(image.dataobj), NativeGrid(image.shape, image.affine), path)
    return path


def part(volume: Volume, first: int, last: int) -> Volume:
    """Slices ``first`` to ``last`` of the third axis."""
    affine = volume.grid.affine.copy()
    affine[:3, 3] += affine[:3, 2] * first
    shape = (*volume.grid.shape[:2], last - first)
    return Volume(volume.data[..., first:last], Grid(shape, affine))


def main(data: Path, out: Path) -> None:
    """Make and register the pairs.

    Args:
        data: of mmreg-phantom, two subjects at least.
        out: gets a folder for each pair.
    """
    images = sorted((data / "imagesTr").glob("*_0000.nii.gz"))[0], sorted((data / "imagesTr").glob("*_0001.nii.gz"))[1]
    pair = [(read_image(path), read_labels(data / "labelsTr" / path.name)) for path in images]
    n = pair[0][0].grid.shape[2]
    scenes = {
        "overlap": [(0, 2 * n // 3, "RAS", None), (n // 3, n, "RAS", None)],
        "flipped": [(0, n, "RAS", None), (0, n, "LPI", None)],
        "anisotropic": [(0, n, "RAS", (2.0, 2.0, 5.0)), (0, n, "ASR", (5.0, 2.0, 2.0))],
    }
    for name, roles in scenes.items():
        folder = out / name
        folder.mkdir(parents=True, exist_ok=True)
        argv = ["--out", str(folder / "result"), "--overwrite", "--affine", "rigid"]
        argv += ["--fixed-modality", "MR", "--moving-modality", "CT"]
        for role, (image, labels), (first, last, axes, spacing) in zip(("fixed", "moving"), pair, roles, strict=True):
            for kind, volume in (("", part(image, first, last)), ("_labels", part(labels, first, last))):
                if spacing is not None:
                    grid = volume.grid.resampled(spacing)
                    volume = resample_volume(volume, grid, "nearest" if kind else "linear")
                argv += [f"--{role}{kind.replace('_', '-')}", str(write(volume, folder, f"{role}{kind}", axes))]
        print(f"{name}: mmreg-register {' '.join(argv)}")
        register(argv)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
