"""The tests mirror the package: a folder for a folder, a namesake for every module with logic in it."""

from __future__ import annotations

from pathlib import Path

import pytest

import mmreg_lightning

PACKAGE = Path(mmreg_lightning.__file__).parent
TESTS = Path(__file__).parent
REPOSITORY = TESTS.parent
LINES = 40
"""A module of more lines has a test file of its own name."""
EXCEPTIONS: dict[str, str] = {
    "benchmark/peers/elastix.py": "peers/test_peers.py runs the four adapters through one test",
    "benchmark/report.py": "test_runner.py reads the report of a whole benchmark",
    "calibration/report.py": "test_calibrate.py reads the report of a whole calibration",
    "inspection/maps_report.py": "test_commands.py reads the page of real feature maps",
    "inspection/study_plots.py": "test_study_report.py reads the figures' numbers",
    "training/stopping.py": "cli/test_resume.py stops trainings by signals",
    "training/sweep/report.py": "cli/test_sweep.py reads the report of a whole sweep",
}
"""Modules without a namesake, and why."""


def namesake(module: Path) -> Path:
    """``tests/<folder>/test_<name>.py`` of a module, given relative to the package; ``_app.py`` has test_app.py."""
    return TESTS / module.parent / f"test_{module.stem.lstrip('_')}.py"


def modules() -> list[Path]:
    """Those with more than ``LINES`` lines, relative to the package."""
    files = (path for path in PACKAGE.rglob("*.py") if path.name not in ("__init__.py", "__main__.py"))
    long = (path for path in files if len(path.read_text(encoding="utf-8").splitlines()) > LINES)
    return sorted(path.relative_to(PACKAGE) for path in long)


@pytest.mark.parametrize("module", modules(), ids=Path.as_posix)
def test_every_module_has_its_namesake(module: Path) -> None:
    if module.as_posix() not in EXCEPTIONS:
        assert namesake(module).is_file(), f"write {namesake(module).relative_to(REPOSITORY)}"


@pytest.mark.parametrize("name", EXCEPTIONS)
def test_no_exception_outlives_its_reason(name: str) -> None:
    assert (PACKAGE / name).is_file(), "there is no such module any more: take it off the list"
    assert Path(name) in modules() and not namesake(Path(name)).exists(), "it is none any more: take it off the list"


def test_every_folder_of_tests_is_one_of_the_package() -> None:
    folders = {path.parent.relative_to(TESTS) for path in TESTS.rglob("test_*.py")}
    others = {folder.as_posix() for folder in folders if not (PACKAGE / folder).is_dir()}
    assert others == {"acceptance"}, "what real images of another package say about the whole"


def test_scripts_are_two_commands_the_measurements_and_what_the_docs_name() -> None:
    pages = "".join(
        path.read_text(encoding="utf-8") for path in [REPOSITORY / "README.md", *REPOSITORY.glob("docs/*.md")]
    )
    others = {path.name for path in (REPOSITORY / "scripts").glob("*.py")} - {"train.py", "register.py"}
    assert (REPOSITORY / "scripts" / "bench" / "__main__.py").is_file()
    assert {name for name in others if f"scripts/{name}" not in pages} == set()
