"""Capture range and energy landscape against closed forms."""

from __future__ import annotations

import pytest
import torch

from mmreg_lightning.descent.regularisers import NoRegulariser
from mmreg_lightning.descent.step import DescentStep
from mmreg_lightning.functional.gradient import jacobian_determinant
from mmreg_lightning.inspection.descent import (
    DISPLACEMENTS,
    DescentMeasures,
    Displacement,
    align,
    basin,
    direction_cosines,
    displacements,
    level_steps,
    shift_energies,
    shift_field,
    smooth_field,
    surface_bands,
)
from mmreg_lightning.inspection.families import label_family

NAMES = {1: "liver", 2: "spleen"}


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def test_the_cosine_of_a_known_shift_is_1():
    # Three ramps: the Jacobian is the identity, so the step is parallel to the shift however long it is.
    axes = torch.meshgrid(*(torch.arange(12.0) for _ in range(3)), indexing="ij")
    moving = torch.stack(axes)[None]
    shift = torch.tensor([2.0, -1.0, 0.5])
    fixed = moving + shift.view(1, 3, 1, 1, 1)
    steps = level_steps(DescentStep(NoRegulariser()), fixed, moving, [2, 1])
    inner = torch.zeros(12, 12, 12, dtype=torch.bool)
    inner[3:9, 3:9, 3:9] = True
    for step in steps.values():
        assert direction_cosines(step, shift_field((12, 12, 12), shift.tolist()), {1: inner})[1] == pytest.approx(1)
        assert direction_cosines(-step, shift_field((12, 12, 12), shift.tolist()), {1: inner})[1] == pytest.approx(-1)


def test_no_step_agrees_with_nothing():
    mask = torch.ones(2, 2, 2, dtype=torch.bool)
    assert direction_cosines(torch.zeros(1, 3, 2, 2, 2), shift_field((2, 2, 2), (1, 0, 0)), {0: mask}) == {0: 0}


def test_levels_that_do_not_divide_the_grid():
    fixed, moving = torch.rand(1, 2, 7, 6, 5), torch.rand(1, 2, 7, 6, 5)
    steps = level_steps(DescentStep(NoRegulariser()), fixed, moving, [4, 1])
    assert {level: tuple(step.shape) for level, step in steps.items()} == {4: (1, 3, 7, 6, 5), 1: (1, 3, 7, 6, 5)}


def test_a_smooth_field_has_its_length_and_does_not_fold():
    field = smooth_field((24, 24, 24), 2.0, 6.0, generator())
    assert float(field.norm(dim=1).mean()) == pytest.approx(2)
    assert float(jacobian_determinant(field).min()) > 0


def test_the_band_of_a_slab():
    labels = torch.zeros(1, 1, 16, 4, 4, dtype=torch.long)
    labels[:, :, 6:12] = 3
    bands = surface_bands(labels, [3, 4], 2)
    assert set(bands) == {3}
    assert bands[3].any(dim=2).any(dim=1).nonzero().flatten().tolist() == [2, 3, 5, 6]


def test_the_energy_of_a_ramp_is_a_parabola():
    ramp = torch.arange(20.0).view(1, 1, 20, 1, 1).expand(1, 1, 20, 4, 4).contiguous()
    shifts = [-3.0, -1.5, 0.0, 2.0, 3.0]
    assert shift_energies(ramp, ramp, 0, shifts) == pytest.approx([9, 2.25, 0, 4, 9], abs=1e-6)
    assert shift_energies(ramp, ramp, 1, [-1.0, 0.0, 1.0]) == pytest.approx([0, 0, 0], abs=1e-6)


def test_the_basin_ends_where_the_energy_falls_again():
    assert basin([-3, -2, -1, 0, 1, 2, 3], [1, 5, 4, 0, 2, 3, 4]) == (0, 2)
    assert basin([-1, 0, 1], [0, 1, 2]) == (-1, 0)


def test_the_displacements_have_their_sizes():
    found = list(displacements((12, 12, 12), 2, 0))
    assert len(found) == DISPLACEMENTS == 62
    for kind, size, field in found:
        length = field.norm(dim=1)
        assert float(length.mean()) == pytest.approx(2 * size)
        assert (kind == "rigid") == (float(length.max() - length.min()) < 1e-5)


def test_a_phantom_is_aligned_by_its_known_displacement(families, dataset, test_pair):
    """The displacement of this phantom is 0."""
    truth, exact = align(dataset, test_pair, label_family(families[0], list(NAMES)), solver=None)
    assert exact and float(truth.abs().max()) < 1e-5


def test_other_pairs_are_aligned_by_the_solver_on_the_true_labels(families, dataset, test_pair, monkeypatch):
    monkeypatch.setattr("mmreg_lightning.inspection.descent.true_displacement", lambda *_: None)
    labels = label_family(families[0], list(NAMES))

    def solver(fixed, moving):
        assert fixed.shape[1] == moving.shape[1] == 2  # the two organs
        return torch.ones(1, 3, *fixed.shape[2:])

    truth, exact = align(dataset, test_pair, labels, solver)
    # One feature voxel of stride 2 is two working voxels.
    assert not exact and truth.unique().tolist() == [2]


def test_true_labels_point_the_right_way_and_have_the_lowest_energy_at_the_alignment(families, dataset, test_pair):
    everything = [*families, label_family(families[0], list(NAMES))]
    truth, _ = align(dataset, test_pair, everything[-1], solver=None)
    aligned = DescentMeasures(test_pair, truth, everything, NAMES)
    shift = Displacement("rigid", 1.0, shift_field(truth.shape[2:], (2.0, 0, 0)))
    rows = aligned.capture_rows(shift, [2, 1])
    keys = {(row["family"], row["level"], row["organ"]) for row in rows}
    assert len(keys) == len(rows) == 4 * 2 * 2
    assert {row["mm"] for row in rows} == {24.0}  # one feature voxel of two working voxels of 12 mm
    assert all(row["cosine"] > 0.5 for row in rows if row["family"] == "labels")
    energies = [row for row in aligned.landscape_rows() if row["family"] == "labels"]
    assert len(energies) == 3 * 41
    assert {row["lowest_mm"] for row in energies} == {0}
    assert sum(row["energy"] for row in energies) == pytest.approx(3 * 41)  # relative to the mean along each axis
