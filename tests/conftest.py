"""What tests of several layers share: a tiny data set, made once a session."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from trainings import untrained

pytest_plugins = ["abdomen", "headers", "scenes"]
"""Shared fixtures: a small AbdomenMRCT, images with odd headers, and a small scene."""

PHANTOM_SPACING = 12.0
"""Working spacing, mm, at which the tiny phantom has 32 voxels a side."""

SLOW = {
    "inspection/test_commands.py": ["test_a_pair", "test_mind_ssc_of_one_image"],
    "registration/test_batch.py": [
        "test_every_pair_has_a_folder_and_a_row",
        "test_a_pair_that_fails_does_not_stop_the_others",
    ],
    "registration/test_register.py": [
        "test_a_checkpoint_alone_gives_the_same_field_in_a_new_process",
        "test_registering_does_not_import_the_trainers_library",
    ],
    "solvers/test_demons.py": ["test_stopping_early_changes_less_than_it_may"],
    "solvers/test_solvers.py": [
        "test_a_batch_is_registered_pair_by_pair",
        "test_a_displacement_beyond_the_reach_of_local_steps",
        "test_what_is_not_trusted_does_not_lead_astray",
        "test_what_is_not_trusted_in_the_moving_image_moves_with_it",
    ],
}
"""Tests of more than two seconds (on a core of their own) that do not carry the mark themselves yet."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what ``SLOW`` names."""
    here = Path(__file__).parent
    for item in items:
        names = SLOW.get(item.path.relative_to(here).as_posix(), []) if item.path.is_relative_to(here) else []
        if getattr(item, "originalname", item.name) in names:
            item.add_marker(pytest.mark.slow)


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
    return untrained(phantom, tmp_path_factory.mktemp("trained") / "last.ckpt")


@pytest.fixture(scope="session")
def general(phantom: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with one stem for all modalities and bounded attributes, as features for any image are trained."""
    shared = ["features.stem=shared", "features.bound=sigmoid", "training=paper"]
    return untrained(phantom, tmp_path_factory.mktemp("general") / "last.ckpt", *shared)


@pytest.fixture(scope="session")
def weights(general: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """generalist-1.safetensors of it in a folder of its own, with a working grid of 12 mm."""
    from mmreg_lightning.features.checkpoint import load_checkpoint
    from mmreg_lightning.features.weights import write_weights

    path = tmp_path_factory.mktemp("weights") / "generalist-1.safetensors"
    data = [{"name": "nothing: random numbers of a test", "licence": "CC0-1.0"}]
    write_weights(path, load_checkpoint(general), {"trained_on": data}, spacing=PHANTOM_SPACING)
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
        options = [word for word in arguments if word.startswith("--")]  # Hydra wants its overrides in one row
        overrides = [*folders, *(word for word in arguments if word not in options)]
        monkeypatch.setattr(sys, "argv", ["mmreg-benchmark", *options, *overrides])
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
