"""Rows of the tables that the measures give: grouping and averaging."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

Row = dict[str, Any]
"""Values by column name."""


def grouped(rows: Sequence[Row], *columns: str) -> dict[tuple[Any, ...], list[Row]]:
    """Rows by their values in some columns; groups and rows keep the order of their first appearance."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[column] for column in columns), []).append(row)
    return groups


def averaged(rows: Sequence[Row], over: str, values: Sequence[str]) -> list[Row]:
    """Mean values of all rows that differ in one column only.

    Args:
        rows: all with the same columns.
        over: the column to average over; it is removed.
        values: columns to average.
    """
    kept = [column for column in rows[0] if column not in (over, *values)] if rows else []
    return [
        {column: group[0][column] for column in group[0] if column != over}
        | {value: fmean(row[value] for row in group) for value in values}
        for group in grouped(rows, *kept).values()
    ]
