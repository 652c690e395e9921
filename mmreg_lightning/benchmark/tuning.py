"""The same small search for every method: each one is compared at its own best setting."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from mmreg_lightning.benchmark.methods import Memo, Method
from mmreg_lightning.benchmark.peers.process import PeerError
from mmreg_lightning.benchmark.plan import Plan, Progress, Row
from mmreg_lightning.benchmark.store import load, save
from mmreg_lightning.data.pair import Image, ImageFiles, Pair
from mmreg_lightning.errors import UserError

Read = Callable[[Pair[ImageFiles]], Pair[Image]]
MAX_FOLDS_PERCENT = 0.1
"""A setting that folds more of the voxels than this ranks behind all that do not."""
DICE_TOLERANCE = 0.005
"""Settings whose Dice differs by less are equally good; the smoothest of them is used."""


def settings_grid(space: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Every combination of the values of a search space.

    Args:
        space: values of each key; a value that is a mapping sets several keys below its own key at once.
    """
    grid = []
    for values in itertools.product(*space.values()):
        setting: dict[str, Any] = {}
        for key, value in zip(space, values, strict=True):
            setting |= {f"{key}.{k}": v for k, v in value.items()} if isinstance(value, Mapping) else {key: value}
        grid.append(setting)
    return grid


def draw_settings(space: Mapping[str, Sequence[Any]], count: int | None, seed: int) -> list[dict[str, Any]]:
    """The default (an empty setting), then different combinations of the space's values, ``count`` in all.

    A space with fewer combinations gives fewer settings.

    Args:
        space: values of each key.
        count: how many; None is every combination, without the default.
        seed: of the draw.
    """
    grid = settings_grid(space) if space or count is None else []
    return grid if count is None else [{}, *random.Random(seed).sample(grid, min(count - 1, len(grid)))]


def tune(
    plan: Plan, folder: Path | None, progress: Progress, methods: Sequence[Method] | None = None
) -> dict[str, list[Row]]:
    """Try the settings of every method on the plan's tuning pairs.

    Args:
        plan: pairs, number of trials, seed.
        folder: gets ``tuning/METHOD.json``, from which a stopped run goes on; None keeps nothing.
        progress: called for every trial.
        methods: some of the plan's methods; None is all.

    Returns:
        method -> its trials, the one to use first; a trial that failed has an ``error``.
    """
    read = cache(Pair[ImageFiles].read)
    drawn = {m: draw_settings(m.space, plan.trials, plan.seed) for m in (plan.methods if methods is None else methods)}
    total, done = sum(map(len, drawn.values())), 0
    out = {}
    # The methods of a family follow each other and share its features.
    for _, group in itertools.groupby(drawn, key=lambda method: getattr(method, "family", method)):
        memo: Memo = {}
        for method in group:
            path = None if folder is None else folder / "tuning" / f"{method.name}.json"
            known = load(path) or []
            trials: list[Row] = []
            for setting in drawn[method]:
                progress("tuning" if folder is None else f"tuning {method.name}", done, total)
                done += 1
                trial = next((t for t in known if t["setting"] == setting), None)
                trials.append(trial or _trial(plan, method, setting, memo, read))
                # Known trials that are still to come stay in the file until they are reached.
                save(path, trials + [t for t in known if all(t["setting"] != s["setting"] for s in trials)])
            out[method.name] = ranked(trials)
    progress("tuning", total, total)
    return out


def ranked(trials: Sequence[Row]) -> list[Row]:
    """The trials in order: the one to use, the others by Dice, those that fold too much, those that failed.

    A few pairs cannot distinguish settings whose Dice differs in the third digit. But the roughness of their fields
    differs much, and rough fields fold on the next pair. So the first trial is the smoothest one (least ``sdlogj``)
    of those within ``DICE_TOLERANCE`` of the best.

    Args:
        trials: with ``dice``, ``folds_percent`` and ``sdlogj``, or an ``error``.
    """

    def folds(trial: Row) -> bool:
        return bool(trial["folds_percent"] > MAX_FOLDS_PERCENT)

    failed = [t for t in trials if "error" in t]
    order = sorted((t for t in trials if "error" not in t), key=lambda t: (folds(t), -t["dice"]))
    if not order:
        return failed
    best = order[0]
    equal = [t for t in order if folds(t) == folds(best) and t["dice"] >= best["dice"] - DICE_TOLERANCE]
    chosen = min(equal, key=lambda t: t["sdlogj"])
    return [chosen, *(t for t in order if t is not chosen), *failed]


def best_trials(trials: Mapping[str, Sequence[Row]]) -> dict[str, Row]:
    """The trial to use of each method.

    Raises:
        UserError: every trial of a method failed.
    """
    for name, (first, *_) in trials.items():
        if "error" in first:
            raise UserError(f"every trial of {name} failed, the first with: {first['error']}")
    return {name: own[0] for name, own in trials.items()}


def _trial(plan: Plan, method: Method, setting: Mapping[str, Any], memo: Memo, read: Read) -> Row:
    rows = []
    for files in plan.tuning:
        pair = read(files)
        try:
            rows.append(plan.judge(pair, method(files, pair, setting, memo)))
        except (PeerError, UserError) as error:
            return {"setting": dict(setting), "error": str(error)}
    means = {key: sum(row[key] for row in rows) / len(rows) for key in rows[0]}
    return {"setting": dict(setting), **means, **({} if plan.trials is None else {"pairs": len(rows)})}
