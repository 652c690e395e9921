"""Compare learned features with MIND-SSC on a data set: ``python scripts/compare.py --help``."""

from mmreg_lightning.cli.compare import entry

if __name__ == "__main__":
    entry()
