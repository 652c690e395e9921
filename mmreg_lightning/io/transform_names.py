"""How users name a transform file: its kind, the inverse, and the images of FSL."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from mmreg_lightning.errors import UserError

KINDS = ("itk", "ras", "fsl", "spm", "niftyreg", "minc")
"""What may stand before a file name, as ``fsl:FILE``: whose it is; ``ras`` is a bare 4x4 matrix in world RAS mm."""


@dataclass(frozen=True)
class TransformName:
    """A transform as a user names it.

    Attributes:
        path: the file, or a folder of results.
        kind: of ``KINDS``; None is to be told from the file.
        inverse: its inverse is meant.
        images: files of FSL's reference and input image, for ``fsl``.
    """

    path: Path
    kind: str | None = None
    inverse: bool = False
    images: tuple[Path, Path] | None = None


def parse_transform_name(text: str | os.PathLike[str]) -> TransformName:
    """Read ``FILE``, ``KIND:FILE``, ``fsl:FILE,REFERENCE,INPUT``, or ``[any of these,1]``, the inverse as in ANTs.

    Raises:
        UserError: brackets without ``,0`` or ``,1``, or another number of files than one or three after ``fsl:``.
    """
    rest, inverse = os.fspath(text), False
    if rest.startswith("[") and rest.endswith("]"):
        rest, separator, flag = rest[1:-1].rpartition(",")
        if not separator or flag.strip() not in ("0", "1"):
            raise UserError(f"transform={text}: must be [FILE,1] for the inverse of a file")
        inverse = flag.strip() == "1"
    prefix, separator, named = rest.partition(":")
    if not separator or prefix not in KINDS:
        return TransformName(Path(rest), inverse=inverse)
    if prefix != "fsl":
        return TransformName(Path(named), prefix, inverse)
    file, *images = (Path(part.strip()) for part in named.split(","))
    if len(images) not in (0, 2):
        raise UserError(f"transform={text}: must be fsl:FILE, or fsl:FILE,REFERENCE,INPUT with FSL's two images")
    return TransformName(file, prefix, inverse, (images[0], images[1]) if images else None)
