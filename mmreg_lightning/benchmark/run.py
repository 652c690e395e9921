"""A whole benchmark in a folder: plan, check, run and report."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mmreg_lightning import __version__
from mmreg_lightning.benchmark.methods import FeatureMethod, Method
from mmreg_lightning.benchmark.peers.registry import PEERS, peer_version
from mmreg_lightning.benchmark.plan import Plan, Progress, make_plan
from mmreg_lightning.benchmark.report import write_results
from mmreg_lightning.benchmark.robustness import make_robustness_plan, run_robustness
from mmreg_lightning.benchmark.robustness_report import write_robustness
from mmreg_lightning.benchmark.runner import run_plan
from mmreg_lightning.benchmark.store import check_same
from mmreg_lightning.data.assumptions import header_notes, notes_in_words
from mmreg_lightning.files import ensure_output_dir, sha256
from mmreg_lightning.reporting.pages import markdown_table

# What may change between two runs in one folder.
_FREE = ("features", "solvers", "peers", "output_dir")
Settings = Mapping[str, Any]


def run_benchmark(settings: Settings, command: str, progress: Progress) -> tuple[dict[str, Any], list[str]]:
    """Features x solvers and other packages, see ``run_plan`` and ``write_results``.

    Args:
        settings: conf/benchmark.yaml, plain types.
        command: the command line, for the report.
        progress: called for every registration.

    Returns:
        Content of summary.json, and the lines to print.

    Raises:
        UserError: a setting cannot be used, or the folder holds another benchmark.
    """
    plan = make_plan(settings)
    folder = _folder(settings, plan, _FREE)
    rows, trials = run_plan(plan, folder, progress)
    what = (
        f"Every method tried up to {plan.trials} settings on the same {len(plan.tuning)} pairs of the split "
        f"{settings['tuning']['split']}, and its best one (highest Dice; the smoothest within 0.005 of it; folds above "
        "0.1 % rank last) ran once on the reported pairs."
    )
    facts = {
        "title": f"Benchmark on {plan.dataset.name}",
        "what": f"{_pairs(settings, plan)}. {what}",
        **_machine_facts(settings, command, plan.methods),
    }
    summary, table = write_results(folder, rows, trials, facts)
    return summary, [
        markdown_table(table),
        *_assumed(plan),
        f"Results: {folder / 'report.html'}, {folder / 'results.csv'}",
    ]


def run_robustness_benchmark(settings: Settings, command: str, progress: Progress) -> tuple[dict[str, Any], list[str]]:
    """The same over perturbed pairs, as the group ``robustness`` says; see ``run_robustness`` and ``run_benchmark``."""
    robust = make_robustness_plan(settings)
    folder = _folder(settings, robust.plan, (*_FREE, "robustness"))
    rows, used = run_robustness(robust, folder, progress)
    what = (
        "with one thing wrong at a time. Every method runs with one setting throughout, tuned on unperturbed pairs of "
        f"the split {settings['tuning']['split']} where none is given."
    )
    facts = {
        "title": f"Robustness on {robust.plan.dataset.name}",
        "what": f"{_pairs(settings, robust.plan)}, {what}",
        **_machine_facts(settings, command),
    }
    summary = write_robustness(folder, robust, rows, used, facts)
    lost = sum("error" in row for row in rows)
    said = f"{lost} registrations gave no result, the page says why; their levels or cases are left out"
    return summary, [
        *([said] if lost else []),
        *_assumed(robust.plan),
        f"Results: {folder / 'report.html'}, {folder / 'areas.csv'}",
    ]


def _folder(settings: Settings, plan: Plan, free: tuple[str, ...]) -> Path:
    """The output folder, checked. The learned features may join a benchmark of the others later."""
    folder = ensure_output_dir(settings["output_dir"])
    checkpoint = settings["checkpoint"]
    fixed = {key: value for key, value in settings.items() if key not in free}
    fixed["checkpoint_sha256"] = None if checkpoint is None else sha256(checkpoint)
    joining = ["checkpoint", "checkpoint_sha256"]
    for method in plan.methods:
        if isinstance(method, FeatureMethod) and method.family.name != "learned":
            joining.append(f"method {method.name}")
            fixed[joining[-1]] = _identity(method)
    pairs = [*plan.tuning, *(case.files for case in plan.cases)]
    check_same(folder / "benchmark.json", fixed, pairs, "hydra.run.dir", joining)
    return folder


def _identity(method: FeatureMethod) -> dict[str, Any]:
    """What the results of a method depend on besides the setting that was tried."""
    family = method.family
    return {
        "features": family.config,
        "normalisation": family.normalisation,
        "spacing": family.spacing,
        # "pretrained" is another file after an update of the package.
        "weights_sha256": None if family.checkpoint is None else sha256(family.checkpoint),
        "solver": method.config,
    }


def _pairs(settings: Settings, plan: Plan) -> str:
    dataset, split = plan.dataset, settings["report"]["split"]
    return f"{dataset.moving_modality} to {dataset.fixed_modality}, {len(plan.cases)} pairs of the split {split}"


def _assumed(plan: Plan) -> list[str]:
    """The lines about the headers of the files."""
    pairs = [*plan.tuning, *(case.files for case in plan.cases)]
    return notes_in_words(header_notes(files for pair in pairs for files in pair))


def _machine_facts(settings: Settings, command: str, methods: Sequence[Method] = ()) -> dict[str, Any]:
    """Command, checkpoint, seed, versions (those of the peers among ``methods``, too) and machine."""
    versions = {"mmreg-lightning": __version__, "torch": torch.__version__, "numpy": np.__version__}
    versions |= {PEERS[m.name].package: str(peer_version(m.name)) for m in methods if m.name in PEERS}
    return {
        "command": command,
        "checkpoint": settings["checkpoint"],
        "seed": settings["seed"],
        "versions": ", ".join(f"{name} {number}" for name, number in versions.items()),
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "threads": torch.get_num_threads(),
    }
