"""Benchmark features, solvers and other packages: ``python scripts/benchmark.py --help``."""

from mmreg_lightning.cli.benchmark import entry

if __name__ == "__main__":
    entry()
