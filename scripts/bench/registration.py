"""A pair of Learn2Reg's size, from reading to writing, beside the other packages."""

from __future__ import annotations

import statistics
from argparse import Namespace
from pathlib import Path
from typing import Any

import torch
from clock import Run, process, python

from mmreg_lightning.data.pair import ImageFiles, Pair
from mmreg_lightning.evaluation.scores import score
from mmreg_lightning.files import write_json
from mmreg_lightning.io.itk_fields import read_itk_field

SIZE, SPACING = (192, 160, 192), 2
PEERS = ("convexadam", "ants_syn")


def measure(out: Path, arguments: Namespace) -> dict[str, Any]:
    """Tables by title.

    Raises:
        SystemExit: there is no checkpoint.
    """
    if arguments.checkpoint is None:
        raise SystemExit("registration: name a --checkpoint of mmreg-train experiment=phantom_full")
    data = out / "phantom_192"
    if not data.is_dir():
        size = ["--subjects", 2, "--size", *SIZE, "--spacing", SPACING, "--seed", 1, "--val", 0, "--test", 0]
        process(python("-m", "mmreg_lightning.cli.phantom", "--out", data, *size), arguments.threads, out)
    images = [data / f"imagesTr/PhantomMRCT_{name}.nii.gz" for name in ("0001_0000", "0002_0001")]
    labels = [data / f"labelsTr/{image.name}" for image in images]
    pair = Pair(*(ImageFiles(*files) for files in zip(images, labels, strict=True))).read()
    entry = "from mmreg_lightning.cli.register import entry; entry()"
    ours = ["--fixed", images[0], "--moving", images[1], "--out", out / "large", "--overwrite"]
    ours += ["--device", arguments.device]
    learned = [*ours, "--checkpoint", arguments.checkpoint.resolve()]
    commands = {"mmreg-register, learned + demons, all files": python("-c", entry, *learned)}
    fields = {next(iter(commands)): out / "large" / "displacement.itk.nii.gz"}
    for name in PEERS:
        request = f'{{"name": "{name}", "settings": {{}}, "threads": {arguments.threads}}}'
        fields[name] = out / f"{name}.nii.gz"
        commands[name] = python("-m", "mmreg_lightning.benchmark.peers", request, *images, fields[name])
    runs: dict[str, list[Run]] = {name: [] for name in commands}
    for number in range(arguments.repeats):
        for name, command in commands.items():
            runs[name].append(process(command, arguments.threads, out))
            print(f"{number + 1}/{arguments.repeats} {name}: {runs[name][-1]}", flush=True)
        write_json(out / "registration_runs.json", {name: [r._asdict() for r in own] for name, own in runs.items()})
    base = _median(runs[next(iter(commands))])
    rows = [["", "s", "ours / its", "CPU s", "peak MB", "ours / its", "Dice", "folds, %"]]
    for name, own in runs.items():
        middle = _median(own)
        displacement, grid = read_itk_field(fields[name])
        assert grid.same_as(pair.fixed.volume.grid)
        scores = score(pair, displacement[None].to(torch.float32), {})
        assert scores.dice_after is not None
        rows.append(
            [
                name,
                f"{middle.wall:.1f}",
                f"{base.wall / middle.wall:.2f}",
                f"{middle.cpu:.1f}",
                f"{middle.peak_mb:.0f}",
                f"{base.peak_mb / middle.peak_mb:.2f}",
                f"{scores.dice_after['mean']:.3f}",
                f"{scores.folds_percent:.3f}",
            ]
        )
    return {f"One pair of {'x'.join(map(str, SIZE))} voxels at {SPACING} mm, whole processes": rows}


def _median(runs: list[Run]) -> Run:
    return Run(*(statistics.median(values) for values in zip(*runs, strict=True)))
