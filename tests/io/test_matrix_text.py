"""Bare matrices and transforms of MINC."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from wavy import an_affine

from mmreg_lightning.errors import UserError
from mmreg_lightning.io.matrix_text import bare_matrix, read_minc, text_of

MINC = "MNI Transform File\n% made by mritotal\n\nTransform_Type = Linear;\nLinear_Transform =\n{}\n{}\n{};\n"


def minc(matrix: np.ndarray) -> str:
    return MINC.format(*(" ".join(map(str, row)) for row in matrix[:3]))


def test_sixteen_numbers_are_a_matrix_whatever_separates_them() -> None:
    rows = [" ".join(f"{value:.9f}" for value in row) for row in an_affine()]
    for text in ("\n".join(rows), "  \n".join(rows) + "  \n\n", "# greedy\n" + "\n".join(rows).replace(" ", "\t")):
        matrix = bare_matrix(text)
        assert matrix is not None
        np.testing.assert_allclose(matrix, an_affine(), atol=1e-8)


@pytest.mark.parametrize(
    "text", ["", "1 2 3", "1 0 0 0\n0 1 0 0\n0 0 1 0", "1 0 0 0\n0 1 0 0\n0 0 1 0\n1 0 0 1", "words"]
)
def test_other_texts_are_none(text: str) -> None:
    assert bare_matrix(text) is None


def test_what_is_text(tmp_path: Path) -> None:
    (tmp_path / "matlab.mat").write_bytes(b"\x00\x00\x00\x00Affine")
    (tmp_path / "text.mat").write_bytes(b"\xef\xbb\xbf1 2")
    assert text_of(tmp_path / "matlab.mat") is None and text_of(tmp_path / "text.mat") == "1 2"


def test_minc_leads_from_the_source_to_the_target_in_ras() -> None:
    # MINC's example: source (moving) to target (fixed), so that ours is the inverse.
    np.testing.assert_allclose(read_minc(Path("t.xfm"), minc(an_affine())), np.linalg.inv(an_affine()))
    turned = minc(an_affine()).replace("Linear_Transform", "Invert_Flag = True;\nLinear_Transform")
    np.testing.assert_allclose(read_minc(Path("t.xfm"), turned), an_affine())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (minc(an_affine()).replace("Linear;", "Grid_Transform;"), "one linear matrix, it holds Grid_Transform"),
        (minc(an_affine()) + "Transform_Type = Linear;", "it holds Linear, Linear"),
        ("MNI Transform File\n", "it holds none"),
        (minc(np.diag([1.0, 1, 0, 1])), "no inverse"),
        (minc(an_affine()).replace("Linear_Transform =", "Linear_Transform = 1"), "is damaged"),
    ],
)
def test_transforms_of_minc_that_cannot_be_used(text: str, message: str) -> None:
    with pytest.raises(UserError, match=f"t.xfm.*{message}"):
        read_minc(Path("t.xfm"), text)
