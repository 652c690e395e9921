"""Whether an image is likely a label map: values between its ids would mean nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_PLANES = 16
"""How many planes are looked at."""
_VALUES = 400
"""More distinct values than any label map of organs has."""
_EQUAL = 0.5
"""Share of neighbours with one value, where not both are 0. Measured: 0.68 to 0.95 in 126 label maps, 0.01 to 0.29 in
106 images of 8 and 16 bits."""


def is_label_like(array: NDArray[Any]) -> bool:
    """Whether the values (X, Y, Z) are few, whole, not negative and lie in patches of one value."""
    if array.dtype.kind not in "iufb" or array.min() < 0:
        return False
    shown = np.flatnonzero(array.any(axis=(0, 1)))
    if shown.size == 0:
        return False
    planes = array[:, :, shown[np.linspace(0, shown.size - 1, min(_PLANES, shown.size)).astype(int)]]
    if planes.dtype.kind == "f" and (planes != np.rint(planes)).any():
        return False
    if np.unique(planes).size > _VALUES:
        return False
    pairs = equal = 0
    for first, second in ((planes[1:], planes[:-1]), (planes[:, 1:], planes[:, :-1])):
        seen = (first != 0) | (second != 0)
        pairs += int(seen.sum())
        equal += int(((first == second) & seen).sum())
    return pairs > 0 and equal >= _EQUAL * pairs
