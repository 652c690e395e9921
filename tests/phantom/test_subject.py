"""One subject: what is known about it is true, and the grid only samples it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import ndimage

from mmreg_lightning.errors import UserError
from mmreg_lightning.phantom.layers import LABELS
from mmreg_lightning.phantom.subject import PhantomSubject, centred_affine, check_grid, make_subject

Make = Callable[..., PhantomSubject]
SUBJECTS = 4


def mean_dice(a: np.ndarray, b: np.ndarray) -> float:
    scores = [2 * np.sum((a == n) & (b == n)) / (np.sum(a == n) + np.sum(b == n)) for n in LABELS if n]
    return float(np.mean(scores))


@pytest.mark.parametrize("index", range(SUBJECTS))
def test_every_label_is_present_in_both_images(index: int, subject: Make) -> None:
    for labels in (subject(index).mr_labels, subject(index).ct_labels):
        assert set(np.unique(labels)) == set(range(15))


def test_subjects_differ_but_resemble_each_other(subject: Make) -> None:
    scores = [mean_dice(subject(a).mr_labels, subject((a + 1) % SUBJECTS).ct_labels) for a in range(SUBJECTS)]
    assert 0.3 < np.mean(scores) < 0.6


def test_same_seed_same_subject(subject: Make) -> None:
    again = make_subject(7, 1, (64, 54, 64))
    for field in ("mr", "ct", "mr_labels", "ct_labels", "displacement", "mr_landmarks", "ct_landmarks"):
        np.testing.assert_array_equal(getattr(again, field), getattr(subject(1), field))
    assert np.abs(make_subject(8, 1, (64, 54, 64)).ct - subject(1).ct).mean() > 20


def test_grid_changes_the_sampling_and_not_the_anatomy() -> None:
    """With three times the spacing, coarse voxel i has its centre at that of fine voxel 3 i + 1."""
    fine = make_subject(2, 5, (72, 60, 72), 5.0)
    coarse = make_subject(2, 5, (24, 20, 24), 15.0)
    for name in ("ct_labels", "mr_labels"):
        assert np.mean(getattr(fine, name)[1::3, 1::3, 1::3] == getattr(coarse, name)) > 0.9999
    np.testing.assert_allclose(fine.displacement[:, 1::3, 1::3, 1::3] / 3, coarse.displacement, atol=1e-4)
    # The grids' outermost voxel centres differ, so a few landmarks at the border are in one image only.
    gaps = np.linalg.norm(fine.mr_landmarks[:, None] - (3 * coarse.mr_landmarks + 1)[None], axis=2).min(axis=1)
    assert np.sum(gaps < 1e-3) >= 90


def test_anisotropic_spacing() -> None:
    isotropic = make_subject(2, 5, (48, 40, 48), 8.0)
    thin = make_subject(2, 5, (48, 40, 144), (8.0, 8.0, 8.0 / 3))
    assert np.mean(thin.ct_labels[:, :, 1::3] == isotropic.ct_labels) > 0.9999
    np.testing.assert_allclose(np.diag(thin.affine), [8, 8, 8 / 3, 1])


def test_known_displacement_takes_the_ct_to_the_mr(subject: Make) -> None:
    s = subject(0, (96, 80, 96))
    grid = np.stack(np.meshgrid(*[np.arange(n) for n in s.ct.shape], indexing="ij"))
    warped = ndimage.map_coordinates(s.ct_labels, grid + s.displacement, order=0, mode="nearest")
    assert mean_dice(warped, s.mr_labels) > 0.9
    assert mean_dice(s.ct_labels, s.mr_labels) < 0.87


def test_landmarks_follow_the_known_displacement(subject: Make) -> None:
    s = subject(1)
    assert 60 <= len(s.mr_landmarks) <= 100
    at_points = np.stack([ndimage.map_coordinates(u, s.mr_landmarks.T, order=1) for u in s.displacement], axis=1)
    np.testing.assert_allclose(s.ct_landmarks, s.mr_landmarks + at_points, atol=0.06)
    assert np.linalg.norm((s.ct_landmarks - s.mr_landmarks) * 6.0, axis=1).max() > 5
    for points in (s.mr_landmarks, s.ct_landmarks):
        assert (points >= 0).all() and (points <= np.array(s.mr.shape) - 1).all()


def test_landmarks_in_a_narrow_field_of_view() -> None:
    assert len(make_subject(0, 0, (32, 32, 32), 4.0).mr_landmarks) >= 60


def test_no_displacement(subject: Make) -> None:
    s = subject(0, (48, 40, 48), 0.0)
    assert not s.displacement.any()
    np.testing.assert_array_equal(s.mr_labels, s.ct_labels)
    np.testing.assert_array_equal(s.mr_landmarks, s.ct_landmarks)


def test_the_world_begins_at_the_centre_of_the_grid() -> None:
    expected = [[2, 0, 0, -3], [0, 3, 0, -6], [0, 0, 4, -12], [0, 0, 0, 1]]
    np.testing.assert_array_equal(centred_affine((4, 5, 7), np.array([2.0, 3.0, 4.0])), expected)


def test_without_a_spacing_the_first_axis_is_384_mm_long() -> None:
    shape, steps = check_grid([48, 40, 64], None)
    assert shape == (48, 40, 64)
    np.testing.assert_array_equal(steps, [8, 8, 8])
    np.testing.assert_array_equal(check_grid([48, 40, 64], (1.0, 2.0, 3.0))[1], [1, 2, 3])


@pytest.mark.parametrize(
    ("size", "spacing", "match"),
    [
        ([15, 16, 16], None, "size: .15, 16, 16."),
        ([16, 16], None, "three numbers of voxels"),
        ([16, 16, 16], (1.0, 2.0), "spacing: .1.0, 2.0."),
        ([16, 16, 16], float("inf"), "spacing: inf"),
    ],
)
def test_grids_that_are_none(size: list[int], spacing: object, match: str) -> None:
    with pytest.raises(UserError, match=match):
        check_grid(size, spacing)
