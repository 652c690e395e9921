"""Images with headers of all kinds, for tests of geometry and of files."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

SPACING = (1.5, 2.0, 0.8)


def oblique_affine() -> NDArray[np.float64]:
    """RAS+ with unequal spacing, turned by 20 degrees about S and 10 about R, not centred on the origin."""
    a, b = np.deg2rad(20), np.deg2rad(10)
    about_s = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    about_r = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    affine = np.eye(4)
    affine[:3, :3] = about_s @ about_r @ np.diag(SPACING)
    affine[:3, 3] = (-12.0, 30.0, 7.0)
    return affine


def straight_affine() -> NDArray[np.float64]:
    affine = np.diag([*SPACING, 1.0])
    affine[:3, 3] = (-12.0, 30.0, 7.0)
    return affine


AFFINES = {"straight": straight_affine(), "oblique": oblique_affine()}

ORIENTATIONS = [
    np.array([[axis, flip] for axis, flip in zip(order, flips, strict=True)], dtype=float)
    for order in itertools.permutations(range(3))
    for flips in itertools.product((1, -1), repeat=3)
]


def smooth_array(shape: tuple[int, int, int]) -> NDArray[np.float32]:
    """A picture without symmetry, bright inside and dark at its border."""
    i, j, k = np.meshgrid(*(np.linspace(0, 1, n) for n in shape), indexing="ij")
    window = np.sin(np.pi * i) * np.sin(np.pi * j) * np.sin(np.pi * k)
    return (window * (1 + i + 2 * j * j + np.sin(5 * k + i))).astype(np.float32)


@pytest.fixture
def oblique() -> NDArray[np.float64]:
    return oblique_affine()


@pytest.fixture(params=AFFINES.values(), ids=AFFINES.keys())
def affine(request: pytest.FixtureRequest) -> NDArray[np.float64]:
    return request.param


@pytest.fixture(params=ORIENTATIONS, ids=lambda o: str(o.astype(int).tolist()))
def orientation(request: pytest.FixtureRequest) -> NDArray[np.float64]:
    """Each of the 48 ways to order and flip the axes of a file."""
    return request.param


@pytest.fixture
def picture() -> NDArray[np.float32]:
    return smooth_array((11, 8, 13))


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    """Writes an array with nibabel, so that readers are tested on files of another program."""

    def write(
        array: NDArray,
        affine: NDArray,
        name: str = "image.nii.gz",
        orientation: NDArray | None = None,
    ) -> Path:
        image = nib.Nifti1Image(array, affine)
        if orientation is not None:
            image = image.as_reoriented(orientation)
        nib.save(image, tmp_path / name)
        return tmp_path / name

    return write


_NIFTI_FIELDS = {
    "pixdim": (76, "<{}f"),
    "slope": (112, "<{}f"),
    "intercept": (116, "<{}f"),
    "units": (123, "<{}B"),
    "qform_code": (252, "<{}h"),
    "sform_code": (254, "<{}h"),
    "quatern": (256, "<{}f"),
    "qoffset": (268, "<{}f"),
    "sform": (280, "<{}f"),
}
"""Byte offsets of the NIfTI-1 header (nifti1.h)."""


def nifti_file(
    path: Path,
    array: NDArray | None = None,
    *,
    sform: NDArray | None = None,
    qform: NDArray | None = None,
    **raw: object,
) -> Path:
    """A NIfTI whose header is written byte by byte, as no library would.

    Args:
        path: ending in .nii.
        array: voxels; None is ``smooth_array`` of (6, 7, 5).
        sform, qform: 4x4 (sform: or 3x4), with code 1. None leaves the form out, with code 0.
        raw: further fields of ``_NIFTI_FIELDS``, numbers or sequences of them, written last.
    """
    image = nib.Nifti1Image(smooth_array((6, 7, 5)) if array is None else array, None)
    image.set_sform(None, code=0)
    image.set_qform(qform, code=0 if qform is None else 1)
    image.header.set_xyzt_units("mm")
    nib.save(image, path)
    fields: dict[str, object] = {}
    if sform is not None:
        fields |= {"sform": sform, "sform_code": 1}
        if qform is None:  # nibabel writes sizes of 1
            fields["pixdim"] = [1, *np.linalg.norm(np.asarray(sform)[:3, :3], axis=0)]
    return patched(path, **{**fields, **raw})


def patched(path: Path, **raw: object) -> Path:
    """Write fields of ``_NIFTI_FIELDS`` into a little-endian NIfTI-1 or Analyze header."""
    content = bytearray(path.read_bytes())
    for name, value in raw.items():
        offset, form = _NIFTI_FIELDS[name]
        numbers = np.ravel(np.asarray(value)[:3] if name == "sform" and np.ndim(value) == 2 else value).tolist()
        struct.pack_into(form.format(len(numbers)), content, offset, *numbers)
    path.write_bytes(content)
    return path


def itk_affine(path: Path) -> NDArray[np.float64]:
    """The RAS affine that SimpleITK reads."""
    import SimpleITK as sitk  # noqa: N813

    image = sitk.ReadImage(str(path))
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    return np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
