"""Markups of 3D Slicer: what moves and what stays."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mmreg_lightning.errors import UserError
from mmreg_lightning.io.markups import read_markups

MARKUPS = {
    "@schema": "https://raw.githubusercontent.com/slicer/slicer/master/markups-schema-v1.0.3.json#",
    "markups": [
        {
            "type": "Curve",
            "coordinateSystem": "LPS",
            "coordinateUnits": ["mm", "UCUM", "[mm]"],
            "controlPoints": [
                {"id": "1", "position": [1.0, 2.0, 3.0], "positionStatus": "defined"},
                {"id": "2", "position": [0.0, 0.0, 0.0], "positionStatus": "undefined"},
                {"id": "3", "position": []},
                {"id": "4", "position": None},
                {"id": "5", "position": [4.0, 5.0, 6.0], "orientation": [1.0, 0, 0, 0, 1, 0, 0, 0, 1]},
            ],
        },
        {
            "type": "ROI",
            "coordinateSystem": "RAS",
            "center": [10.0, 20.0, 30.0],
            "orientation": [1.0, 0, 0, 0, 1, 0, 0, 0, 1],
            "size": [5.0, 6.0, 7.0],
            "controlPoints": [{"id": "1", "position": [10.0, 20.0, 30.0]}],
        },
        {
            "type": "Plane",
            "center": [1.0, 1.0, 1.0],
            "baseToNode": [1.0, 0, 0, 7, 0, 1, 0, 8, 0, 0, 1, 9, 0, 0, 0, 1],
        },
    ],
}
RAS = [[-1, -2, 3], [-4, -5, 6], [10, 20, 30], [10, 20, 30], [-1, -1, 1], [-7, -8, 9]]


def test_positions_of_every_kind_move_and_the_rest_stays(tmp_path: Path) -> None:
    path = tmp_path / "m.mrk.json"
    path.write_text(json.dumps(MARKUPS), encoding="utf-8-sig")
    points, write, notes = read_markups(path)
    np.testing.assert_array_equal(points, RAS)
    assert notes[0].endswith("3 control points have no defined position and stay as they are")
    assert "baseToNode, orientation, size of its planes or boxes keep their axes" in notes[1]
    write(points + [100, 0, 0], tmp_path / "out.mrk.json")
    written = json.loads((tmp_path / "out.mrk.json").read_text())
    curve, box, plane = written["markups"]
    assert [point["position"] for point in curve["controlPoints"]] == [
        [-99.0, 2.0, 3.0],
        [0.0, 0.0, 0.0],
        [],
        None,
        [-96.0, 5.0, 6.0],
    ]
    assert box["center"] == box["controlPoints"][0]["position"] == [110.0, 20.0, 30.0] and box["size"] == [5, 6, 7]
    assert plane["center"] == [-99.0, 1.0, 1.0]
    assert plane["baseToNode"] == [1, 0, 0, -93, 0, 1, 0, 8, 0, 0, 1, 9, 0, 0, 0, 1]
    assert written["@schema"] == MARKUPS["@schema"]


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ({"coordinateSystem": "IJK", "controlPoints": []}, "coordinateSystem IJK: must be RAS or LPS"),
        ({"coordinateUnits": "m", "controlPoints": []}, "coordinateUnits m: must be mm"),
        ({"controlPoints": [{"position": None}]}, "holds no points"),
        ({"controlPoints": [{"position": [1, 2]}]}, "is not a markups file"),
        ({"controlPoints": [{"position": [1, 2, float("nan")]}]}, "not finite"),
        ({"controlPoints": 3}, "is not a markups file"),
        ({"baseToNode": [1, 2]}, "is not a markups file"),
    ],
)
def test_files_that_cannot_be_used(node: dict, message: str, tmp_path: Path) -> None:
    (tmp_path / "m.json").write_text(json.dumps({"markups": [node]}))
    with pytest.raises(UserError, match=f"m.json.*{message}"):
        read_markups(tmp_path / "m.json")


def test_the_frame_of_the_file_against_what_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "m.json").write_text(json.dumps({"markups": [{"controlPoints": [{"position": [1, 2, 3]}]}]}))
    assert len(read_markups(tmp_path / "m.json", "lps")[0]) == 1
    with pytest.raises(UserError, match="its coordinateSystem is LPS, but ras is asked for"):
        read_markups(tmp_path / "m.json", "ras")
