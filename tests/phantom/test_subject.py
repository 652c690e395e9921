"""One subject: anatomy, exact correspondence, reproducibility."""

from __future__ import annotations

import numpy as np
import pytest
from abdomens import SIZE, SUBJECTS, centroid, mean_dice, subject
from scipy import ndimage

from mmreg_lightning.phantom.layers import LABEL_IDS
from mmreg_lightning.phantom.subject import make_subject


@pytest.mark.parametrize("index", range(SUBJECTS))
def test_every_label_is_present_in_both_images(index: int) -> None:
    for labels in (subject(index).mr_labels, subject(index).ct_labels):
        assert set(np.unique(labels)) == set(range(15))


@pytest.mark.parametrize("index", range(SUBJECTS))
def test_organs_lie_where_a_radiologist_looks_for_them(index: int) -> None:
    labels = subject(index).ct_labels
    right, anterior, superior = (
        {name: centroid(labels, name)[axis] for name in LABEL_IDS if name != "background"} for axis in range(3)
    )
    for on_the_right, on_the_left in (
        ("liver", "spleen"),
        ("right kidney", "left kidney"),
        ("right psoas", "left psoas"),
        ("gall bladder", "stomach"),
        ("inferior vena cava", "aorta"),
    ):
        assert right[on_the_right] > right[on_the_left]
    assert max(anterior, key=lambda name: -anterior[name]) == "vertebral column"
    assert max(superior, key=lambda name: superior[name]) == "lungs"
    assert superior["right psoas"] < superior["right kidney"] < superior["liver"]
    assert anterior["stomach"] > anterior["left kidney"]


def test_subjects_differ_but_resemble_each_other() -> None:
    scores = [mean_dice(subject(a).mr_labels, subject((a + 1) % SUBJECTS).ct_labels) for a in range(SUBJECTS)]
    assert 0.3 < np.mean(scores) < 0.6


def test_same_seed_same_subject() -> None:
    again = make_subject(7, 1, SIZE)
    for field in ("mr", "ct", "mr_labels", "ct_labels", "displacement", "mr_landmarks", "ct_landmarks"):
        np.testing.assert_array_equal(getattr(again, field), getattr(subject(1), field))
    assert np.abs(make_subject(8, 1, SIZE).ct - subject(1).ct).mean() > 20


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


def test_known_displacement_takes_the_ct_to_the_mr() -> None:
    s = subject(0, (96, 80, 96))
    grid = np.stack(np.meshgrid(*[np.arange(n) for n in s.ct.shape], indexing="ij"))
    warped = ndimage.map_coordinates(s.ct_labels, grid + s.displacement, order=0, mode="nearest")
    assert mean_dice(warped, s.mr_labels) > 0.9
    assert mean_dice(s.ct_labels, s.mr_labels) < 0.87


def test_landmarks_follow_the_known_displacement() -> None:
    s = subject(1)
    assert 60 <= len(s.mr_landmarks) <= 100
    at_points = np.stack([ndimage.map_coordinates(u, s.mr_landmarks.T, order=1) for u in s.displacement], axis=1)
    np.testing.assert_allclose(s.ct_landmarks, s.mr_landmarks + at_points, atol=0.06)
    assert np.linalg.norm((s.ct_landmarks - s.mr_landmarks) * 6.0, axis=1).max() > 5
    for points in (s.mr_landmarks, s.ct_landmarks):
        assert (points >= 0).all() and (points <= np.array(s.mr.shape) - 1).all()


def test_landmarks_in_a_narrow_field_of_view() -> None:
    assert len(make_subject(0, 0, (32, 32, 32), 4.0).mr_landmarks) >= 60


def test_no_displacement() -> None:
    s = subject(0, (48, 40, 48), 0.0)
    assert not s.displacement.any()
    np.testing.assert_array_equal(s.mr_labels, s.ct_labels)
    np.testing.assert_array_equal(s.mr_landmarks, s.ct_landmarks)
