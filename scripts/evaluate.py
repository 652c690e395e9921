"""Score displacement fields: ``python scripts/evaluate.py --help``."""

from mmreg_lightning.cli.evaluate import entry

if __name__ == "__main__":
    entry()
