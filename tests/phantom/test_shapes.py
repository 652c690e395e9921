"""Distances to shapes against closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from mmreg_lightning.phantom.shapes import ellipsoid, near, rotation, segments, smooth_union, tube, vessel_tree

ORIGIN = np.zeros(3)


def column(*point: float) -> np.ndarray:
    return np.array(point, np.float32)[:, None]


def test_rotation_turns_about_the_axes_in_order() -> None:
    np.testing.assert_allclose(rotation((0, 0, 90)) @ [1, 0, 0], [0, 1, 0], atol=1e-6)
    np.testing.assert_allclose(rotation((90, 0, 90)) @ [0, 1, 0], [0, 0, 1], atol=1e-6)


def test_a_sphere_has_the_exact_distance() -> None:
    points = np.array([[10.0, 0, 3], [0, 4, 0], [0, 0, 4]], np.float32)
    np.testing.assert_allclose(ellipsoid(points, ORIGIN, np.full(3, 5.0)), [5, -1, 0], atol=1e-5)


def test_an_ellipsoid_vanishes_at_its_turned_radii() -> None:
    turn = rotation((0, 0, 90))  # the first axis points along y
    points = np.concatenate([column(0, 7, 0), column(-3, 0, 0), column(0, 0, 2)], axis=1)
    np.testing.assert_allclose(ellipsoid(points, ORIGIN, np.array([7.0, 3, 2]), turn), 0, atol=1e-5)


def test_round_cones_are_measured_from_their_axis() -> None:
    starts, ends = np.array([[0.0, 0, 0]]), np.array([[10.0, 0, 0]])
    points = np.concatenate([column(5, 6, 0), column(-3, 0, 0), column(10, 0, 9)], axis=1)
    # The radius grows from 2 to 4: 3 in the middle.
    np.testing.assert_allclose(segments(points, starts, ends, [2.0], [4.0]), [3, 1, 5], atol=1e-5)
    nodes = np.array([[0.0, 0, 0], [10, 0, 0], [10, 10, 0]])
    assert tube(column(10, 5, 4), nodes, np.array([1.0, 1, 1]))[0] == pytest.approx(3)


def test_a_smooth_union_is_the_minimum_beyond_its_width() -> None:
    a, b = np.array([1.0, 0.0, -3.0]), np.array([9.0, 0.0, 0.0])
    np.testing.assert_allclose(smooth_union(a, b, 4.0), [1, -1, -3.0625])  # -w/4 where both are equal


def test_points_near_a_box() -> None:
    points = np.array([[0.0, 5, 2], [0, 0, 2], [0, 0, -9]])
    assert near(points, np.array([-1, -1, -1]), np.array([3, 3, 3])).tolist() == [0]


def test_a_vessel_tree_forks_and_grows_thinner() -> None:
    tree = vessel_tree(np.random.default_rng(0), ORIGIN, np.array([0, 0, 2.0]), 10.0, 4.0, depth=2)
    assert len(tree) == 1 + 2 + 4
    np.testing.assert_allclose(tree[0][1], [0, 0, 10])
    assert tree[0][3] ** 3 * 2 == pytest.approx(4.0**3)  # Murray's law
    np.testing.assert_array_equal(tree[1][0], tree[0][1])
