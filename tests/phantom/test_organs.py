"""The organs of the abdomen: where they lie, how large they are, what is in them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from mmreg_lightning.phantom.layers import KEEP, LABEL_IDS, LABELS
from mmreg_lightning.phantom.organs import OrganModel
from mmreg_lightning.phantom.subject import PhantomSubject
from mmreg_lightning.phantom.trunk import Trunk

Make = Callable[..., PhantomSubject]


def centroid(labels: np.ndarray, name: str) -> np.ndarray:
    return np.argwhere(labels == LABEL_IDS[name]).mean(axis=0)


def deep(points: np.ndarray) -> Trunk:
    """Points (3, N) far inside the abdominal cavity: no wall, no diaphragm confines an organ."""
    far = np.full(points.shape[1], -50.0, np.float32)
    return Trunk(np.arange(points.shape[1]), points.astype(np.float32), far, far, far, far)


def painted(model: OrganModel, points: np.ndarray) -> list[str]:
    """Name of the organ at each point; of the spine nothing is near."""
    labels = np.zeros(points.shape[1], int)
    for layer in model.layers(deep(points), np.full(points.shape[1], -47.0, np.float32)):
        if layer.label != KEEP:
            labels[layer.index[layer.distance < 0]] = layer.label
    return [LABELS[n] for n in labels.tolist()]


@pytest.mark.parametrize("index", range(4))
def test_organs_lie_where_a_radiologist_looks_for_them(index: int, subject: Make) -> None:
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


@pytest.mark.parametrize("seed", range(5))
def test_the_middle_of_an_organ_is_that_organ(seed: int) -> None:
    model = OrganModel(np.random.default_rng(seed))
    for centre, name in (
        (model.liver_right[0], "liver"),
        (model.kidneys[0][0], "right kidney"),
        (model.kidneys[1][0], "left kidney"),
        (model.gall, "gall bladder"),
        (model.spleen[0] + np.array([-8.0, -12.0, 10.0]), "spleen"),
    ):
        # Beside the very centre of an ellipsoid, where its distance is not defined.
        assert painted(model, centre[:, None] + np.array([[1.0], [3.0], [5.0]])) == [name]
    assert painted(model, np.array([[0.0], [0.0], [400.0]])) == ["background"]


def test_a_kidney_is_as_large_as_its_radii_say() -> None:
    """Along the axis of the body, which the hilum leaves alone; the lumps of the surface are 1.1 mm deep at a sigma."""
    model = OrganModel(np.random.default_rng(0))
    centre, radii, turned, _ = model.kidneys[0]
    along = turned[:, 2] * radii[2]
    ends = centre[:, None] + np.outer(along, [-1.1, -0.9, 0.9, 1.1])
    assert [name == "right kidney" for name in painted(model, ends)] == [False, True, True, False]


def test_the_liver_has_five_trees_of_fifteen_branches() -> None:
    starts, ends, radii_from, radii_to = OrganModel(np.random.default_rng(3)).liver_trees
    assert starts.shape == ends.shape == (75, 3) and radii_from.shape == radii_to.shape == (75,)
    assert radii_from.max() == 6.5 and radii_from.min() == pytest.approx(6.0 / 2)  # after three forks
