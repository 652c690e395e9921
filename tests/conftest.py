"""What tests of several layers share: a tiny data set, made once a session."""

from __future__ import annotations

import itertools
import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

PHANTOM_SPACING = 12.0
"""Working spacing, mm, at which the tiny phantom has 32 voxels a side."""


@pytest.fixture(scope="session")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five subjects without deformation between MR and CT: 0001-0003 train, 0004 validates, 0005 tests."""
    from mmreg_lightning.phantom.dataset import write_phantom

    return write_phantom(
        tmp_path_factory.mktemp("data") / "phantom", 5, (32, 28, 32), spacing=PHANTOM_SPACING, intra_displacement=0.0
    )


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache for the whole session, so that the phantom is prepared once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def trained(phantom: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoint of an untrained module for the phantom, as quick as can be."""
    import pytorch_lightning as pl
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    from mmreg_lightning.config import CONF_DIR
    from mmreg_lightning.data.learn2reg import Learn2RegDataset
    from mmreg_lightning.module import DescentModule

    overrides = ["features=cnn", "features.width=4", "features.depth=1", "solver.iterations=1", "data.root=x"]
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF_DIR)):
        config = compose("train", overrides=overrides)
    groups = ("features", "descent", "loss", "training", "optimizer", "solver")
    data = Learn2RegDataset.read(phantom)
    module = DescentModule(
        **{group: OmegaConf.to_container(config[group], resolve=True) for group in groups},
        modalities=[data.fixed_modality, data.moving_modality],
        label_names=dict(data.label_names),
        normalisation=OmegaConf.to_container(config.data.normalisation),
        spacing=12.0,
    )
    path = tmp_path_factory.mktemp("trained") / "last.ckpt"
    trainer = pl.Trainer(logger=False, enable_checkpointing=False, enable_progress_bar=False, accelerator="cpu")
    trainer.strategy.connect(module)
    trainer.save_checkpoint(path, weights_only=True)
    return path


@pytest.fixture
def hydra_logging() -> Iterator[None]:
    """Undoes what a Hydra command that runs in this process does to logging."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    for handler in set(root.handlers) - set(handlers):
        handler.close()  # it writes to a file and a stream of this test
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)


@pytest.fixture(scope="session")
def pairs_phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five subjects with two of them in each of the validation and test splits, so that both have pairs of two."""
    from mmreg_lightning.phantom.dataset import write_phantom

    folder = tmp_path_factory.mktemp("pairs") / "phantom"
    return write_phantom(folder, 5, (32, 28, 32), spacing=PHANTOM_SPACING, val=2, test=2)


@pytest.fixture
def call_benchmark(pairs_phantom, tmp_path, monkeypatch, capfd, hydra_logging):
    """Runs mmreg-benchmark in this process; returns exit code, stdout and stderr."""
    from mmreg_lightning.cli.benchmark import entry

    def run(*arguments):
        folders = [f"data.root={pairs_phantom}", f"hydra.run.dir={tmp_path / 'out'}"]
        monkeypatch.setattr(sys, "argv", ["mmreg-benchmark", *folders, *arguments])
        code = 0
        try:
            entry()
        except SystemExit as stop:
            code = stop.code
        out, err = capfd.readouterr()
        return code, out, err

    return run


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


SPACING = (1.5, 2.0, 0.8)


def oblique_affine() -> NDArray[np.float64]:
    """RAS+ with unequal spacing, turned by 20 degrees about S and 10 about R, not centred on the origin."""
    a, b = np.deg2rad(20), np.deg2rad(10)
    about_s = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_r = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    affine = np.eye(4)
    affine[:3, :3] = about_s @ about_r @ np.diag(SPACING)
    affine[:3, 3] = (-12.0, 30.0, 7.0)
    return affine


def straight_affine() -> NDArray[np.float64]:
    affine = np.diag([*SPACING, 1.0])
    affine[:3, 3] = (-12.0, 30.0, 7.0)
    return affine


AFFINES = {"straight": straight_affine(), "oblique": oblique_affine()}

ORIENTATIONS = [
    np.array([[axis, flip] for axis, flip in zip(order, flips, strict=True)], dtype=float)
    for order in itertools.permutations(range(3))
    for flips in itertools.product((1, -1), repeat=3)
]


def smooth_array(shape: tuple[int, int, int]) -> NDArray[np.float32]:
    """A picture without symmetry, bright inside and dark at its border."""
    i, j, k = np.meshgrid(*(np.linspace(0, 1, n) for n in shape), indexing="ij")
    window = np.sin(np.pi * i) * np.sin(np.pi * j) * np.sin(np.pi * k)
    return (window * (1 + i + 2 * j * j + np.sin(5 * k + i))).astype(np.float32)


@pytest.fixture
def oblique() -> NDArray[np.float64]:
    return oblique_affine()


@pytest.fixture(params=AFFINES.values(), ids=AFFINES.keys())
def affine(request: pytest.FixtureRequest) -> NDArray[np.float64]:
    return request.param


@pytest.fixture(params=ORIENTATIONS, ids=lambda o: str(o.astype(int).tolist()))
def orientation(request: pytest.FixtureRequest) -> NDArray[np.float64]:
    """Each of the 48 ways to order and flip the axes of a file."""
    return request.param


@pytest.fixture
def picture() -> NDArray[np.float32]:
    return smooth_array((11, 8, 13))


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    """Writes an array with nibabel, so that readers are tested on files of another program."""

    def write(
        array: NDArray,
        affine: NDArray,
        name: str = "image.nii.gz",
        orientation: NDArray | None = None,
    ) -> Path:
        image = nib.Nifti1Image(array, affine)
        if orientation is not None:
            image = image.as_reoriented(orientation)
        nib.save(image, tmp_path / name)
        return tmp_path / name

    return write
