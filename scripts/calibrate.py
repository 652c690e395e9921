"""Calibrate the confidence of registrations: ``python scripts/calibrate.py --help``."""

from mmreg_lightning.cli.calibrate import entry

if __name__ == "__main__":
    entry()
