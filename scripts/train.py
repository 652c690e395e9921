"""Learn features by supervised iterative descent: ``python scripts/train.py --help``."""

from mmreg_lightning.cli.train import entry

if __name__ == "__main__":
    entry()
