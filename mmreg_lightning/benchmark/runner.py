"""Running a benchmark's plan; everything finished is on disk, so a killed benchmark goes on where it stopped."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmreg_lightning.benchmark.peers.process import PeerError
from mmreg_lightning.benchmark.plan import AnyMethod, Plan, draw_settings
from mmreg_lightning.benchmark.tuning import Trial, ranked
from mmreg_lightning.data.learn2reg import PairRecord
from mmreg_lightning.data.pair import PairData, pair_files, read_pair
from mmreg_lightning.errors import UserError
from mmreg_lightning.evaluation.measures import evaluate
from mmreg_lightning.evaluation.scores import score
from mmreg_lightning.files import write_json

Progress = Callable[[str, int, int], None]
"""Called with (what is going on, done, in all)."""
Row = dict[str, Any]


def run_plan(plan: Plan, folder: Path, progress: Progress) -> tuple[list[Row], dict[str, list[Row]]]:
    """Tune every method, then register the reported pairs with each one's best setting.

    Args:
        plan: what to do.
        folder: gets ``tuning/METHOD.json`` (one entry a trial) and ``cases/METHOD/CASE.json``.
        progress: told of every registration.

    Returns:
        A row a case and method, ``before`` included; and the trials of each method, the one used first.

    Raises:
        UserError: every trial of every method failed.
    """
    trials = tune_all(plan, folder, progress, plan.methods)
    plan.memo.clear()
    if all("error" in own[0] for own in trials.values()):
        first = plan.methods[0].name
        raise UserError(f"every trial of every method failed, the first of {first} with: {trials[first][0]['error']}")
    rows: list[Row] = []
    total = len(plan.reported) * len(plan.methods)
    for number, pair in enumerate(plan.reported):
        data = read_pair(pair_files(pair))
        before: Row | None = None
        for index, method in enumerate(plan.methods):
            progress(f"{method.name}, {pair.name}", number * len(plan.methods) + index, total)
            best = trials[method.name][0]
            row = _case(plan, method, pair, data, best, folder / "cases" / method.name / f"{pair.name}.json")
            rows.append(row)
            if before is None and row.get("dice_before") is not None:
                before = {
                    "case": pair.name,
                    "method": "before",
                    "dice": row["dice_before"],
                    "tre_mm": row["tre_mm_before"],
                    "folds_percent": 0.0,
                    "sdlogj": 0.0,
                }
        if before is not None:
            rows.append(before)
    progress("done", total, total)
    return rows, trials


def tune_all(plan: Plan, folder: Path, progress: Progress, methods: Sequence[AnyMethod]) -> dict[str, list[Row]]:
    """Every trial of some methods on the plan's tuning pairs.

    Args:
        plan: pairs, number of trials, seed.
        folder, progress: see ``run_plan``.
        methods: of the plan.

    Returns:
        method -> its trials, the one to use first.
    """
    held: dict[str, PairData] = {}
    drawn = {m.name: draw_settings(m.space, plan.trials, plan.seed) for m in methods}
    total = sum(map(len, drawn.values()))
    done = 0
    out = {}
    for index, method in enumerate(methods):
        path = folder / "tuning" / f"{method.name}.json"
        known = _load(path) or []
        trials: list[Row] = []
        for setting in drawn[method.name]:
            progress(f"tuning {method.name}", done, total)
            done += 1
            trial = next((t for t in known if t["setting"] == setting), None)
            if trial is None:
                trial = _trial(plan, method, setting, held)
            trials.append(trial)
            # Known trials that are still to come stay in the file until they are reached.
            rest = [t for t in known if all(t["setting"] != s["setting"] for s in trials)]
            _save(path, trials + rest)
        out[method.name] = _best_first(trials)
        if index + 1 == len(methods) or _family(method) != _family(methods[index + 1]):
            plan.memo.clear()
    return out


def _trial(plan: Plan, method: AnyMethod, setting: Mapping[str, Any], held: dict[str, PairData]) -> Row:
    rows = []
    for pair in plan.tuning:
        if pair.name not in held:
            held[pair.name] = read_pair(pair_files(pair))
        data = held[pair.name]
        try:
            found = method.tried(pair, data, setting)
        except (PeerError, UserError) as error:
            return {"setting": dict(setting), "error": str(error)}
        scores = score(data, found.displacement, plan.label_names)
        assert scores.dice_after is not None, "plans hold pairs with labels only"
        rows.append((scores.dice_after["mean"], scores.folds_percent, scores.sdlogj))
    dice, folds, sdlogj = (sum(column) / len(rows) for column in zip(*rows, strict=True))
    return {"setting": dict(setting), "dice": dice, "folds_percent": folds, "sdlogj": sdlogj, "pairs": len(rows)}


def _best_first(trials: Sequence[Row]) -> list[Row]:
    """By ``ranked``; failed trials come last."""
    good = [t for t in trials if "error" not in t]
    if not good:
        return list(trials)
    # The whole row travels as the trial's setting, so that nothing needs to be looked up again.
    order = ranked([Trial(t, t["dice"], t["folds_percent"], t["sdlogj"], math.nan) for t in good])
    return [dict(t.setting) for t in order] + [t for t in trials if "error" in t]


def _case(plan: Plan, method: AnyMethod, pair: PairRecord, data: PairData, best: Row, path: Path) -> Row:
    if "error" in best:  # every trial failed: the report says so, the other methods go on
        return {"case": pair.name, "method": method.name, "error": best["error"]}
    known = _load(path)
    if known is not None and known["setting"] == best["setting"]:
        return known["row"]
    row: Row = {"case": pair.name, "method": method.name}
    try:
        found = method(pair, data, best["setting"])
        row |= evaluate(data, found.displacement, plan.label_names)
        row |= {f"seconds_{stage}": value for stage, value in found.seconds.items()}
        row["peak_memory_mb"] = found.peak_memory_mb
    except (PeerError, UserError) as error:
        row["error"] = str(error)
    _save(path, {"setting": best["setting"], "row": row})
    return row


def _family(method: AnyMethod) -> object:
    return getattr(method, "family", method)


def _load(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def _save(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, content)
