"""mmreg-phantom: what it writes, and mistakes in one sentence."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import pytest

from mmreg_lightning.cli import phantom as cli
from mmreg_lightning.errors import UserError
from mmreg_lightning.phantom.dataset import NAME


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--subjects", "0"], "^subjects=0: must be"),
        (["--subjects", "1", "--size", "15", "32", "32"], r"^size=\[15, 32, 32\]: must be"),
        (["--subjects", "1", "--spacing", "0"], "^spacing=0.0: must be"),
        (["--subjects", "1", "--spacing", "nan"], "^spacing=nan: must be"),
        (["--subjects", "1", "--seed", "-1"], "^seed=-1 "),
        (["--subjects", "1", "--intra-displacement", "-2"], "^intra_displacement=-2.0: must be"),
        (["--subjects", "3", "--val", "2", "--test", "2"], "^val=2 and test=2: must be"),
    ],
)
def test_bad_arguments(arguments: Sequence[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        cli.main(["--out", str(tmp_path / "x"), *arguments])
    assert not list(tmp_path.iterdir())


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    cli.main(["--out", str(tmp_path / "x"), "--subjects", "1", "--size", "16", "16", "16", "--spacing", "20"])
    assert str(tmp_path / "x") in capsys.readouterr().out
    assert nib.load(tmp_path / "x" / "imagesTr" / f"{NAME}_0001_0000.nii.gz").header.get_zooms() == (
        20,
        20,
        20,
    )
    monkeypatch.setattr("sys.argv", ["mmreg-phantom", "--out", str(tmp_path / "y"), "--subjects", "0"])
    with pytest.raises(SystemExit) as stop:
        cli.entry()
    assert stop.value.code == 2
    assert "error: --subjects 0: must be" in capsys.readouterr().err
