"""Apply saved transforms to images, points and meshes: ``python scripts/apply.py --help``."""

from mmreg_lightning.cli.apply import entry

if __name__ == "__main__":
    entry()
