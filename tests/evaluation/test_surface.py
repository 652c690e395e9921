from __future__ import annotations

import numpy as np
import pytest
import torch

from mmreg_lightning.evaluation.surface import surface_distances, surface_errors


def box(first, last, shape=(24, 20, 16)):
    labels = torch.zeros(shape, dtype=torch.long)
    labels[tuple(slice(a, b) for a, b in zip(first, last, strict=True))] = 3
    return labels


def test_equal_maps_have_no_distance():
    a = box((4, 4, 4), (12, 12, 12))
    assert surface_distances(a, a, [3], (1, 2, 3))[3] == (0, 0)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_shifted_slab_is_as_far_as_its_shift_in_millimetres(axis):
    # Slabs across the whole grid: nothing but their two faces counts.
    shape, spacing = (24, 20, 16), (1.0, 2.0, 3.0)
    first, last = [0, 0, 0], list(shape)
    first[axis], last[axis] = 4, 8
    a = box(first, last)
    b = a.roll(2, dims=axis)
    found = surface_distances(a, b, [3], spacing)[3]
    assert found.hd95 == pytest.approx(2 * spacing[axis], abs=1e-9)
    # Both faces moved by 2 voxels; at the edge of the grid the surface closes, which brings some of it nearer.
    assert 0.55 * 2 * spacing[axis] <= found.assd <= 2 * spacing[axis]


def test_hd95_ignores_a_small_spike_that_the_hausdorff_distance_would_not():
    a = box((4, 4, 4), (14, 14, 12))
    b = a.clone()
    b[14:20, 8, 8] = 3
    assert surface_distances(a, b, [3], (1, 1, 1))[3].hd95 < 3


def test_an_organ_that_is_lost_is_as_far_as_the_grid_is_large():
    a = box((4, 4, 4), (12, 12, 12))
    found = surface_distances(a, torch.zeros_like(a), [3], (1, 2, 3))[3]
    assert found.hd95 == found.assd == pytest.approx(np.linalg.norm([24, 40, 48]))


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="different shapes"):
        surface_distances(torch.zeros(4, 4, 4), torch.zeros(4, 4, 5), [1], (1, 1, 1))


def test_surfaces_a_known_distance_apart():
    labels = torch.zeros(1, 20, 20, 20, dtype=torch.int64)
    fixed, warped = labels.clone(), labels.clone()
    # Slabs through the whole image: their ends at its border are no surfaces.
    fixed[0, 5:10], warped[0, 8:13] = 1, 1
    spacing = (2.0, 1.0, 1.0)
    places, errors = surface_errors(fixed, warped, spacing)
    # Surfaces lie at 5, 9 and at 8, 12: 6 mm, 2 mm, 2 mm, 6 mm.
    assert sorted(set(errors.tolist())) == [2.0, 6.0] and len(places) == len(errors) == 4 * 400
    assert set(places[:, 0].tolist()) == {5, 9, 8, 12}
    fixed[0, 15:17] = 2  # an organ of one image only says nothing
    assert len(surface_errors(fixed, warped, spacing)[0]) == 4 * 400
    assert len(surface_errors(labels, warped, spacing)[0]) == 0
