from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mmreg_lightning.errors import UserError
from mmreg_lightning.files import (
    LOCK,
    atomic_path,
    check_free,
    ensure_output_dir,
    folder_lock,
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


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_named_and_changes_nothing(tmp_path: Path, code: int) -> None:
    write_text(tmp_path / "last.ckpt", "old")
    with (
        pytest.raises(UserError, match=f"^cannot write {tmp_path}/last.ckpt: {os.strerror(code)}$"),
        atomic_path(tmp_path / "last.ckpt") as temporary,
    ):
        temporary.write_text("ne")
        raise OSError(code, os.strerror(code))  # as `write` of an open file does: without a name
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]
    assert (tmp_path / "last.ckpt").read_text() == "old"


def test_other_errors_of_writing_are_not_hidden(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="Input/output error"), atomic_path(tmp_path / "a"):
        raise OSError(errno.EIO, os.strerror(errno.EIO))


def holding(folder: str, cwd: Path, action: str) -> subprocess.Popen[str]:
    """A process that does something while it holds the lock of a folder."""
    code = f"import os\nfrom mmreg_lightning.files import folder_lock\nwith folder_lock({folder!r}):\n    {action}"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-c", code], cwd=cwd, env=environment, encoding="utf-8", **pipes)


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that has locked ``out``, until it reads a line."""
    with holding("out", tmp_path, "print('locked', flush=True); input()") as process:
        assert process.stdout is not None and process.stdout.readline() == "locked\n"
        yield process
        process.kill()


def test_a_folder_in_use_is_refused(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    sentence = f"out is in use by process {holder.pid} on {socket.gethostname()}: name another folder, or wait"
    with pytest.raises(UserError, match=sentence), folder_lock(tmp_path / "out"):
        pass
    assert (tmp_path / "out" / LOCK).is_file(), "the other one goes on holding it"
    holder.communicate("\n")
    with folder_lock(tmp_path / "out") as folder:
        (folder / "result").touch()
    assert [path.name for path in folder.iterdir()] == ["result"]
    with folder_lock(tmp_path / "new"):
        pass
    assert not (tmp_path / "new").exists(), "nothing was written in it"


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    holder.kill()
    holder.wait()
    file = tmp_path / "out" / LOCK
    assert file.is_file()
    with folder_lock(tmp_path / "out"):
        assert file.read_text() == f"process {os.getpid()} on {socket.gethostname()}\n"
    assert not file.exists()


def test_a_lock_is_given_back_when_the_block_fails(tmp_path: Path) -> None:
    with pytest.raises(KeyError), folder_lock(tmp_path / "out"):
        with pytest.raises(UserError, match="in use"), folder_lock(tmp_path / "out"):
            pass
        raise KeyError
    with folder_lock(tmp_path / "out") as folder:
        assert folder == tmp_path / "out"


def test_a_child_of_a_killed_process_holds_no_lock(tmp_path: Path) -> None:
    """The loader processes of a training outlive it for seconds."""
    with holding("out", tmp_path, "os.wait() if os.fork() else (print('forked', flush=True), input())") as process:
        assert process.stdout is not None and process.stdout.readline() == "forked\n"
        process.kill()
        process.wait()
        with folder_lock(tmp_path / "out"):
            pass


def test_a_disk_that_cannot_lock_is_used_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def unable(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", unable)
    with folder_lock(tmp_path):
        pass
    assert "cannot be locked (No locks available)" in caplog.text
