"""Transform files of ITK, ANTs, FSL, FreeSurfer, SPM, NiftyReg and MINC, and bare matrices."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmreg_lightning.errors import UserError
from mmreg_lightning.files import atomic_path
from mmreg_lightning.geometry.frames import RAS_TO_LPS
from mmreg_lightning.geometry.grid import is_invertible
from mmreg_lightning.geometry.native import NativeGrid
from mmreg_lightning.geometry.world_transforms import AffineTransform, ChainTransform, WorldTransform
from mmreg_lightning.io.fsl import FlirtMatrix, check_fsl_image, fsl_layout
from mmreg_lightning.io.itk_transforms import read_itk_field_image, read_itk_transform
from mmreg_lightning.io.lta import read_lta
from mmreg_lightning.io.matrix_text import ITK_WROTE, bare_matrix, read_minc, text_of
from mmreg_lightning.io.nifti_fields import FslImages, read_nifti_field
from mmreg_lightning.io.transform_names import TransformName, parse_transform_name

TRANSFORM_SUFFIXES = (".tfm", ".txt", ".mat", ".h5", ".hdf5", ".xfm", ".lta")
"""Files of transforms that are no images."""
_NIFTI = (".nii", ".nii.gz")
_ITK_IMAGES = (".mha", ".mhd", ".nrrd", ".nhdr")


@dataclass(frozen=True, eq=False)
class TransformFile:
    """A transform, and what was assumed when its file was read, one sentence each that names the file."""

    transform: WorldTransform
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class AffineFile:
    """An affine of a file, which may need both images to be understood.

    Attributes:
        matrix: 4x4, world RAS mm of the fixed to that of the moving image; or of FSL.
        notes: what was assumed, one sentence each that names the file.
    """

    matrix: NDArray[np.float64] | FlirtMatrix
    notes: tuple[str, ...] = ()

    def world(self, fixed: NativeGrid, moving: NativeGrid, names: tuple[object, object]) -> NDArray[np.float64]:
        """4x4, world RAS mm of the fixed to that of the moving image.

        Args:
            fixed, moving: layouts of the image files.
            names: of the files; None for images in memory.

        Raises:
            UserError: the matrix is FSL's, and FSL would place the voxels of an image elsewhere.
        """
        if not isinstance(self.matrix, FlirtMatrix):
            return self.matrix
        for name, native in zip(names, (fixed, moving), strict=True):
            if isinstance(name, Path) and name.exists():
                check_fsl_image(name, native)
        return self.matrix.world(fixed, moving)


def read_transform(source: str | os.PathLike[str] | TransformName, images: FslImages | None = None) -> TransformFile:
    """Read a transform, fixed to moving: world RAS mm of the fixed image to that of the moving image.

    What a file is, is told from its content; see ``nifti_fields`` for fields. Of bare 4x4 matrices those in ``.mat``
    are FLIRT's and those in ``.txt`` world RAS mm, fixed to moving; a note says so.

    Args:
        source: see ``parse_transform_name``.
        images: give FSL's reference and input image where ``source`` does not name them.

    Raises:
        UserError: the file is missing or damaged, or the transform is of a kind that cannot be used, not
            three-dimensional, not invertible or not finite; or FSL's images are not known.
    """
    name = source if isinstance(source, TransformName) else parse_transform_name(source)
    if name.images is not None:
        named = name.images
        images = lambda: (fsl_layout(named[0]), fsl_layout(named[1]))  # noqa: E731
    file = _existing(name)
    if file.name.lower().endswith(_NIFTI):
        transform: WorldTransform
        transform, notes = read_nifti_field(file, name.kind, images)
    elif file.name.lower().endswith(_ITK_IMAGES):
        _check_kind(name, "itk")
        transform, notes = read_itk_field_image(file), ()
    else:
        found = _read_file(name, file)
        if isinstance(found, AffineFile):
            matrix, notes = found.matrix, found.notes
            if isinstance(matrix, FlirtMatrix):
                if images is None:
                    raise UserError(
                        f"{file} is a matrix of FSL's FLIRT, which needs its images: write fsl:{file},REFERENCE,INPUT"
                    )
                matrix = matrix.world(*images())
            transform = AffineTransform(matrix)
        else:
            transform, notes = found, ()
    return TransformFile(transform.inverse() if name.inverse else transform, notes)


def read_affine(source: str | os.PathLike[str] | TransformName) -> AffineFile:
    """Read an affine, or a chain of affines.

    Raises:
        UserError: ``read_transform`` cannot read the file, or it is not affine.
    """
    name = source if isinstance(source, TransformName) else parse_transform_name(source)
    file = _existing(name)
    is_image = file.name.lower().endswith((*_NIFTI, *_ITK_IMAGES))
    found = None if is_image else _read_file(name, file)
    if isinstance(found, AffineFile) and isinstance(found.matrix, FlirtMatrix):
        if name.images is None:
            return AffineFile(FlirtMatrix(found.matrix.matrix, name.inverse), found.notes)
        reference, moving = (fsl_layout(path) for path in name.images)
        world = found.matrix.world(reference, moving)
        return AffineFile(_inverse(world) if name.inverse else world, found.notes)
    if isinstance(found, AffineFile):
        own = found.matrix
        assert not isinstance(own, FlirtMatrix)
        return AffineFile(_inverse(own) if name.inverse else own, found.notes)
    links = found.links if isinstance(found, ChainTransform) else [found]
    chain = np.eye(4)
    for link in links:
        if not isinstance(link, AffineTransform):
            raise UserError(f"{file} holds a displacement field or B-splines, it must be affine")
        chain = link.matrix @ chain
    return AffineFile(_inverse(chain) if name.inverse else chain)


def write_affine(matrix: NDArray[np.float64], path: str | os.PathLike[str]) -> None:
    """Write a 4x4 affine, world RAS mm to world RAS mm, as a transform file of ITK (.tfm, .txt, .mat or .h5)."""
    import SimpleITK as sitk  # noqa: N813

    lps = RAS_TO_LPS @ matrix @ RAS_TO_LPS
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(lps[:3, :3].ravel().tolist())
    transform.SetTranslation(lps[:3, 3].tolist())
    with atomic_path(path) as temporary:
        sitk.WriteTransform(transform, str(temporary))


def _inverse(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.linalg.inv(matrix), dtype=np.float64)


def _existing(name: TransformName) -> Path:
    if not name.path.is_file():
        raise UserError(f"there is no file {name.path}")
    return name.path


def _check_kind(name: TransformName, *possible: str) -> None:
    if name.kind not in (None, *possible):
        raise UserError(f"transform={name.kind}:{name.path}: this file is of another kind")


def _read_file(name: TransformName, file: Path) -> AffineFile | WorldTransform:
    """The transform of a file that is no image."""
    suffix = file.suffix.lower()
    text = text_of(file)
    matrix = None if text is None else bare_matrix(text)
    if text is not None and matrix is not None:
        return _bare(name, matrix)
    if suffix == ".lta":
        _check_kind(name)
        return AffineFile(read_lta(file))
    if text is not None and text.lstrip().startswith("MNI Transform File"):
        return _minc(name, text)
    if text is not None and text.lstrip().startswith(("(", "//")):
        raise UserError(f"{file} is a parameter file of elastix: transformix -def all writes the field of it")
    if suffix == ".dat":
        raise UserError(f"{file} is taken for a register.dat of FreeSurfer: lta_convert --inreg writes an LTA of it")
    _check_kind(name, "itk")
    if suffix not in TRANSFORM_SUFFIXES:
        known = ", ".join((*TRANSFORM_SUFFIXES, *_NIFTI, *_ITK_IMAGES))
        raise UserError(f"{file}: the name of a transform must end in one of {known}")
    return read_itk_transform(file)


def _bare(name: TransformName, matrix: NDArray[np.float64]) -> AffineFile:
    file = name.path
    _check_kind(name, "ras", "fsl")
    if not is_invertible(matrix):
        raise UserError(f"{file} holds a transform that has no inverse")
    if name.kind is not None:
        return AffineFile(FlirtMatrix(matrix) if name.kind == "fsl" else matrix)
    if file.suffix.lower() == ".mat":
        note = (
            f"{file}: its bare matrix is taken for one of FSL's FLIRT because the name ends in .mat; ras:{file} says "
            "that it is world RAS mm from the fixed to the moving image, as greedy and c3d write it"
        )
        return AffineFile(FlirtMatrix(matrix), (note,))
    if file.suffix.lower() == ".txt":
        note = (
            f"{file}: its bare matrix is taken for world RAS mm from the fixed to the moving image, as NiftyReg writes "
            f"it; fsl:{file} says that it is FLIRT's"
        )
        return AffineFile(matrix, (note,))
    raise UserError(
        f"{file} holds a bare 4x4 matrix: write ras:{file} if it is world RAS mm from the fixed to the moving image, "
        f"or fsl:{file} if it is of FSL's FLIRT"
    )


def _minc(name: TransformName, text: str) -> AffineFile:
    _check_kind(name, "minc", "itk")
    written_by_itk = ITK_WROTE in text if name.kind is None else name.kind == "itk"
    if written_by_itk:
        found = read_itk_transform(name.path)
        assert isinstance(found, AffineTransform)
        note = f"{name.path}: read as ITK writes this form, LPS mm from the fixed to the moving image"
        return AffineFile(found.matrix, (note,))
    note = f"{name.path}: taken as MINC defines it, world RAS mm from the source (moving) to the target (fixed) image"
    return AffineFile(read_minc(name.path, text), (note,))
