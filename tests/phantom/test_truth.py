"""The known displacement of a phantom's pair, computed again from its files."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from mmreg_lightning.data.learn2reg import Learn2RegDataset, PairRecord
from mmreg_lightning.evaluation.tre import landmark_errors
from mmreg_lightning.io.images import read_image
from mmreg_lightning.io.points import read_point_table
from mmreg_lightning.phantom.dataset import write_phantom
from mmreg_lightning.phantom.truth import true_displacement


def test_the_known_displacement_is_that_of_the_landmarks(tmp_path: Path) -> None:
    write_phantom(tmp_path / "phantom", 2, (32, 28, 32), seed=5, intra_displacement=20.0)
    dataset = Learn2RegDataset.read(tmp_path / "phantom")
    pair = dataset.pairs["train"][1]
    grid = read_image(pair.fixed.image).grid
    field = true_displacement(dataset, pair, grid)
    a, b = (read_point_table(record.landmarks).coordinates for record in (pair.fixed, pair.moving))
    assert landmark_errors(torch.zeros_like(field), grid, grid, a, b).mean() > 3
    assert landmark_errors(field, grid, grid, a, b).mean() < 0.3  # of interpolation at 12 mm
    assert true_displacement(dataset, PairRecord(pair.fixed, dataset.pairs["train"][0].moving), grid) is None
    description = json.loads(dataset.description.read_text(encoding="utf-8"))
    dataset.description.write_text(json.dumps({**description, "phantom": {**description["phantom"], "version": 0}}))
    assert true_displacement(dataset, pair, grid) is None, "another version draws other subjects"
