"""Look at features, or measure them: ``python scripts/features.py --help``."""

from mmreg_lightning.cli.features import entry

if __name__ == "__main__":
    entry()
