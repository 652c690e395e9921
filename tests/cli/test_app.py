from __future__ import annotations

import errno
import subprocess
import sys

import numpy as np
import pytest
import torch

from mmreg_lightning.cli._app import run
from mmreg_lightning.errors import UserError


def test_success_returns(capsys: pytest.CaptureFixture[str]) -> None:
    run(lambda: print("done"))
    assert capsys.readouterr() == ("done\n", "")


def test_user_error_is_one_line_and_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> None:
        raise UserError("there is no file x.nii.gz")

    with pytest.raises(SystemExit) as exit_info:
        run(main)
    assert exit_info.value.code == 2
    assert capsys.readouterr() == ("", "error: there is no file x.nii.gz\n")


def test_interrupt_is_code_130_without_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> None:
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as exit_info:
        run(main)
    assert exit_info.value.code == 130
    assert capsys.readouterr().err == ""


def test_a_defect_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        run(lambda: 1 / 0)


def test_nothing_heavy_is_imported() -> None:
    code = (
        "import sys, mmreg_lightning.cli._app, mmreg_lightning.geometry, mmreg_lightning.evaluation;"
        "print([m for m in ('torch', 'numpy', 'nibabel') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True)
    assert out.stdout == "[]\n"


def test_a_full_disk_is_one_sentence(capsys):
    def full():
        raise OSError(errno.ENOSPC, "No space left on device", "out/warped.nii.gz")

    with pytest.raises(SystemExit) as exit_info:
        run(full)
    assert exit_info.value.code == 2
    assert capsys.readouterr().err == "error: cannot write out/warped.nii.gz: No space left on device\n"
    with pytest.raises(FileNotFoundError):
        run(lambda: open("nowhere/at/all", encoding="utf-8"))


@pytest.mark.parametrize("allocate", [lambda: torch.empty(2**50), lambda: np.empty(2**60, dtype=np.uint8)])
def test_a_full_memory_is_one_sentence(allocate, capsys):
    with pytest.raises(SystemExit) as exit_info:
        run(allocate)
    assert exit_info.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: there is not enough memory: a larger spacing") and error.count("\n") == 1
    with pytest.raises(RuntimeError, match="of another kind"):
        run(lambda: (_ for _ in ()).throw(RuntimeError("of another kind")))


def test_a_reader_that_has_gone_ends_the_command_without_a_word() -> None:
    script = "from mmreg_lightning.cli._app import run; run(lambda: [print('x' * 1000) for _ in range(1000)])"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_another_broken_pipe_keeps_its_traceback() -> None:
    def broken() -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        run(broken)
