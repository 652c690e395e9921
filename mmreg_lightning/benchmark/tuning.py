"""The same small search for every method: each is compared at its own best setting."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmreg_lightning.benchmark.methods import FeatureMethod, Method
from mmreg_lightning.benchmark.peers.process import PeerError
from mmreg_lightning.benchmark.plan import Plan, Progress, Row
from mmreg_lightning.data.pair import Image, Pair
from mmreg_lightning.errors import UserError
from mmreg_lightning.files import write_json

MAX_FOLDS_PERCENT = 0.1
"""A setting that folds more of the voxels than this ranks behind all that do not."""
DICE_TOLERANCE = 0.005
"""Settings whose Dice differs by less are equally good; the smoothest of them is taken."""


def settings_grid(space: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Every combination of the values of a search space.

    Args:
        space: values of each key; a value that is a mapping sets several keys below its own at once.
    """
    grid = []
    for values in itertools.product(*space.values()):
        setting: dict[str, Any] = {}
        for key, value in zip(space, values, strict=True):
            setting |= {f"{key}.{k}": v for k, v in value.items()} if isinstance(value, Mapping) else {key: value}
        grid.append(setting)
    return grid


def draw_settings(space: Mapping[str, Sequence[Any]], count: int | None, seed: int) -> list[dict[str, Any]]:
    """The default (nothing set), then different combinations of the space's values, ``count`` in all.

    A space of fewer combinations gives what it has: nobody is given a trial that another method could not use.

    Args:
        space: values of each key.
        count: how many; None is every combination, without the default.
        seed: of the draw.
    """
    if count is None:
        return settings_grid(space)
    grid = settings_grid(space) if space else []
    return [{}, *random.Random(seed).sample(grid, min(count - 1, len(grid)))]


def tune(
    plan: Plan, folder: Path | None, progress: Progress, methods: Sequence[Method], name: str = "tuning"
) -> dict[str, list[Row]]:
    """Every trial of some methods on the plan's tuning pairs.

    Args:
        plan: pairs, number of trials, seed.
        folder: gets ``tuning/METHOD.json``, from which a stopped run goes on; None keeps nothing.
        progress: told of every trial.
        methods: of the plan.
        name: what the progress bar calls it.

    Returns:
        method -> its trials, the one to use first; a trial that failed has an ``error``.
    """
    held: dict[str, Pair[Image]] = {}
    drawn = {m.name: draw_settings(m.space, plan.trials, plan.seed) for m in methods}
    total = sum(map(len, drawn.values()))
    done = 0
    out = {}
    for index, method in enumerate(methods):
        path = None if folder is None else folder / "tuning" / f"{method.name}.json"
        known = load(path) or []
        trials: list[Row] = []
        for setting in drawn[method.name]:
            progress(name if folder is None else f"{name} {method.name}", done, total)
            done += 1
            trial = next((t for t in known if t["setting"] == setting), None)
            trials.append(_trial(plan, method, setting, held) if trial is None else trial)
            # Known trials that are still to come stay in the file until they are reached.
            rest = [t for t in known if all(t["setting"] != s["setting"] for s in trials)]
            save(path, trials + rest)
        good = [t for t in trials if "error" not in t]
        out[method.name] = [*(ranked(good) if good else []), *(t for t in trials if "error" in t)]
        if index + 1 == len(methods) or _family(method) != _family(methods[index + 1]):
            plan.memo.clear()
    progress(name, total, total)
    return out


def ranked(trials: Sequence[Row]) -> list[Row]:
    """The trials, the one to use first, the others by Dice; those that fold too much come last.

    A handful of pairs cannot tell settings apart whose Dice differs in the third digit, but they differ much in how
    rough their fields are, and rough fields fold on the next pair. So the first is the smoothest (least ``sdlogj``)
    of those within ``DICE_TOLERANCE`` of the best.

    Args:
        trials: at least one, with ``dice``, ``folds_percent`` and ``sdlogj``.
    """

    def folds(trial: Row) -> bool:
        return bool(trial["folds_percent"] > MAX_FOLDS_PERCENT)

    order = sorted(trials, key=lambda trial: (folds(trial), -trial["dice"]))
    best = order[0]
    equal = [t for t in order if folds(t) == folds(best) and t["dice"] >= best["dice"] - DICE_TOLERANCE]
    chosen = min(equal, key=lambda trial: trial["sdlogj"])
    return [chosen, *(trial for trial in order if trial is not chosen)]


def _trial(plan: Plan, method: Method, setting: Mapping[str, Any], held: dict[str, Pair[Image]]) -> Row:
    rows = []
    for files in plan.tuning:
        if files.name not in held:
            held[files.name] = files.read()
        pair = held[files.name]
        try:
            found = method.tried(files, pair, setting)
        except (PeerError, UserError) as error:
            return {"setting": dict(setting), "error": str(error)}
        rows.append(plan.judge(method, pair, found, setting))
    means = {key: sum(row[key] for row in rows) / len(rows) for key in rows[0]}
    return {"setting": dict(setting), **means, **({} if plan.trials is None else {"pairs": len(rows)})}


def _family(method: Method) -> object:
    return method.family if isinstance(method, FeatureMethod) else method


def load(path: Path | None) -> Any:
    """Content of a JSON file; None where there is none."""
    if path is None or not path.is_file():
        return None
    return json.loads(path.read_text(encoding="utf-8"))


def save(path: Path | None, content: object) -> None:
    """Write a JSON file and its folder; nothing without a path."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, content)
