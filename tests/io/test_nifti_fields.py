"""Fields of SPM, NiftyReg, FSL and ITK in NIfTI, told apart by their headers and read by their published rules."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from headers import oblique_affine
from wavy import an_affine, inner_points, wavy_field

from mmreg_lightning.errors import UserError
from mmreg_lightning.geometry.frames import RAS_TO_LPS, transform_points
from mmreg_lightning.geometry.native import NativeGrid
from mmreg_lightning.geometry.world_transforms import map_points
from mmreg_lightning.io.itk_fields import write_itk_field
from mmreg_lightning.io.nifti_fields import read_nifti_field

SHAPE = (9, 8, 7)
AFFINE = oblique_affine() @ np.diag([-1.0, 1, 1, 1])  # the file's first axis runs to the left


def places(affine: np.ndarray = AFFINE) -> np.ndarray:
    index = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), axis=-1)
    return transform_points(affine, index)


@pytest.fixture
def moved() -> np.ndarray:
    """Where each voxel goes, world RAS mm: an affine and something smooth."""
    index = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), axis=-1)
    return transform_points(an_affine(), places()) + np.sin(index / 2.0)


Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(vectors: np.ndarray, name: str, **header: object) -> Path:
        shaped = vectors if header.pop("four", False) else vectors[:, :, :, None]
        image = nib.Nifti1Image(shaped.astype(np.float32), AFFINE)
        for key, value in header.items():
            image.header[key] = value
        nib.save(image, tmp_path / name)
        return tmp_path / name

    return write


def assert_leads(path: Path, moved: np.ndarray, **more: object) -> tuple[str, ...]:
    transform, notes = read_nifti_field(path, **more)
    got = map_points(transform, places().reshape(-1, 3))
    np.testing.assert_allclose(got, moved.reshape(-1, 3), atol=1e-3)
    return notes


@pytest.mark.parametrize(
    "header",
    [
        {"intent_code": 1007, "intent_name": b"Mapping", "descrip": b"Deformation field"},  # spm_deformations
        {"descrip": b"Deformation"},  # spm_preproc_write8: y_*.nii
    ],
    ids=["Deformations", "Segment"],
)
def test_deformations_of_spm_are_places_in_ras(header: dict, moved: np.ndarray, write: Write) -> None:
    notes = assert_leads(write(moved, "y_t1.nii", **header), moved)
    assert notes[-1].endswith("taken for a deformation of SPM, places in the moving image in world RAS mm")


@pytest.mark.parametrize("sort", [0, 1], ids=["def", "disp"])
def test_fields_of_niftyreg_are_in_ras(sort: int, moved: np.ndarray, write: Write) -> None:
    vectors = moved if sort == 0 else moved - places()
    path = write(vectors, "f.nii.gz", intent_code=1007, intent_name=b"NREG_TRANS", intent_p1=sort)
    assert "of NiftyReg" in assert_leads(path, moved)[-1]


@pytest.mark.parametrize("sort", [2, 3, 4, 5, 6])
def test_other_transforms_of_niftyreg_are_refused(sort: int, moved: np.ndarray, write: Write) -> None:
    path = write(moved, "cpp.nii", intent_code=1007, intent_name=b"NREG_TRANS", intent_p1=sort)
    with pytest.raises(UserError, match=rf"cpp.nii holds .* of NiftyReg \(parameter {sort}\): reg_transform"):
        read_nifti_field(path)


def test_fields_of_itk_are_in_lps_and_say_nothing(moved: np.ndarray, write: Write) -> None:
    path = write((moved - places()) @ RAS_TO_LPS[:3, :3], "itk.nii.gz", intent_code=1007)
    assert assert_leads(path, moved) == ()
    theirs = sitk.DisplacementFieldTransform(sitk.ReadImage(str(path), sitk.sitkVectorFloat64))
    point = places()[4, 3, 2]
    said = RAS_TO_LPS[:3, :3] @ theirs.TransformPoint((RAS_TO_LPS[:3, :3] @ point).tolist())
    np.testing.assert_allclose(map_points(read_nifti_field(path)[0], point[None])[0], said, atol=1e-3)


def test_what_cannot_be_told_apart_is_refused_until_it_is_said(moved: np.ndarray, write: Write, tmp_path: Path) -> None:
    unnamed = write(moved, "unnamed.nii", intent_code=1007)
    with pytest.raises(UserError, match="unnamed.nii names no program, and holds places rather than displacements"):
        read_nifti_field(unnamed)
    assert_leads(unnamed, moved, kind="spm")
    odd = write(moved - places(), "odd.nii", intent_code=1007, intent_name=b"My field")
    with pytest.raises(UserError, match="vectors named 'My field'"):
        read_nifti_field(odd)
    bare = write(moved - places(), "bare.nii", four=True)
    with pytest.raises(UserError, match="names no other program; write itk:, spm:, niftyreg: or fsl:"):
        read_nifti_field(bare)
    field = wavy_field()  # with a rotation and a scale: large, but no map of places
    write_itk_field(field.displacement, field.grid, tmp_path / "wavy.nii.gz")
    points = inner_points(field.grid)
    read = read_nifti_field(tmp_path / "wavy.nii.gz")[0]
    np.testing.assert_allclose(map_points(read, points), map_points(field, points), atol=1e-3)


def test_warps_of_fsl_need_the_images_and_say_what_they_were_taken_for(moved: np.ndarray, write: Write) -> None:
    # Both have negative determinants, so that FSL's coordinates are voxels times their size.
    moving = NativeGrid((20, 30, 40), AFFINE @ np.diag([2.0, 1, 1, 1]))
    sizes = [np.linalg.norm(native[:3, :3], axis=0) for native in (AFFINE, moving.affine)]
    there = transform_points(np.linalg.inv(moving.affine), moved) * sizes[1]
    here = transform_points(np.linalg.inv(AFFINE), places()) * sizes[0]
    for vectors, word in ((there, "absolute"), (there - here, "relative")):
        path = write(vectors, "warp.nii.gz", four=True, intent_code=2006)
        notes = assert_leads(path, moved, images=lambda: (moving, moving))
        assert f"taken for {word}" in notes[-1]
        with pytest.raises(UserError, match="warp.nii.gz is a warp of FSL, which needs the images"):
            read_nifti_field(path)
    coefficients = write(there, "coef.nii.gz", four=True, intent_code=2007)
    with pytest.raises(UserError, match="coef.nii.gz holds coefficients of FSL"):
        read_nifti_field(coefficients)


def test_files_that_are_no_fields(moved: np.ndarray, write: Write) -> None:
    scalar = write(moved[..., 0], "scalar.nii", four=True)
    with pytest.raises(UserError, match="scalar.nii is not a displacement field"):
        read_nifti_field(scalar)
    holed = moved.copy()
    holed[3, 3, 3] = np.nan
    with pytest.raises(UserError, match="NaN or infinite"):
        read_nifti_field(write(holed, "holed.nii", descrip=b"Deformation"))
    with pytest.raises(UserError, match="must be of itk, spm, niftyreg or fsl"):
        read_nifti_field(write(moved, "minc.nii", descrip=b"Deformation"), "minc")
