"""What a transform file is, is told from its content, its ending or the word before its name."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from wavy import an_affine, inner_points, wavy_field

from mmreg_lightning.errors import UserError
from mmreg_lightning.geometry.frames import RAS_TO_LPS
from mmreg_lightning.geometry.native import NativeGrid
from mmreg_lightning.geometry.world_transforms import AffineTransform, FieldTransform, map_points
from mmreg_lightning.io.fsl import FlirtMatrix, write_flirt_matrix
from mmreg_lightning.io.itk_fields import write_itk_field
from mmreg_lightning.io.lta import write_lta
from mmreg_lightning.io.transforms import read_affine, read_transform, write_affine

FIXED = NativeGrid((9, 8, 7), np.diag([2.0, 1, 3, 1]))
MOVING = NativeGrid((10, 12, 6), np.diag([-1.5, 2, 2, 1]))


@pytest.fixture
def field() -> FieldTransform:
    return wavy_field()


def matrix_of(source: object) -> np.ndarray:
    transform = read_transform(str(source)).transform
    assert isinstance(transform, AffineTransform)
    return transform.matrix


@pytest.mark.parametrize("suffix", ["tfm", "txt", "mat", "h5"])
def test_an_affine_goes_to_itk_and_back(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"affine.{suffix}"
    write_affine(an_affine(), path)
    np.testing.assert_allclose(read_affine(path).matrix, an_affine(), atol=1e-6)
    point = np.array([10.0, -20.0, 30.0])
    there = sitk.ReadTransform(str(path)).TransformPoint((RAS_TO_LPS[:3, :3] @ point).tolist())
    np.testing.assert_allclose(RAS_TO_LPS[:3, :3] @ there, map_points(AffineTransform(an_affine()), point[None])[0])


@pytest.mark.parametrize("suffix", ["nii.gz", "mha", "nrrd"])
def test_a_field_is_read_from_any_image_format(suffix: str, field: FieldTransform, tmp_path: Path) -> None:
    write_itk_field(field.displacement, field.grid, tmp_path / "field.nii.gz")
    path = tmp_path / f"copy.{suffix}"
    sitk.WriteImage(sitk.ReadImage(str(tmp_path / "field.nii.gz"), sitk.sitkVectorFloat32), str(path))
    points = inner_points(field.grid)
    np.testing.assert_allclose(map_points(read_transform(path).transform, points), map_points(field, points), atol=1e-3)
    back = read_transform(f"[{path},1]").transform
    np.testing.assert_allclose(map_points(back, map_points(field, points)), points, atol=0.1)


def test_composites_of_itk_are_applied_last_added_first(field: FieldTransform, tmp_path: Path) -> None:
    write_itk_field(field.displacement, field.grid, tmp_path / "field.nii.gz")
    image = sitk.ReadImage(str(tmp_path / "field.nii.gz"), sitk.sitkVectorFloat64)
    rigid = sitk.Euler3DTransform((3.0, 4.0, 5.0), 0.1, -0.2, 0.05, (6.0, -7.0, 8.0))
    composite = sitk.CompositeTransform([rigid, sitk.DisplacementFieldTransform(image)])
    sitk.WriteTransform(composite, str(tmp_path / "composite.h5"))
    composite = sitk.ReadTransform(str(tmp_path / "composite.h5"))
    points = inner_points(field.grid, 20)
    expected = [composite.TransformPoint((RAS_TO_LPS[:3, :3] @ point).tolist()) for point in points]
    got = map_points(read_transform(tmp_path / "composite.h5").transform, points)
    np.testing.assert_allclose(got, np.array(expected) @ RAS_TO_LPS[:3, :3], atol=1e-3)
    with pytest.raises(UserError, match="must be affine"):
        read_affine(tmp_path / "composite.h5")


def test_ants_affine_and_warp_are_read_as_ants_applies_them(tmp_path: Path) -> None:
    ants = pytest.importorskip("ants", reason="antspyx is in the extra peers")
    grid = wavy_field().grid
    write_itk_field(wavy_field().displacement * 0.2, grid, tmp_path / "1Warp.nii.gz")
    write_affine(an_affine(1.0), tmp_path / "0GenericAffine.mat")
    names = [str(tmp_path / name) for name in ("1Warp.nii.gz", "0GenericAffine.mat")]
    points = inner_points(grid, 30)
    frame = __import__("pandas").DataFrame(points * [-1, -1, 1], columns=["x", "y", "z"])
    # ANTs' list of transforms is applied to points from the first to the last here.
    theirs = ants.apply_transforms_to_points(3, frame, names).to_numpy()[:, :3] * [-1, -1, 1]
    ours = points
    for name in names:
        ours = map_points(read_transform(name).transform, ours)
    np.testing.assert_allclose(ours, theirs, atol=1e-3)


def test_bare_matrices_are_told_by_their_ending_or_by_a_word(tmp_path: Path) -> None:
    np.savetxt(tmp_path / "m.txt", an_affine())
    np.savetxt(tmp_path / "m.aff", an_affine())
    write_flirt_matrix(an_affine(), FIXED, MOVING, tmp_path / "flirt.mat")
    found = read_transform(tmp_path / "m.txt")
    assert "taken for world RAS mm from the fixed to the moving image" in found.notes[0]
    np.testing.assert_allclose(matrix_of(tmp_path / "m.txt"), an_affine())
    np.testing.assert_allclose(matrix_of(f"[ras:{tmp_path / 'm.aff'},1]"), np.linalg.inv(an_affine()))
    with pytest.raises(UserError, match=r"m\.aff holds a bare 4x4 matrix: write ras:"):
        read_transform(tmp_path / "m.aff")
    flirt = read_transform(tmp_path / "flirt.mat", lambda: (FIXED, MOVING))
    assert isinstance(flirt.transform, AffineTransform) and "because the name ends in .mat" in flirt.notes[0]
    np.testing.assert_allclose(flirt.transform.matrix, an_affine(), atol=1e-6)
    with pytest.raises(UserError, match=r"needs its images: write fsl:.*,REFERENCE,INPUT"):
        read_transform(tmp_path / "flirt.mat")
    for name, native in (("f.nii", FIXED), ("m.nii", MOVING)):
        nib.save(nib.Nifti1Image(np.random.default_rng(0).random(native.shape), native.affine), tmp_path / name)
    named = f"fsl:{tmp_path / 'flirt.mat'},{tmp_path / 'f.nii'},{tmp_path / 'm.nii'}"
    np.testing.assert_allclose(matrix_of(named), an_affine(), atol=1e-6)
    np.testing.assert_allclose(matrix_of(f"[{named},1]") @ an_affine(), np.eye(4), atol=1e-6)
    assert read_transform(named).notes == ()
    by_name = read_affine(named).matrix
    assert not isinstance(by_name, FlirtMatrix)
    back = read_affine(f"[{named},1]").matrix
    np.testing.assert_allclose(back @ by_name, np.eye(4), atol=1e-6)
    np.testing.assert_allclose(by_name, an_affine(), atol=1e-6)
    # A matrix of greedy, whose names end in .mat, too.
    np.savetxt(tmp_path / "greedy.mat", an_affine())
    np.testing.assert_allclose(matrix_of(f"ras:{tmp_path / 'greedy.mat'}"), an_affine())


def test_freesurfer_and_minc(tmp_path: Path) -> None:
    write_lta(an_affine(), FIXED, MOVING, ("f", "m"), tmp_path / "a.lta")
    np.testing.assert_allclose(matrix_of(tmp_path / "a.lta"), an_affine(), atol=1e-9)
    np.testing.assert_allclose(read_affine(f"[{tmp_path / 'a.lta'},1]").matrix @ an_affine(), np.eye(4), atol=1e-9)
    rows = "\n".join(" ".join(map(str, row)) for row in an_affine()[:3])
    (tmp_path / "t.xfm").write_text(f"MNI Transform File\n\nTransform_Type = Linear;\nLinear_Transform =\n{rows};\n")
    found = read_transform(tmp_path / "t.xfm")
    assert "taken as MINC defines it" in found.notes[0]
    np.testing.assert_allclose(matrix_of(tmp_path / "t.xfm") @ an_affine(), np.eye(4), atol=1e-9)
    lps = RAS_TO_LPS @ an_affine() @ RAS_TO_LPS
    affine = sitk.AffineTransform(lps[:3, :3].ravel().tolist(), lps[:3, 3].tolist())
    sitk.WriteTransform(affine, str(tmp_path / "itk.xfm"))
    assert "read as ITK writes this form" in read_transform(tmp_path / "itk.xfm").notes[0]
    np.testing.assert_allclose(matrix_of(tmp_path / "itk.xfm"), an_affine(), atol=1e-4)


def test_transforms_that_cannot_be_used(tmp_path: Path) -> None:
    flat = tmp_path / "flat.tfm"
    sitk.WriteTransform(sitk.Euler2DTransform(), str(flat))
    with pytest.raises(UserError, match=r"flat.tfm holds a transform of 2 dimensions"):
        read_transform(flat)
    singular = tmp_path / "singular.tfm"
    write_affine(np.diag([1.0, 1.0, 0.0, 1.0]), singular)
    with pytest.raises(UserError, match="no inverse"):
        read_transform(singular)
    np.savetxt(tmp_path / "singular.txt", np.diag([1.0, 1, 0, 1]))
    with pytest.raises(UserError, match="singular.txt holds a transform that has no inverse"):
        read_transform(tmp_path / "singular.txt")
    for name, text in (("broken.tfm", "nonsense"), ("field.mha", "nonsense"), ("matrix.csv", "1 0 0")):
        (tmp_path / name).write_text(text)
        with pytest.raises(UserError, match=name):
            read_transform(tmp_path / name)
    scalar = tmp_path / "scalar.mha"
    sitk.WriteImage(sitk.Image(4, 4, 4, sitk.sitkFloat32), str(scalar))
    with pytest.raises(UserError, match="3 numbers a voxel"):
        read_transform(scalar)
    with pytest.raises(UserError, match="there is no file"):
        read_transform(tmp_path / "missing.tfm")
    (tmp_path / "TransformParameters.0.txt").write_text('(Transform "BSplineTransform")\n')
    with pytest.raises(UserError, match="is a parameter file of elastix: transformix -def all"):
        read_transform(tmp_path / "TransformParameters.0.txt")
    (tmp_path / "register.dat").write_text("subject\n1.0\n1.0\n0.15\n1 0 0 0\n0 1 0 0\n0 0 1 0\n0 0 0 1\nround\n")
    with pytest.raises(UserError, match="register.dat of FreeSurfer: lta_convert"):
        read_transform(tmp_path / "register.dat")
    with pytest.raises(UserError, match=r"transform=spm:.*flat.tfm: this file is of another kind"):
        read_transform(f"spm:{flat}")
