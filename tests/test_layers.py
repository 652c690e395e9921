"""Imports go down only: every module is parsed, and what it imports must lie below it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import mmreg_lightning

PACKAGE = Path(mmreg_lightning.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))

# From the ground up: a folder imports from itself, from the ground and from the folders before it.
GROUND = ["errors", "files", "config", "runtime"]
FOLDERS = [
    "functional",
    "geometry",
    "io",
    "descent",
    "features",
    "solvers",
    "reporting",
    "data",
    "phantom",
    "synthesis",
    "evaluation",
    "confidence",
    "registration",
    "inspection",
    "benchmark",
    "calibration",
    "training",
    "cli",
]
HEAVY = {"matplotlib", "nibabel", "numpy", "pytorch_lightning", "scipy", "torch", "torchio", "wandb"}


def layer(path: Path) -> str:
    """The first name below the package: a subpackage or a module."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(nodes: Iterator[ast.AST], path: Path) -> set[str]:
    """Absolute names of all modules that the nodes import."""
    names = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide the layer"
            assert node.module is not None
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def identifier(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def test_every_folder_and_module_has_its_layer():
    tree = {path.name.removesuffix(".py") for path in PACKAGE.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert tree - {"__init__", "__pycache__", "conf", "weights"} == {*GROUND, *FOLDERS}


@pytest.mark.parametrize("path", MODULES, ids=identifier)
def test_imports_go_down(path):
    own = layer(path)
    names = imports(ast.walk(tree(path)), path)
    used = {name.split(".")[1] for name in names if name.startswith("mmreg_lightning.")} - {own, "__version__"}
    if own == "__init__":
        return  # the public names, imported when they are asked for
    if own in GROUND:
        below = set(GROUND[: GROUND.index(own)])
    else:
        below = {"errors"} if own == "functional" else {*GROUND, *FOLDERS[: FOLDERS.index(own)]}
    assert used <= below, f"{own} may not import {sorted(used - below)}"


@pytest.mark.parametrize("path", MODULES, ids=identifier)
def test_torchio_is_imported_by_data_only(path):
    if any(name.split(".")[0] == "torchio" for name in imports(ast.walk(tree(path)), path)):
        assert layer(path) == "data"


@pytest.mark.parametrize("path", MODULES, ids=identifier)
def test_hydra_instantiates_in_one_place(path):
    nodes = list(ast.walk(tree(path)))
    called = any(isinstance(node, ast.Attribute) and node.attr == "instantiate" for node in nodes)
    imported = any(name.startswith("hydra.utils") for name in imports(iter(nodes), path))
    assert layer(path) == "config" or not (called or imported)


@pytest.mark.parametrize("path", sorted((PACKAGE / "cli").glob("*.py")), ids=identifier)
def test_help_needs_no_heavy_import(path):
    direct = imports(iter(tree(path).body), path)
    assert {name.split(".")[0] for name in direct} & HEAVY == set()
