"""Best matches and distances from surfaces against closed forms."""

from __future__ import annotations

import numpy as np
import torch

from mmreg_lightning.functional.smooth import gaussian_smooth
from mmreg_lightning.inspection.retrieval import best_matches, retrieval_rows, sample_features, surface_distance

NAMES = {1: "liver", 2: "spleen"}


def test_a_known_shift_is_found_exactly():
    fixed = gaussian_smooth(torch.rand(1, 6, 20, 18, 16), 0.5)[0]
    moving = fixed.roll((2, -3, 1), (1, 2, 3))
    points = torch.tensor([[8, 9, 7], [10, 8, 8], [9, 10, 6]])
    found = best_matches(sample_features(fixed, points), moving, points, (2.0, 2.0, 2.0), 12)
    assert (found - points).tolist() == [[2, -3, 1]] * 3


def test_nothing_beyond_the_radius_is_looked_at():
    features = torch.zeros(1, 20, 3, 3)
    features[0, 10] = 1
    features[0, 4] = 0.5
    centre = torch.tensor([[3, 1, 1]])
    descriptor = torch.ones(1, 1)
    assert best_matches(descriptor, features, centre, (2, 2, 2), 13)[0, 0] == 4
    assert best_matches(descriptor, features, centre, (2, 2, 2), 15)[0, 0] == 10


def test_where_all_is_equal_the_nearest_is_taken():
    centre = torch.tensor([[3.2, 1, 1]])
    assert best_matches(torch.ones(1, 1), torch.ones(1, 9, 3, 3), centre, (2, 2, 2), 9).tolist() == [[3, 1, 1]]


def test_features_between_voxels_are_linear():
    ramp = torch.arange(5.0).view(1, 5, 1, 1).expand(1, 5, 4, 3)
    assert sample_features(ramp, torch.tensor([[1.25, 2, 1], [4.0, 3, 2]])).flatten().tolist() == [1.25, 4]


def test_distances_from_the_surface_of_a_slab():
    labels = torch.zeros(10, 4, 4, dtype=torch.long)
    labels[3:7] = 2
    # The slab reaches the border of the image on four sides, which are no surface.
    assert surface_distance(labels, 2, (2.0, 1, 1))[:, 0, 0].tolist() == [6, 4, 2, 0, 2, 2, 0, 2, 4, 6]
    assert np.isinf(surface_distance(labels, 5, (1, 1, 1))).all()


def test_landmarks_of_images_that_are_not_displaced_stay_where_they_are(families, test_pair):
    """The phantom has no deformation between MR and CT."""
    rows = retrieval_rows(families, test_pair, NAMES, 0, landmarks=True)
    errors = [row["error_mm"] for row in rows if row["family"] == "before"]
    assert errors and max(errors) < 1e-2
    assert {row["family"] for row in rows} == {"before", "learned", "mind_ssc", "intensity"}
    assert len(rows) == 4 * len(errors)


def test_surface_points_of_images_that_are_not_displaced_lie_on_the_surface(families, test_pair):
    rows = retrieval_rows(families, test_pair, NAMES, 0, landmarks=False)
    before = [row for row in rows if row["family"] == "before"]
    assert {row["organ"] for row in before} == {"liver", "spleen"} and len(before) == 50
    assert np.median([row["error_mm"] for row in before]) == 0
    assert rows == retrieval_rows(families, test_pair, NAMES, 0, landmarks=False)


def test_an_organ_that_is_not_there_gives_no_rows(families, test_pair):
    assert [retrieval_rows(families, test_pair, {99: "tail"}, 0, landmarks=x) for x in (True, False)] == [[], []]
