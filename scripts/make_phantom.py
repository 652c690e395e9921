"""Write a procedural CT/MR abdomen phantom in Learn2Reg layout: ``python scripts/make_phantom.py --help``."""

from mmreg_lightning.cli.phantom import entry

if __name__ == "__main__":
    entry()
