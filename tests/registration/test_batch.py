"""Many pairs: shards, what is finished stays, and a kill loses nothing."""

from __future__ import annotations

import csv
import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from dicom_images import save, slices

from mmreg_lightning.cli._app import run
from mmreg_lightning.cli.register import main
from mmreg_lightning.errors import UserError
from mmreg_lightning.registration.batch import read_pairs, read_shard, register_batch

QUICK = ["--set", "solver.iterations=2"]
KILLED_IN_THE_THIRD = """
import os, signal
from mmreg_lightning.cli.register import entry
from mmreg_lightning.registration import result

write_png = result.write_png

def write_or_die(path, *rest, **options):
    if path.parent.name == ".pair2.partial":
        os.kill(os.getpid(), signal.SIGKILL)
    return write_png(path, *rest, **options)

result.write_png = write_or_die
entry()
"""
"""mmreg-register, killed when half of the third pair's files are written."""


@pytest.fixture
def table(write_scene: Callable, tmp_path: Path) -> Path:
    """Five pairs of small scenes, relative paths, the third without a file that can be read."""
    rows = []
    for n in range(5):
        fixed, moving = (write_scene(f"{role}{n}", shift=(n, 0, 0)) for role in "fm")
        rows.append({"name": f"pair{n}", "fixed": fixed.image.name, "moving": moving.image.name})
        rows[-1] |= {"fixed_labels": fixed.labels.name, "moving_labels": moving.labels.name}
    path = tmp_path / "pairs.csv"
    with open(path, "w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def command(table: Path, out: Path, *more: str) -> list[str]:
    return ["--pairs", str(table), "--out", str(out), *QUICK, *more]


def test_every_pair_has_a_folder_and_a_row(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    for shard in ("2/2", "1/2"):
        main(command(table, out, "--shard", shard))
    names = [f"pair{n}" for n in range(5)]
    assert sorted(p.name for p in out.iterdir()) == [*names, "summary.csv"]
    with open(out / "summary.csv", encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["name"] for row in rows] == names
    assert all(0 < float(row["dice_after"]) <= 1 and float(row["seconds"]) > 0 for row in rows)
    printed = capsys.readouterr().out
    assert "[2/2] pair3: done" in printed and "[3/3] pair4: done" in printed
    before = {p: p.stat().st_mtime_ns for p in out.rglob("metrics.json")}
    main(command(table, out))
    assert {p: p.stat().st_mtime_ns for p in out.rglob("metrics.json")} == before
    assert capsys.readouterr().out.count("finished before") == 5
    with pytest.raises(UserError, match=r"pair0 holds a registration with other settings \(affine, solver\)"):
        main([*command(table, out), "--set", "solver.iterations=3", "--affine", "moments"])


def test_finished_pairs_of_other_files_are_not_taken(table: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    main(command(table, out, "--shard", "1/5"))
    moving = tmp_path / "m0.nii.gz"
    content = moving.read_bytes()
    later = time.time() + 10
    os.utime(moving, (later, later))  # touched only
    main(command(table, out, "--shard", "1/5"))
    moving.write_bytes((tmp_path / "m1.nii.gz").read_bytes())
    os.utime(moving, (later, later))
    with pytest.raises(UserError, match=r"pair0 holds a registration whose moving was not .*m0.nii.gz as it is now"):
        main(command(table, out, "--shard", "1/5"))
    moving.write_bytes(content)
    table.write_text(table.read_text(encoding="utf-8").replace("m0_labels", "m1_labels"), encoding="utf-8")
    with pytest.raises(UserError, match=r"pair0 holds a registration whose moving_labels was not .*m1_labels"):
        main(command(table, out, "--shard", "1/5"))


def test_the_series_of_a_pair_are_columns(tmp_path: Path) -> None:
    texture = np.random.default_rng(0).integers(0, 4096, (32, 32, 32)).astype(np.int16)
    for n in range(3):
        save(tmp_path / "study" / f"s{n}", slices(np.roll(texture, n, axis=0), series=str(n)), f"{n}_{{}}".format)
    path = tmp_path / "pairs.csv"

    def write(moving: int) -> list[str]:
        uids = [f"1.2.826.0.1.3680043.2.1125.{n}" for n in (0, moving)]
        path.write_text(
            f"name,fixed,moving,fixed_series,moving_series\na,study,study,{uids[0]},{uids[1]}\n", encoding="utf-8"
        )
        return command(path, tmp_path / "out")

    main(write(1))
    main(write(1))  # finished before
    with pytest.raises(UserError, match="a holds a registration of another moving_series: name another, or remove it"):
        main(write(2))
    changed = next((tmp_path / "study" / "s1").iterdir())
    changed.write_bytes(changed.read_bytes() + b"\0" * 8)
    later = time.time() + 10
    os.utime(changed, (later, later))
    with pytest.raises(UserError, match="a holds a registration whose fixed was not .*study as it is now"):
        main(write(1))


def test_a_pair_that_fails_does_not_stop_the_others(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "f2.nii.gz").write_bytes(b"no image")
    with pytest.raises(SystemExit) as exit_info:
        run(lambda: main(command(table, tmp_path / "out")))
    assert exit_info.value.code == 2
    out, err = capsys.readouterr()
    assert "pair2: failed: " in out and out.count(": done") == 4
    assert err.startswith("error: 1 of the pairs of ") and err.endswith("failed: pair2\n")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["pair0", "pair1", "pair3", "pair4", "summary.csv"]


@pytest.mark.slow
def test_after_a_kill_no_pair_is_lost_or_half_written(table: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    argv = command(table, out)
    killed = subprocess.run([sys.executable, "-c", KILLED_IN_THE_THIRD, *argv], stdout=subprocess.DEVNULL, timeout=300)
    assert killed.returncode == -signal.SIGKILL
    assert (out / ".pair2.partial" / "run.yaml").is_file() and not (out / ".pair2.partial" / "metrics.json").exists()
    finished = {p.parent.name: p.stat().st_mtime_ns for p in out.glob("pair*/metrics.json")}
    assert set(finished) == {"pair0", "pair1"} == {p.name for p in out.glob("pair*")}
    argv = [sys.executable, "-m", "mmreg_lightning.cli.register", *argv]
    done = subprocess.run(argv, capture_output=True, encoding="utf-8", check=True)
    assert done.stdout.count("finished before") == 2 and done.stdout.count(": done") == 3
    again = {p.parent.name: p.stat().st_mtime_ns for p in out.glob("pair*/metrics.json")}
    assert set(again) == {f"pair{n}" for n in range(5)} and finished.items() <= again.items()
    assert not list(out.glob(".*"))


def test_tables_that_cannot_be_used(table: Path, tmp_path: Path) -> None:
    image = "f0.nii.gz"
    cases = {
        "fixed,moving\n": "lists no pair",
        f"fixed\n{image}\n": "lacks the column moving",
        f"fixed,moving,colour\n{image},{image},red\n": "unknown column 'colour'",
        f"fixed,moving\n{image},\n": "row 2 names no moving image",
        f"fixed,moving\n{image},nowhere.nii.gz\n": "row 2, column moving: there is no file",
        f"fixed,moving\n{image},{image}\n{image},{image}\n": "rows 2 and 3 are both called 'f0_f0'",
        f"name,fixed,moving\n../up,{image},{image}\n": "'../up' is not one of a folder",
        f"fixed,moving\n{image},{image},more\n": "row 2 has more cells",
    }
    path = tmp_path / "wrong.csv"
    for text, expected in cases.items():
        path.write_text(text)
        with pytest.raises(UserError, match=expected):
            read_pairs(path)
    with pytest.raises(UserError, match="there is no file"):
        read_pairs(tmp_path / "nowhere.csv")


@pytest.mark.parametrize("text", ["0/4", "5/4", "3", "a/b", "-1/2", "1/0"])
def test_shards_that_are_none(text: str) -> None:
    with pytest.raises(UserError, match=f"shard={text}: must be K/N"):
        read_shard(text)


def test_a_folder_of_something_else_is_not_taken_for_a_result(table: Path, tmp_path: Path) -> None:
    (tmp_path / "out" / "pair1").mkdir(parents=True)
    with pytest.raises(UserError, match="pair1 exists, but holds no results"):
        register_batch(read_pairs(table), tmp_path / "out", lambda files, folder: [])


def test_options_that_exclude_each_other(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for more, expected in {
        ("--fixed", "a.nii.gz"): "fixed=a.nii.gz: not together with --pairs",
        ("--overwrite",): "--overwrite: not together with --pairs",
    }.items():
        with pytest.raises(SystemExit):
            run(lambda more=more: main(command(table, tmp_path / "out", *more)))
        assert expected in capsys.readouterr().err
    with pytest.raises(UserError, match="--moving must be given, or --pairs"):
        main(["--fixed", "a.nii.gz", "--out", str(tmp_path / "out")])
    with pytest.raises(UserError, match="shard=1/2: needs --pairs"):
        main(["--fixed", "a", "--moving", "b", "--out", str(tmp_path / "out"), "--shard", "1/2"])


def small_batch(table: Path, tmp_path: Path, fails: Callable[[str], None], lines: list[str]) -> list[str]:
    """The pairs of a table; each is "registered" by writing metrics.json, unless ``fails`` raises."""

    def register(files: object, folder: Path) -> list[str]:
        folder.mkdir(parents=True)
        (folder / "half").touch()
        fails(folder.name.removeprefix(".").removesuffix(".partial"))
        (folder / "metrics.json").write_text("{}", encoding="utf-8")
        return ["f.nii.gz has no units, mm are assumed.", "The features are thin."] if "1" in folder.name else []

    return register_batch(read_pairs(table), tmp_path / "out", register, report=lines.append)


def test_notes_of_a_pair_are_told_with_it(table: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    assert small_batch(table, tmp_path, lambda name: None, lines) == []
    assert lines[:3] == [
        "[1/5] pair0: done",
        "[2/5] pair1: done\n    note: f.nii.gz has no units, mm are assumed.\n    note: The features are thin.",
        "[3/5] pair2: done",
    ]


def test_any_error_is_that_of_its_pair(table: Path, tmp_path: Path) -> None:
    errors: dict[str, Exception] = {
        "pair0": MemoryError(),
        "pair1": RuntimeError("[enforce fail at alloc_cpu.cpp:119] . DefaultCPUAllocator: not enough memory"),
        "pair2": ZeroDivisionError("division by\nzero"),
        "pair3": UserError("f.nii.gz is upside down"),
    }

    def fails(name: str) -> None:
        if name in errors:
            raise errors[name]

    lines: list[str] = []
    assert small_batch(table, tmp_path, fails, lines) == list(errors)
    out = tmp_path / "out"
    logs = {name: out / f"{name}.failed.txt" for name in ("pair0", "pair1", "pair2")}
    room = "failed: there is not enough memory: a larger spacing, cropped images or smaller patches need less (see {})"
    assert lines == [
        f"[1/5] pair0: {room.format(logs['pair0'])}",
        f"[2/5] pair1: {room.format(logs['pair1'])}",
        f"[3/5] pair2: failed: ZeroDivisionError: division by zero (see {logs['pair2']})",
        "[4/5] pair3: failed: f.nii.gz is upside down",
        "[5/5] pair4: done",
    ]
    names = sorted(p.name for p in out.iterdir())
    assert names == sorted([*(log.name for log in logs.values()), "pair4", "summary.csv"])
    for name, log in logs.items():
        text = log.read_text(encoding="utf-8")
        assert text.startswith("Traceback") and type(errors[name]).__name__ in text and "in fails" in text
    assert small_batch(table, tmp_path, lambda name: None, lines) == []
    assert not list(out.glob("*.failed.txt"))  # they have not failed any more


def test_real_lack_of_memory_is_one_sentence(table: Path, tmp_path: Path) -> None:
    def fails(name: str) -> None:
        if name == "pair0":
            torch.empty(2**50)  # 4 petabytes
        if name == "pair1":
            np.empty(2**60, dtype=np.uint8)

    lines: list[str] = []
    assert small_batch(table, tmp_path, fails, lines) == ["pair0", "pair1"]
    assert all("failed: there is not enough memory: a larger spacing" in line for line in lines[:2])


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), SystemExit(3), OSError(errno.ENOSPC, "No space left", "x")])
def test_what_is_no_pairs_own_stops_all(stop: BaseException, table: Path, tmp_path: Path) -> None:
    def fails(name: str) -> None:
        if name == "pair1":
            raise stop

    lines: list[str] = []
    with pytest.raises(type(stop)):
        small_batch(table, tmp_path, fails, lines)
    assert lines == ["[1/5] pair0: done"] and not list((tmp_path / "out").glob("*.failed.txt"))
