"""From the start of the process: ``--help``, the registration of a small pair, the first step of a cached training."""

from __future__ import annotations

import statistics
from argparse import Namespace
from pathlib import Path
from typing import Any

from clock import process, python

COMMANDS = ("register", "apply", "train", "phantom", "compare", "evaluate", "benchmark", "sweep_report")


def measure(out: Path, arguments: Namespace) -> dict[str, Any]:
    """Tables by title."""
    data = out / "phantom_64"
    if not data.is_dir():
        process(
            python("-m", "mmreg_lightning.cli.phantom", "--out", data, "--subjects", 4, "--size", 64, 64, 64), 2, out
        )
    images = sorted((data / "imagesTr").glob("*_0000.nii.gz"))
    fixed, moving = images[0], Path(str(images[1]).replace("_0000.nii", "_0001.nii"))
    entry = "from mmreg_lightning.cli.{0} import entry; entry()"
    actions = {
        f"mmreg-{name.replace('_', '-')} --help": python("-c", entry.format(name), "--help") for name in COMMANDS
    }
    actions["python -c pass"] = python("-c", "pass")
    actions["import torch"] = python("-c", "import torch")
    actions["importing what mmreg-register needs"] = python(
        "-c", "import mmreg_lightning.cli.register, mmreg_lightning.registration.register"
    )
    options = ["--fixed", fixed, "--moving", moving, "--out", out / "small", "--overwrite"]
    actions["mmreg-register, 64 x 64 x 64, all files"] = python("-c", entry.format("register"), *options)
    trained = [
        f"data.root={data}",
        f"data.cache_dir={out / 'cache'}",
        "experiment=phantom_tiny",
        "trainer.fast_dev_run=1",
    ]
    actions["mmreg-train, cached data, to the end of one step and one validation"] = python(
        "-c", entry.format("train"), *trained, f"hydra.run.dir={out / 'train'}"
    )
    for command in actions.values():
        process(command, arguments.threads, out)
    seconds: dict[str, list[float]] = {name: [] for name in actions}
    for _ in range(arguments.repeats):
        for name, command in actions.items():
            seconds[name].append(process(command, arguments.threads, out).wall)
    rows = [["", "s"], *([name, f"{statistics.median(values):.2f}"] for name, values in seconds.items())]
    return {"From the start of the process": rows}
