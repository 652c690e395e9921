"""What the comparison tunes a solver over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmreg_lightning.errors import UserError

_SOLVER = "mmreg_lightning.solvers.demons.DemonsSolver"
_REGULARISERS: Mapping[str, Mapping[str, Sequence[Any]]] = {
    "GaussianRegulariser": {"step.regulariser.sigma_field": (0.5, 0.7, 1.0, 1.4)},
    "DiffusionRegulariser": {"step.regulariser.weight": (0.02, 0.05, 0.1, 0.2)},
    # Nothing but the number of steps keeps an unregularised field small.
    "NoRegulariser": {"iterations": (5, 10, 20, 30)},
}
_ALPHA = {"step.alpha": (0.1, 0.2, 0.4)}


def search_space(solver: Mapping[str, Any]) -> dict[str, Sequence[Any]]:
    """The settings that every feature family tries, 12 in all whatever the regulariser.

    Args:
        solver: configuration of a demons solver.

    Returns:
        Values of each key of that configuration, see ``settings_grid``: the noise floor of the step, and what
        makes the field of its regulariser smooth.

    Raises:
        UserError: it is another solver, or a regulariser that is not of this package.
    """
    if solver["_target_"] != _SOLVER:
        raise UserError(f"solver._target_={solver['_target_']}: only {_SOLVER} can be compared")
    target = solver["step"]["regulariser"]["_target_"]
    package, _, name = target.rpartition(".")
    if package != "mmreg_lightning.descent.regularisers" or name not in _REGULARISERS:
        raise UserError(
            f"solver.step.regulariser._target_={target}: the comparison can tune only {', '.join(_REGULARISERS)}"
        )
    return {**_ALPHA, **_REGULARISERS[name]}
