"""Draws pairs of views that data=synthetic makes, a row for each source of label maps.

python scripts/synthetic_views.py docs/pictures/synthetic_views.png data.maps=HEAD-LABEL-MAPS data.patch_size=64
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from mmreg_lightning.config import CONF_DIR, instantiate
from mmreg_lightning.files import atomic_path
from mmreg_lightning.synthesis.datamodule import SyntheticDataModule

PAIRS = 5


def main() -> None:
    """Draw as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", type=Path)
    parser.add_argument("overrides", nargs="*", help="of the configuration, data.KEY=VALUE")
    arguments = parser.parse_args()
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF_DIR)):
        config = compose("train", overrides=["experiment=generalist", "output_dir=.", *arguments.overrides])
    data: SyntheticDataModule = instantiate(OmegaConf.to_container(config.data, resolve=True))
    torch.manual_seed(1)
    data.prepare_data()
    import matplotlib.pyplot as plt

    sources = dict(data.sources)
    figure, axes = plt.subplots(len(sources), 2 * PAIRS, figsize=(2 * PAIRS, len(sources) + 0.4), squeeze=False)
    for row, (name, source) in zip(axes, sources.items(), strict=True):
        data.sources = {name: source}
        data.train_set = None
        data.setup()
        assert data.train_set is not None
        for index in range(PAIRS):
            item = data.train_set[index]
            for axis, role in zip(row[2 * index : 2 * index + 2], ("fixed", "moving"), strict=True):
                image = item[role][0]
                axis.imshow(image[..., image.shape[2] // 2].T, cmap="gray", vmin=0, vmax=1, origin="lower")
                axis.set_axis_off()
                axis.set_title(role, fontsize=7, pad=2)
        row[0].text(-0.1, 0.5, name, transform=row[0].transAxes, rotation=90, va="center", ha="right", fontsize=8)
    figure.subplots_adjust(0.03, 0.01, 0.99, 0.95, 0.05, 0.15)
    with atomic_path(arguments.picture) as temporary:
        figure.savefig(temporary, dpi=110)


if __name__ == "__main__":
    main()
