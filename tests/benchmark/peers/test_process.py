"""The process of a peer: what it is given, what it answers, and how its end is told when there is no field."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mmreg_lightning.benchmark.peers.process import PeerError, run_peer


@pytest.fixture
def run_instead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, float]]:
    """Runs a peer whose process is a shell script; its arguments are -m, the module, the request and three files."""

    def run(script: str, settings: dict[str, Any] | None = None, threads: int = 1) -> dict[str, float]:
        program = tmp_path / "program"
        program.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        program.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(program))
        out = tmp_path / "out"
        out.mkdir()
        files = tmp_path / "fixed.nii.gz", tmp_path / "moving.nii.gz", out / "field.nii.gz"
        return run_peer("greedy", *files, settings or {}, threads)

    return run


ANSWER = json.dumps({"seconds": 1.5, "peak_memory_mb": 20.0})


def test_the_last_line_is_the_answer(run_instead: Callable) -> None:
    assert run_instead(f"touch \"$6\"; echo iteration 1; echo '{ANSWER}'") == {"seconds": 1.5, "peak_memory_mb": 20.0}


def test_request_files_threads_and_folder_reach_the_process(run_instead: Callable, tmp_path: Path) -> None:
    variables = "$OMP_NUM_THREADS $ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"
    script = f'printf "%s\\n" "$1" "$2" "$3" "$4" "$5" "{variables}" "$(pwd)" > "$6"; echo \'{ANSWER}\''
    run_instead(script, {"metric": "WNCC 2x2x2", "dof": 6}, threads=3)
    lines = (tmp_path / "out" / "field.nii.gz").read_text(encoding="utf-8").splitlines()
    assert lines[:2] == ["-m", "mmreg_lightning.benchmark.peers"]
    assert json.loads(lines[2]) == {
        "name": "greedy",
        "settings": {"metric": "WNCC 2x2x2", "dof": 6},
        "threads": 3,
    }
    assert lines[3:5] == [str(tmp_path / "fixed.nii.gz"), str(tmp_path / "moving.nii.gz")]
    assert lines[5] == "3 3"
    assert lines[6] == str(tmp_path / "out"), "what a peer leaves beside its field stays in the folder of the field"


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("kill -SEGV $$", f"greedy: killed by {signal.SIGSEGV.name}; it said nothing"),
        ("echo begun; echo out of memory >&2; exit 3", "greedy: exit code 3; out of memory"),
        ("echo no overlap; exit 1", "greedy: exit code 1; no overlap"),
        (f"echo '{ANSWER}' >&2; echo; echo", f"greedy: exit code 0; {ANSWER}"),
        ("exit 0", "greedy: exit code 0; it said nothing"),
    ],
    ids=["signal", "words on stderr", "words on stdout", "no field", "nothing"],
)
def test_an_end_without_a_field_is_told(run_instead: Callable, script: str, expected: str) -> None:
    with pytest.raises(PeerError) as error:
        run_instead(script)
    assert str(error.value) == expected


def test_a_field_of_a_process_that_failed_does_not_count(run_instead: Callable) -> None:
    with pytest.raises(PeerError, match="exit code 2; late mistake"):
        run_instead('touch "$6"; echo late mistake >&2; exit 2')


def test_an_exception_in_the_real_process_is_its_last_line(tmp_path: Path) -> None:
    with pytest.raises(PeerError, match="^nobody: exit code 1; KeyError: 'nobody'$"):
        run_peer("nobody", tmp_path / "f.nii.gz", tmp_path / "m.nii.gz", tmp_path / "u.nii.gz", {}, threads=1)
