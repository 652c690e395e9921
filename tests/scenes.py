"""A small scene in the world, on any grid, a solver of known result, and a checkpoint of an untrained module."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mmreg_lightning.data.pair import Image, ImageFiles, Pair
from mmreg_lightning.geometry.frames import transform_points
from mmreg_lightning.geometry.grid import Grid
from mmreg_lightning.geometry.volume import Volume
from mmreg_lightning.registration.register import register_files
from mmreg_lightning.registration.result import Result
from mmreg_lightning.registration.settings import Options, resolve
from mmreg_lightning.solvers.protocol import Progress

SIDE = 32  # voxels; 3 mm each
STRAIGHT = np.array([[3.0, 0, 0, -45], [0, 3.0, 0, -40], [0, 0, 3.0, -50], [0, 0, 0, 1]])
CENTER = np.array([1.5, 6.5, -3.5])  # of the body, mm
QUICK = ["solver.iterations=4"]


def organs(points: NDArray) -> list[NDArray]:
    """Where two ellipsoids are; points (..., 3) in world mm about (1.5, 6.5, -3.5), the centre of the grid."""
    first = np.linalg.norm((points - [-12, 8, 2]) / [16, 14, 20], axis=-1) < 1
    second = np.linalg.norm((points - [20, 0, -8]) / [11, 18, 14], axis=-1) < 1
    return [first, second]


def picture(points: NDArray) -> NDArray[np.float32]:
    """A body with texture around both organs, nowhere below 0."""
    body = np.linalg.norm((points - [1.5, 6.5, -3.5]) / [40, 36, 42], axis=-1) < 1
    x, y, z = np.moveaxis(points, -1, 0)
    texture = 8 * (np.sin(x / 5) * np.cos(y / 6) + np.sin(z / 5 + y / 9))
    first, second = organs(points)
    return np.where(body, 60 + texture + 60 * first + 100 * second, 0).astype(np.float32)


@dataclass(frozen=True)
class Written:
    """Paths of an image of the scene and of its labels (1 and 2)."""

    image: Path
    labels: Path


@pytest.fixture
def write_scene(tmp_path: Path) -> Callable[..., Written]:
    """Writes the scene, moved by ``shift`` mm, on a grid, in an axis order as "LAS"."""

    def write(
        name: str,
        shape: Sequence[int] = (SIDE, SIDE, SIDE),
        affine: NDArray = STRAIGHT,
        shift: Sequence[float] = (0, 0, 0),
        axes: str = "RAS",
    ) -> Written:
        voxels = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1)
        points = voxels @ affine[:3, :3].T + affine[:3, 3] - np.asarray(shift)
        first, second = organs(points)
        arrays = picture(points), (first + 2 * (second & ~first)).astype(np.uint8)
        written = Written(tmp_path / f"{name}.nii.gz", tmp_path / f"{name}_labels.nii.gz")
        for array, path in zip(arrays, (written.image, written.labels), strict=True):
            image = nib.Nifti1Image(array, affine)
            order = nib.orientations.ornt_transform(
                nib.orientations.io_orientation(affine), nib.orientations.axcodes2ornt(axes)
            )
            nib.save(image.as_reoriented(order), path)
        return written

    return write


@pytest.fixture
def scenes(write_scene: Callable[..., Written]) -> tuple[Written, Written]:
    """The scene and the same moved by (4, -3, 2) mm, on other grids and in other axis orders."""
    return write_scene("f", axes="PSR"), write_scene("m", (38, 30, 36), shift=(4, -3, 2), axes="LAS")


def image_of(
    array: NDArray, affine: NDArray, mask: NDArray | None = None, labels: NDArray | None = None, path: str | None = None
) -> Image:
    """An image in memory of an array (I, J, K), and of a mask and labels on its grid."""
    i, j, k = array.shape
    grid = Grid((i, j, k), affine)
    named = None if path is None else Path(path)
    return Image(
        Volume(torch.tensor(array, dtype=torch.float32)[None], grid, path=named),
        None if labels is None else Volume(torch.tensor(labels, dtype=torch.int64)[None], grid),
        None if mask is None else Volume(torch.tensor(mask, dtype=torch.float32)[None], grid, path=named),
    )


def translation(*shift: float) -> NDArray[np.float64]:
    """4x4, by so many mm."""
    matrix = np.eye(4)
    matrix[:3, 3] = shift
    return matrix


@dataclass
class ConstantSolver:
    """Moves everything by ``shift`` feature voxels, and remembers what it was given to trust."""

    shift: tuple[float, float, float] = (0.0, 0.0, 0.0)
    trusted: list[tuple[torch.Tensor | None, torch.Tensor | None]] = field(default_factory=list)

    def __call__(
        self,
        fixed: torch.Tensor,
        moving: torch.Tensor,
        weight: torch.Tensor | None = None,
        progress: Progress | None = None,
        moving_weight: torch.Tensor | None = None,
    ) -> torch.Tensor:
        self.trusted.append((weight, moving_weight))
        if progress is not None:
            progress(1, 1)
        return torch.tensor(self.shift).view(1, 3, 1, 1, 1).repeat(1, 1, *fixed.shape[2:])


@dataclass
class Clock:
    """Seconds that pass when a test says so."""

    now: float = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """In the place of the module ``time`` for every stopwatch of a registration."""
    clock = Clock()
    monkeypatch.setattr("mmreg_lightning.registration.solve.time", clock)
    return clock


def files_of(
    fixed: Path,
    moving: Path,
    fixed_labels: Path | None = None,
    moving_labels: Path | None = None,
    fixed_landmarks: Path | None = None,
    moving_landmarks: Path | None = None,
    fixed_mask: Path | None = None,
    moving_mask: Path | None = None,
) -> Pair[ImageFiles]:
    """A pair of files."""
    return Pair(
        ImageFiles(fixed, fixed_labels, fixed_landmarks, fixed_mask),
        ImageFiles(moving, moving_labels, moving_landmarks, moving_mask),
    )


def register_to(
    files: Pair[ImageFiles],
    out: Path,
    *,
    overwrite: bool = False,
    field_formats: Sequence[str] = ("itk",),
    command: str | None = None,
    **options: Any,
) -> Result:
    """Register files into a folder with the options of ``Options``."""
    settings = resolve(Options(**options))
    return register_files(files, settings, out, overwrite=overwrite, field_formats=field_formats, command=command)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of an untrained module for MR and CT, spacing 3 mm, with names for the labels 1 and 7."""
    import pytorch_lightning as pl
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    from mmreg_lightning.config import CONF_DIR
    from mmreg_lightning.training.module import DescentModule

    with initialize_config_dir(version_base="1.3", config_dir=str(CONF_DIR)):
        config = compose("train", overrides=["data=learn2reg", "features=unet", "data.root=nowhere"])
    groups = ("features", "descent", "loss", "training", "optimizer", "solver")
    pl.seed_everything(0, verbose=False)
    module = DescentModule(
        **{group: OmegaConf.to_container(config[group], resolve=True) for group in groups},
        modalities=["MR", "CT"],
        label_names={1: "spleen", 7: "aorta"},
        normalisation=OmegaConf.to_container(config.data.normalisation),
        spacing=3.0,
    )
    path = tmp_path_factory.mktemp("checkpoint") / "untrained.ckpt"
    trainer = pl.Trainer(logger=False, enable_checkpointing=False, enable_progress_bar=False, accelerator="cpu")
    trainer.strategy.connect(module)
    trainer.save_checkpoint(path, weights_only=True)
    return path


def body(header: NDArray[np.float64], mask: NDArray | None = None, contrast: float = 1.0) -> Image:
    """The scene, by a header that places it as ``header @ STRAIGHT`` does."""
    voxels = np.stack(np.meshgrid(*(np.arange(32),) * 3, indexing="ij"), axis=-1)
    return image_of(contrast * picture(voxels @ STRAIGHT[:3, :3].T + STRAIGHT[:3, 3]), header @ STRAIGHT, mask)


def errors_mm(found: NDArray[np.float64], expected: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distances at points of the body."""
    points = CENTER + np.random.default_rng(0).uniform(-30, 30, (50, 3))
    return np.linalg.norm(transform_points(found, points) - transform_points(expected, points), axis=1)
