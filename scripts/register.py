"""Register two images: ``python scripts/register.py --help``."""

from mmreg_lightning.cli.register import entry

if __name__ == "__main__":
    entry()
