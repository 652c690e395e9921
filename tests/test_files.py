from __future__ import annotations

import json
from pathlib import Path

import pytest

from mmreg_lightning.errors import UserError
from mmreg_lightning.files import (
    atomic_path,
    check_free,
    ensure_output_dir,
    new_output_dir,
    remove_outputs,
    write_json,
    write_text,
)


def test_success_replaces_and_leaves_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "displacement.itk.nii.gz"
    target.write_text("old")
    with atomic_path(target) as temporary:
        assert temporary.parent == tmp_path
        assert temporary.name.endswith("displacement.itk.nii.gz")
        temporary.write_text("new")
        assert target.read_text(encoding="utf-8") == "old"
    assert target.read_text(encoding="utf-8") == "new"
    assert list(tmp_path.iterdir()) == [target]


def test_failure_keeps_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "metrics.json"
    target.write_text("old")
    with pytest.raises(KeyboardInterrupt), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt
    assert target.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_output_dir_is_created_with_parents(tmp_path: Path) -> None:
    assert ensure_output_dir(tmp_path / "a" / "b").is_dir()
    assert ensure_output_dir(str(tmp_path / "a")) == tmp_path / "a"
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_output_dir_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    for path in (tmp_path / "taken", tmp_path / "taken" / "below"):
        with pytest.raises(UserError, match="cannot write to the output folder .*taken"):
            ensure_output_dir(path)


def test_output_dir_that_is_read_only() -> None:
    with pytest.raises(UserError, match="cannot write to the output folder /proc"):
        ensure_output_dir("/proc")


def test_json_has_null_for_what_is_not_finite(tmp_path: Path) -> None:
    nan = float("nan")
    write_json(
        tmp_path / "m.json",
        {"dice": {"mean": nan, "rows": [1, (0.5, float("inf"))]}, "name": "x", "none": None},
    )
    expected = {"dice": {"mean": None, "rows": [1, [0.5, None]]}, "name": "x", "none": None}
    assert json.loads((tmp_path / "m.json").read_text(encoding="utf-8")) == expected


def test_json_that_cannot_be_written_leaves_the_old_file(tmp_path: Path) -> None:
    write_text(tmp_path / "m.json", "old")
    with pytest.raises(TypeError):
        write_json(tmp_path / "m.json", {"x": object()})
    assert (tmp_path / "m.json").read_text(encoding="utf-8") == "old"


def test_a_new_folder_goes_when_nothing_came_of_it(tmp_path: Path) -> None:
    old, new, full = tmp_path / "old", tmp_path / "new", tmp_path / "full"
    old.mkdir()
    for folder in (old, new, full):
        with pytest.raises(KeyError), new_output_dir(folder):
            if folder is full:
                (folder / "result").touch()
            raise KeyError
    assert old.is_dir() and not new.exists() and (full / "result").is_file()
    with new_output_dir(new) as folder:
        assert folder == new
    assert new.is_dir()


def test_results_of_an_earlier_run_are_kept_or_removed_whole(tmp_path):
    outputs = ("first.json", "pairs", "last.json")
    check_free(tmp_path / "none", outputs, overwrite=False)
    (tmp_path / "pairs" / "one").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    (tmp_path / ".12345678-first.json").touch()
    with pytest.raises(UserError, match="holds pairs of a run that did not finish"):
        check_free(tmp_path, outputs, overwrite=False)
    (tmp_path / "last.json").touch()
    with pytest.raises(UserError, match="holds pairs of an earlier run already"):
        check_free(tmp_path, outputs, overwrite=False)
    check_free(tmp_path, outputs, overwrite=True)
    assert (tmp_path / "pairs" / "one").is_dir()
    remove_outputs(tmp_path, outputs)
    assert [path.name for path in tmp_path.iterdir()] == ["other"]
