"""Frames of files of points; what ``mmreg-apply`` does with the points is tested there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmreg_lightning.errors import UserError
from mmreg_lightning.geometry.native import NativeGrid
from mmreg_lightning.io.points import is_point_file, read_points

GRID = NativeGrid((4, 5, 6), np.array([[0, -2.0, 0, 10], [3, 0, 0, 20], [0, 0, 1, 30], [0, 0, 0, 1]]))


@pytest.mark.parametrize(
    ("text", "ras"),
    [("r,a,s\n1,2,3\n", [1, 2, 3]), ("l,p,s\n1,2,3\n", [-1, -2, 3]), ("i,j,k\n1,2,3\n", [6, 23, 33])],
    ids=["ras", "lps", "voxel"],
)
def test_the_header_gives_the_frame(text: str, ras: list[float], tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text(text)
    file = read_points(tmp_path / "p.csv", None, GRID, GRID)
    np.testing.assert_array_equal(file.points, [ras])
    file.write(file.points, tmp_path / "q.csv")
    assert (tmp_path / "q.csv").read_text().splitlines()[1] == "1.000000,2.000000,3.000000"


def test_a_frame_must_be_known_and_voxels_need_images(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("x,y,z\n1,2,3\n")
    with pytest.raises(UserError, match="p.csv: its points need a frame"):
        read_points(tmp_path / "p.csv")
    with pytest.raises(UserError, match="points_image must name the image"):
        read_points(tmp_path / "p.csv", "voxel")
    np.testing.assert_array_equal(read_points(tmp_path / "p.csv", "lps").points, [[-1, -2, 3]])


def test_which_files_hold_points() -> None:
    assert all(is_point_file(f"a.{ending}") for ending in ("csv", "TSV", "fcsv", "mrk.json", "ply"))
    assert not any(is_point_file(f"a.{ending}") for ending in ("nii.gz", "tfm"))
