"""CSV files of points; what ``mmreg-apply`` does with them is tested there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmreg_lightning.errors import UserError
from mmreg_lightning.io.points import read_point_table


@pytest.mark.parametrize("header", ["", "i,j,k\n"], ids=["no header", "header"])
def test_points_with_and_without_a_header(header: str, tmp_path: Path) -> None:
    path = tmp_path / "points.csv"
    path.write_text(f"{header}1,2,3\n4.5, 6e0 ,-7,extra\n\n")
    table = read_point_table(path)
    np.testing.assert_array_equal(table.coordinates, [[1, 2, 3], [4.5, 6, -7]])
    assert len(table.header) == (1 if header else 0) and table.rows[1][3] == "extra"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"i,j,k\n1,2,x\n", "points.csv: row 2 does not begin with three finite numbers: 1,2,x"),
        (b"1,2,3\n1,2\n", "row 2"),
        (b"1;2;3\n4,5,6\n7;8;9\n", "row 3"),
        (b"0;5,1,2\n", "row 1"),
        (b"1,2,nan\n", "row 1"),
        (b"", "points.csv holds no point"),
        (b"\xff\xfe\x00", "not a readable CSV"),
    ],
)
def test_files_that_are_none(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "points.csv"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_point_table(path)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no file .*nowhere.csv"):
        read_point_table(tmp_path / "nowhere.csv")
