from __future__ import annotations

from pathlib import Path

import pytest

from mmreg_lightning.errors import UserError
from mmreg_lightning.io.transform_names import TransformName, parse_transform_name


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a/b.nii.gz", TransformName(Path("a/b.nii.gz"))),
        ("[a/b.nii.gz,1]", TransformName(Path("a/b.nii.gz"), inverse=True)),
        ("[a/b.nii.gz, 0]", TransformName(Path("a/b.nii.gz"))),
        ("ras:m.txt", TransformName(Path("m.txt"), "ras")),
        ("C:m.txt", TransformName(Path("C:m.txt"))),
        ("fsl:m.mat", TransformName(Path("m.mat"), "fsl")),
        ("[fsl:m.mat,f.nii,m.nii,1]", TransformName(Path("m.mat"), "fsl", True, (Path("f.nii"), Path("m.nii")))),
        ("a,b.tfm", TransformName(Path("a,b.tfm"))),
    ],
)
def test_names(text: str, expected: TransformName) -> None:
    assert parse_transform_name(text) == expected


@pytest.mark.parametrize(
    ("text", "message"), [("[a.tfm]", r"must be \[FILE,1\]"), ("fsl:m.mat,f.nii", "REFERENCE,INPUT")]
)
def test_names_that_cannot_be_read(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_transform_name(text)
