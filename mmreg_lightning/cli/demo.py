"""``mmreg-demo``: phantom, a short training, and the comparison on held-out pairs: the main job from end to end."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from mmreg_lightning.cli._app import entry_point

PHANTOM = {"subjects": 52, "size": (64, 56, 64), "seed": 1, "val": 4, "test": 6, "intra_displacement": 30.0}


def build_parser() -> argparse.ArgumentParser:
    """Arguments of the command."""
    parser = argparse.ArgumentParser(
        prog="mmreg-demo",
        description="Make a phantom data set, learn features on it, register held-out pairs, write a table and a "
        "report. Finished parts are used again.",
    )
    parser.add_argument("--out", type=Path, default=Path("outputs/demo"), metavar="DIR", help="default: outputs/demo")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Run the demonstration; a second run goes on where the first one stopped."""
    out: Path = build_parser().parse_args(argv).out

    from mmreg_lightning.benchmark.comparison import OUTPUTS
    from mmreg_lightning.cli.compare import write_comparison
    from mmreg_lightning.features.pretrained import PRETRAINED, shipped_weights
    from mmreg_lightning.files import check_free
    from mmreg_lightning.phantom.dataset import write_phantom

    # A comparison beside a training is of an earlier demonstration; any other is not for this command to replace.
    again = (out / "training").is_dir()
    if not again:
        check_free(out, OUTPUTS, overwrite=False)
    print(f"1/3 phantom: {out / 'phantom'}", flush=True)
    data = write_phantom(out / "phantom", **PHANTOM, progress=True)  # type: ignore[arg-type]
    print(f"2/3 training: {out / 'training'}", flush=True)
    checkpoint = _train(data, out / "training")
    print(f"3/3 comparison: {out}", flush=True)
    write_comparison(
        checkpoint,
        data,
        out,
        features=[PRETRAINED] if shipped_weights() else [],
        tune="val",
        tune_pairs=4,
        report="test",
        overwrite=again,
        title="mmreg_lightning: phantom demonstration",
        command="make demo",
    )


def _train(data: Path, out: Path) -> Path:
    """Train experiment=demo, unless it has been done already; gives the checkpoint."""
    import torch
    from hydra import compose, initialize_config_dir

    from mmreg_lightning.config import CONF_DIR
    from mmreg_lightning.training.run import train

    with initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        config = compose(
            "train", overrides=["experiment=demo", f"data.root={data}", f"output_dir={out}", "ckpt_path=null"]
        )
    last = out / "last.ckpt"
    if last.is_file():
        steps = torch.load(last, map_location="cpu", weights_only=True)["global_step"]
        if steps >= config.trainer.max_steps:
            print(f"{last} is there already: no training")
            return last
        config.ckpt_path = str(last)
    out.mkdir(parents=True, exist_ok=True)
    train(config)
    return last


entry = entry_point(main, build_parser)


if __name__ == "__main__":
    entry()
