"""Whether the headers of two images can be trusted for their alignment."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mmreg_lightning.geometry.frames import transform_points
from mmreg_lightning.geometry.grid import Grid
from mmreg_lightning.solvers.affine import AffineRegistration, FeatureMap

JUDGE = "mind_ssc"
"""File of conf/features. The two limits below were set with it; see docs/register.md."""
_FAR = 25.0
"""mm, root mean square over the fixed image: a rigid search that ends nearer than this to the headers agrees with them.
What is left is the solver's: on 33 patients whose headers are right to a centimetre or two it is as good without."""
_LOWERS = 0.9
"""Share of the features' energy that a rigid search must get below. Between two subjects' vertebrae it gains 8 % and
loses a sixth of the overlap; where headers of one patient are wrong it gains 11 to 45 %."""


def trusted_affine(
    fixed: FeatureMap, moving: FeatureMap, starts: Sequence[NDArray[np.float64]], grid: Grid
) -> tuple[NDArray[np.float64], list[str]]:
    """The headers where they can be trusted, else what agrees better.

    The headers are trusted where the fields of view overlap, unless a rigid search from all three starts ends far from
    them with much lower energy of the features. Where they are not, the result is that of the search, or the best
    start if the search does not lower the energy much.

    Args:
        fixed, moving: MIND-SSC of the images, each on its own grid.
        starts: 4x4, world RAS mm of the fixed to that of the moving image: those of the headers, of the centres of
            mass, of the centres of the fields of view.
        grid: of the fixed image.

    Returns:
        4x4, like the starts, and the decision in one sentence where it is against the headers.
    """
    search = AffineRegistration("rigid")
    found = search(fixed, moving, starts)
    *costs, lowest = search.costs(fixed, moving, [*starts, found])
    corners = transform_points(grid.affine, list(itertools.product(*((0, n - 1) for n in grid.shape))))
    # The variance of a box is a third of that of its corners.
    moved = transform_points(found, corners) - corners
    mean = moved.mean(axis=0)
    distance = float(np.sqrt((mean**2).sum() + ((moved - mean) ** 2).sum(axis=1).mean() / 3))
    overlap = costs[0] < float("inf")
    if overlap and (distance < _FAR or lowest > _LOWERS * costs[0]):
        return starts[0], []
    why = "the features agree better elsewhere" if overlap else "the images hardly overlap"
    best = int(np.argmin(costs))
    if lowest < _LOWERS * costs[best]:
        angle = float(np.degrees(np.arccos(np.clip((np.trace(found[:3, :3]) - 1) / 2, -1, 1))))
        how = f"a rigid search moved the image by {np.linalg.norm(mean):.0f} mm and turned it by {angle:.0f} degrees"
    else:
        found = starts[best]
        how = f"{('the headers', 'the centres of mass', 'the centres of the fields of view')[best]} were aligned"
    return found, [f"The headers are not trusted, because {why}: {how}; --affine none keeps the headers."]
