"""Tables of points of several programs: which columns are the coordinates, and in which frame."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmreg_lightning.errors import UserError
from mmreg_lightning.io.point_tables import read_point_table

FCSV = """# Markups fiducial file version = {version}
# CoordinateSystem = {system}
# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID
vtkMRMLMarkupsFiducialNode_0,1.5,-2,3,0,0,0,1,1,1,0,"F, 1",,
vtkMRMLMarkupsFiducialNode_1,4,5,6,0,0,0,1,1,1,0,F-2,,
"""


def table(tmp_path: Path, text: str, name: str = "points.csv") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("header", ["", "i,j,k\n"], ids=["no header", "header"])
def test_points_with_and_without_a_header(header: str, tmp_path: Path) -> None:
    found = read_point_table(table(tmp_path, f"{header}1,2,3\n4.5, 6e0 ,-7,extra\n\n"))
    np.testing.assert_array_equal(found.coordinates, [[1, 2, 3], [4.5, 6, -7]])
    assert len(found.head) == (1 if header else 0) and found.rows[1][3] == "extra"


@pytest.mark.parametrize(
    ("text", "frame", "coordinates"),
    [
        ("id,x,y,z\n7,1,2,3\n", None, [[1, 2, 3]]),
        ("label,l,p,s,defined,selected\nF-1,1,2,3,1,1\n", "lps", [[1, 2, 3]]),  # exported by Slicer
        ("label\tr\ta\ts\tdefined\nF-1\t1\t2\t3\t1\n", "ras", [[1, 2, 3]]),
        ("R,A,S\n1,2,3\n", "ras", [[1, 2, 3]]),
        ("z,y,x\n3,2,1\n", None, [[1, 2, 3]]),
        ("\ufeffX;Y;Z\n1;2;3\n", None, [[1, 2, 3]]),
        ("name, i, j, k\na,1,2,3\n", "voxel", [[1, 2, 3]]),
        ("# r,a,s\n1,2,3\n", "ras", [[1, 2, 3]]),
        ("# made by hand\nr,a,s\n1,2,3\n", "ras", [[1, 2, 3]]),
        ("# made by hand\n1,2,3\n", None, [[1, 2, 3]]),
        ('"x","y","z","t","label","comment"\n1,2,3,0,1,NA\n', "lps", [[1, 2, 3]]),  # of ANTs
    ],
)
def test_columns_are_told_by_their_names(text: str, frame: str | None, coordinates: list, tmp_path: Path) -> None:
    found = read_point_table(table(tmp_path, text))
    assert found.frame == frame
    np.testing.assert_array_equal(found.coordinates, coordinates)


def test_ants_points_are_where_ants_takes_them(tmp_path: Path) -> None:
    """ANTs' own table of points is written by pandas with these names; its frame is a note, as no file says it."""
    found = read_point_table(table(tmp_path, "x,y,z,t\n1,2,3,0\n"))
    assert found.frame == "lps" and found.notes[0].endswith("taken for those of ANTs, world LPS mm")
    assert read_point_table(table(tmp_path, "x,y,z,t\n1,2,3,0\n"), "ras").frame == "ras"
    with pytest.raises(UserError, match="those of ANTs, world LPS mm, but voxels are asked for"):
        read_point_table(table(tmp_path, "x,y,z,t\n1,2,3,0\n"), "voxel")


@pytest.mark.parametrize(
    ("version", "system", "frame"),
    [("4.3", "0", "ras"), ("4.10", "1", "lps"), ("4.11", "LPS", "lps"), ("5.0", "RAS", "ras")],
)
def test_lists_of_fiducials_of_slicer(version: str, system: str, frame: str, tmp_path: Path) -> None:
    path = table(tmp_path, FCSV.format(version=version, system=system), "f.fcsv")
    found = read_point_table(path)
    assert found.frame == frame
    np.testing.assert_array_equal(found.coordinates, [[1.5, -2, 3], [4, 5, 6]])
    found.write(found.coordinates + 1, tmp_path / "g.fcsv")
    lines = (tmp_path / "g.fcsv").read_text().splitlines()
    assert lines[:3] == path.read_text().splitlines()[:3]
    assert lines[3] == 'vtkMRMLMarkupsFiducialNode_0,2.500000,-1.000000,4.000000,0,0,0,1,1,1,0,"F, 1",,'


def test_lists_that_do_not_say_enough(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="CoordinateSystem = IJK: must be RAS"):
        read_point_table(table(tmp_path, FCSV.format(version="4.3", system="IJK"), "f.fcsv"))
    with pytest.raises(UserError, match="lacks the line '# columns = '"):
        read_point_table(table(tmp_path, "1,2,3\n", "f.fcsv"))
    lines = [line for line in FCSV.splitlines() if "CoordinateSystem" not in line]
    assert read_point_table(table(tmp_path, "\n".join(lines), "f.fcsv")).frame is None


def test_other_columns_stay_in_their_place_and_undefined_points_as_they_are(tmp_path: Path) -> None:
    path = table(tmp_path, "label;l;p;s;defined\nF-1;1;2;3;1\nF-2;;;;0\nF-3;4;5;6;1\n")
    found = read_point_table(path)
    assert found.notes[0].endswith("1 of 3 points are not defined and stay as they are")
    found.write(-found.coordinates, tmp_path / "out.csv")
    rows = (tmp_path / "out.csv").read_text().splitlines()
    assert rows[1:] == ["F-1;-1.000000;-2.000000;-3.000000;1", "F-2;;;;0", "F-3;-4.000000;-5.000000;-6.000000;1"]
    assert rows[0] == "label;l;p;s;defined"


def test_a_table_without_names_says_which_columns_it_takes(tmp_path: Path) -> None:
    found = read_point_table(table(tmp_path, "tip,1,2,3\nbase,4,5,6\n"))
    np.testing.assert_array_equal(found.coordinates, [[1, 2, 3], [4, 5, 6]])
    assert found.notes[0].endswith("the coordinates are taken from columns 2, 3 and 4")
    named = read_point_table(table(tmp_path, "X1,X2,X3\n1,2,3\n"))
    assert named.notes[0].endswith("its columns are named x1,x2,x3; the coordinates are taken from columns 1, 2 and 3")


def test_several_triples_need_a_frame(tmp_path: Path) -> None:
    path = table(tmp_path, "i,j,k,x,y,z\n1,2,3,4,5,6\n")
    with pytest.raises(UserError, match="name several coordinates: points_frame must choose"):
        read_point_table(path)
    np.testing.assert_array_equal(read_point_table(path, "voxel").coordinates, [[1, 2, 3]])
    np.testing.assert_array_equal(read_point_table(path, "lps").coordinates, [[4, 5, 6]])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"i,j,k\n1,2,x\n", "points.csv: row 2 has no three finite numbers in its columns i,j,k: 1 2 x"),
        (b"1,2,3\n1,2\n", "row 2 has no three finite"),
        (b"1;2;3\n4,5,6\n7;8;9\n", "row 2"),
        (b"0;5,1,2\n", "row 1"),
        (b"1,2,nan\n", "row 1"),
        (b"x;y;z\n1,5;2,5;3\n", r"row 2 .*\(a decimal comma must be a point\)"),
        (b"x,y,z\n1,5,2,5,3,5\n", "row 2 has 6 cells, but there are 3 columns"),
        (b"1,2,3,4\n", "4 columns without names, 4 of them of numbers: name them x,y,z"),
        (b"id,u,v,w\n1,2,3,4\n", "its columns id,u,v,w do not say which are the coordinates"),
        (b"label,l,p,s,defined\na,,,,0\n", "holds no points"),
        (b"", "points.csv holds no point"),
        (b"x,y,z\n", "points.csv holds no point"),
        (b"\xff\xfe\x00", "not a readable CSV"),
    ],
)
def test_files_that_are_none(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "points.csv"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_point_table(path)


@pytest.mark.parametrize(("header", "frame"), [("r,a,s", "lps"), ("l,p,s", "voxel"), ("i,j,k", "ras")])
def test_the_header_against_what_is_asked_for(header: str, frame: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"points.csv: its header says \w+, but {frame} is asked for"):
        read_point_table(table(tmp_path, f"{header}\n1,2,3\n"), frame)  # type: ignore[arg-type]


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no file .*nowhere.csv"):
        read_point_table(tmp_path / "nowhere.csv")
