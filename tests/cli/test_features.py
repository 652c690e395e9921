"""mmreg-features' words: which options belong together, what is printed, and mistakes in one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mmreg_lightning.cli.features import _OF_DATA, _OF_IMAGES, build_parser, entry, main
from mmreg_lightning.data.pair import ImageFiles
from mmreg_lightning.errors import UserError
from mmreg_lightning.inspection import commands

VALUES = {"point": ["1", "2", "3"], "spacing": ["2.0"], "split": ["val"], "probe_split": ["val"], "subjects": ["3"]}


def option(name: str) -> list[str]:
    return [f"--{name.replace('_', '-')}", *VALUES.get(name, ["1"])]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, tuple, dict[str, Any]]]:
    """The calls of both functions behind the command, which do nothing else."""
    calls: list[tuple[str, tuple, dict[str, Any]]] = []

    def recording(name: str, answer: dict[str, Any]) -> None:
        def record(*args: Any, progress: Any, **kwargs: Any) -> dict[str, Any]:
            calls.append((name, args, kwargs))
            return answer

        monkeypatch.setattr(commands, name, record)

    recording("write_feature_maps", {"similarity": {"match_voxel": [1.0, 2.25, 3.0]}, "notes": ["a.nii: odd."]})
    return calls


def test_an_image_or_a_data_set_must_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    for argv in (["--out", "o"], ["--out", "o", "--image", "a", "--data", "b"]):
        with pytest.raises(SystemExit) as stop:
            build_parser().parse_args(argv)
        assert stop.value.code == 2
    assert "--data: not allowed with argument --image" in capsys.readouterr().err


@pytest.mark.parametrize("name", _OF_DATA)
def test_options_of_a_data_set_do_not_go_with_an_image(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"^{name}=.*: cannot be used together with --image$"):
        main(["--image", "a.nii.gz", "--out", str(tmp_path / "out"), *option(name)])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", _OF_IMAGES)
def test_options_of_an_image_do_not_go_with_a_data_set(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"^{name}=.*: cannot be used together with --data$"):
        main(["--data", "folder", "--checkpoint", "c.ckpt", "--out", str(tmp_path / "out"), *option(name)])
    assert not (tmp_path / "out").exists()


def test_images_and_what_belongs_to_them_reach_the_function(asked: list, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["--image", "a.nii.gz", "--out", "o", "--point", "1", "2", "3", "--other-image", "b.nii.gz"]
    main([*argv, "--other-labels", "l.nii.gz", "--other-modality", "CT"])
    ((name, args, kwargs),) = asked
    images = [ImageFiles(Path("a.nii.gz")), ImageFiles(Path("b.nii.gz"), Path("l.nii.gz"), modality="CT")]
    assert (name, args) == ("write_feature_maps", (images, Path("o")))
    assert kwargs == {
        "checkpoint": None,
        "features": None,
        "overwrite": False,
        "command": f"mmreg-features {' '.join(argv)} --other-labels l.nii.gz --other-modality CT",
        "point": [1.0, 2.0, 3.0],
        "spacing": None,
        "device": "auto",
    }
    assert (
        capsys.readouterr().out
        == "Best match of the point: voxel 1.0, 2.2, 3.0\nNote: a.nii: odd.\nResults: o/features.html\n"
    )


def test_a_mistake_is_one_line_and_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["mmreg-features", "--data", "folder", "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as stop:
        entry()
    assert stop.value.code == 2
    assert capsys.readouterr().err == "error: --data folder: needs --checkpoint or --features, which are measured\n"
