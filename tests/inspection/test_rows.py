"""Grouping and averaging of rows."""

from __future__ import annotations

from mmreg_lightning.inspection.rows import averaged, grouped

ROWS = [
    {"family": "b", "case": "1", "mm": 3.0, "cosine": 0.5},
    {"family": "a", "case": "1", "mm": 3.0, "cosine": 0.1},
    {"family": "b", "case": "2", "mm": 3.0, "cosine": 1.0},
    {"family": "b", "case": "1", "mm": 5.0, "cosine": 0.0},
]


def test_groups_keep_the_order_of_their_first_appearance():
    assert list(grouped(ROWS, "family", "mm")) == [("b", 3.0), ("a", 3.0), ("b", 5.0)]
    assert grouped(ROWS, "family")[("a",)] == [ROWS[1]]
    assert grouped([], "family") == {}


def test_rows_that_differ_in_one_column_are_averaged():
    assert averaged(ROWS, "case", ["cosine"]) == [
        {"family": "b", "mm": 3.0, "cosine": 0.75},
        {"family": "a", "mm": 3.0, "cosine": 0.1},
        {"family": "b", "mm": 5.0, "cosine": 0.0},
    ]
    assert averaged([], "case", ["cosine"]) == []
