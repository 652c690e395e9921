"""Distances to shapes, against closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from mmreg_lightning.phantom.shapes import ellipsoid, near, rotation, segments, smooth_union, tube, vessel_tree


def columns(*points: tuple[float, float, float]) -> np.ndarray:
    """(3, N)."""
    return np.array(points, np.float32).T


@pytest.mark.parametrize(
    ("degrees", "source", "target"),
    [
        ((90, 0, 0), (0, 1, 0), (0, 0, 1)),
        ((0, 90, 0), (0, 0, 1), (1, 0, 0)),
        ((0, 0, 90), (1, 0, 0), (0, 1, 0)),
        ((90, 0, 90), (0, 0, 1), (1, 0, 0)),  # about the first axis first: z to -y, then -y to x
    ],
)
def test_rotations_by_a_right_angle(degrees: tuple, source: tuple, target: tuple) -> None:
    np.testing.assert_allclose(rotation(degrees) @ np.array(source), target, atol=1e-6)


def test_the_distance_to_a_sphere_is_exact() -> None:
    points = columns((13, 2, 3), (1, 2, 4), (1, 9, 3))
    found = ellipsoid(points, np.array([1.0, 2.0, 3.0]), np.array([5.0, 5.0, 5.0]))
    np.testing.assert_allclose(found, [7, -4, 2], atol=1e-4)


def test_the_distance_to_an_ellipsoid_is_exact_on_its_axes_and_turns_with_it() -> None:
    centre, radii = np.array([0.0, 0.0, 0.0]), np.array([10.0, 20.0, 30.0])
    points = columns((12, 0, 0), (0, 15, 0), (0, 0, 30))
    np.testing.assert_allclose(ellipsoid(points, centre, radii), [2, -5, 0], atol=1e-4)
    turned = rotation((0, 0, 90))  # its first axis now lies along y
    points = columns((0, 12, 0), (-15, 0, 0), (0, 0, 31))
    np.testing.assert_allclose(ellipsoid(points, centre, radii, turned), [2, -5, 1], atol=1e-4)


def test_a_tube_is_a_chain_of_round_cones() -> None:
    nodes, radii = np.array([[0.0, 0, 0], [10, 0, 0], [10, 10, 0]]), np.array([2.0, 4.0, 4.0])
    points = columns((5, 6, 0), (-5, 0, 0), (10, 5, 9), (10, 17, 0), (5, 0, 0))
    # Half-way the radius is 3; before the beginning and behind the end the ends are round.
    np.testing.assert_allclose(tube(points, nodes, radii)[1:], [3, 5, 3, -3], atol=1e-5)
    assert tube(points, nodes, radii)[0] == pytest.approx(min(6 - 3, 5 - 4), abs=1e-5), "the nearer one counts"


def test_segments_need_not_touch() -> None:
    starts, ends = np.array([[0.0, 0, 0], [0, 100, 0]]), np.array([[10.0, 0, 0], [10, 100, 0]])
    found = segments(columns((5, 0, 5), (5, 100, 5)), starts, ends, np.array([1.0, 2.0]), np.array([1.0, 2.0]))
    np.testing.assert_allclose(found, [4, 3], atol=1e-5)


def test_a_union_is_filled_at_the_crease_only() -> None:
    a, b = np.array([1.0, 5.0, -3.0, 2.0]), np.array([20.0, -9.0, -3.0, 4.0])
    # Where both are equal a quarter of the width is gained: min - width / 4; at a distance d, (w - d)^2 / 4 w.
    np.testing.assert_allclose(smooth_union(a, b, 8.0), [1, -9, -5, 2 - 36 / 32])


def test_points_in_a_box() -> None:
    points = columns((0, 0, 0), (5, 5, 5), (5, 11, 5), (10, 5, 5), (9.9, 0.1, 5))
    np.testing.assert_array_equal(near(points, np.zeros(3), np.full(3, 10.0)), [1, 4])


def test_a_tree_forks_by_murrays_law() -> None:
    root, direction = np.array([1.0, 2.0, 3.0]), np.array([0.0, 0.0, 2.0])
    tree = vessel_tree(np.random.default_rng(0), root, direction, length=10.0, radius=4.0, depth=3)
    assert len(tree) == 1 + 2 + 4 + 8
    start, end, radius, thinner = tree[0]
    np.testing.assert_array_equal(start, root)
    np.testing.assert_allclose(end, [1, 2, 13])
    assert radius == 4.0 and 2 * thinner**3 == pytest.approx(radius**3)
    for a, b, r0, r1 in tree[1:]:
        assert any(np.array_equal(a, other) and r0 == r for _, other, _, r in tree), "a branch begins where one ended"
        assert r0**3 == pytest.approx(2 * r1**3) and 0 < np.linalg.norm(b - a) < 10
    assert min(r1 for *_, r1 in tree) == pytest.approx(4 / 2 ** (4 / 3))
