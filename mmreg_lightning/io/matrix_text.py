"""Matrices in text files: bare 4x4 numbers, and transforms of MINC."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmreg_lightning.errors import UserError
from mmreg_lightning.geometry.grid import is_invertible

ITK_WROTE = "ITK-XFM writer"
"""Comment of ITK in files of MINC's form, whose numbers are those of ITK: LPS mm, fixed to moving."""
_LARGEST = 100_000  # bytes: no text of a matrix is longer


def text_of(file: Path) -> str | None:
    """Content of a short text file; None if it is none."""
    try:
        content = file.read_bytes()
        return None if len(content) > _LARGEST or b"\0" in content else content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None


def bare_matrix(text: str) -> NDArray[np.float64] | None:
    """The 4x4 matrix of a text of four rows of four numbers, whose last row is 0 0 0 1; None for other texts."""
    rows = [
        re.split(r"[\s,;]+", line.strip()) for line in text.splitlines() if line.strip() and line.lstrip()[0] != "#"
    ]
    try:
        matrix = np.array(rows, dtype=np.float64)
    except ValueError:
        return None
    return matrix if matrix.shape == (4, 4) and np.allclose(matrix[3], [0, 0, 0, 1]) else None


def read_minc(file: Path, text: str) -> NDArray[np.float64]:
    """The matrix of a linear transform of MINC: 4x4, world RAS mm of its target to that of its source.

    MINC's volume_io: the text ``MNI Transform File``, and for a linear transform the first three rows of the matrix
    that takes world coordinates (RAS mm) of the source, the moving image, to those of the target.

    Raises:
        UserError: the transform has a deformation grid or several parts, or cannot be read.
    """
    kinds = re.findall(r"Transform_Type\s*=\s*(\w+)\s*;", text)
    if kinds != ["Linear"]:
        raise UserError(f"{file}: a transform of MINC must be one linear matrix, it holds {', '.join(kinds) or 'none'}")
    found = re.search(r"Linear_Transform\s*=([^;]*);", text)
    try:
        rows = np.array(found.group(1).split() if found else [], dtype=np.float64).reshape(3, 4)
    except ValueError as error:
        raise UserError(f"{file} is not a transform of MINC, or is damaged") from error
    matrix = np.concatenate([rows, [[0.0, 0, 0, 1]]])
    if not is_invertible(matrix):
        raise UserError(f"{file} holds a transform that has no inverse")
    if re.search(r"Invert_Flag\s*=\s*True", text):
        return matrix
    return np.linalg.inv(matrix)
