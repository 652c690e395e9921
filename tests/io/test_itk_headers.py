"""NRRD and MetaImage headers, written as text: what ITK leaves out of them, and what it reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from headers import itk_affine
from numpy.typing import NDArray

from mmreg_lightning.errors import UserError
from mmreg_lightning.io.images import load_array, read_image
from mmreg_lightning.io.in_memory import volume_of

SHAPE = (5, 6, 7)
VOXELS = np.arange(210, dtype="<i2").reshape(SHAPE, order="F")
DIRECTIONS, ORIGIN = "space directions: (2,0,0) (0,3,0) (0,0,4)", "space origin: (10,20,30)"
IN_TIME = ("space directions: (2,0,0,0) (0,3,0,0) (0,0,4,0) (0,0,0,1)", "space origin: (10,20,30,0)")
RAS = np.array([[2.0, 0, 0, 10], [0, 3, 0, 20], [0, 0, 4, 30], [0, 0, 0, 1]])
"""Of these directions and origin, if the space is RAS."""
LPS = np.diag([-1.0, -1, 1, 1]) @ RAS
SPACINGS = np.diag([-2.0, -3, 4, 1])
"""The same sizes from the origin along L, P, S."""


def nrrd(folder: Path, *lines: str, sizes: str = "5 6 7") -> Path:
    head = ["NRRD0005", "type: short", f"dimension: {len(sizes.split())}", f"sizes: {sizes}", "encoding: raw"]
    text = "\n".join([*head, "endian: little", *lines, "", ""])
    (folder / "a.nrrd").write_bytes(text.encode() + VOXELS.tobytes(order="F"))
    return folder / "a.nrrd"


def mha(folder: Path, *lines: str, sizes: str = "5 6 7") -> Path:
    head = ["ObjectType = Image", f"NDims = {len(sizes.split())}", f"DimSize = {sizes}", "BinaryData = True"]
    text = "\n".join([*head, *lines, "ElementType = MET_SHORT", "ElementDataFile = LOCAL", ""])
    (folder / "a.mha").write_bytes(text.encode() + VOXELS.tobytes(order="F"))
    return folder / "a.mha"


def scaled(affine: NDArray, factor: float) -> NDArray:
    return np.diag([factor, factor, factor, 1.0]) @ affine


@pytest.mark.parametrize(
    ("space", "expected"),
    [
        ("left-posterior-superior", LPS),
        ("LPS", LPS),
        ("right-anterior-superior", RAS),
        ("RAS", RAS),
        ("left-anterior-superior", np.diag([-1.0, 1, 1, 1]) @ RAS),
        ("LAS", np.diag([-1.0, 1, 1, 1]) @ RAS),
    ],
)
def test_anatomical_spaces(space: str, expected: NDArray, tmp_path: Path) -> None:
    path = nrrd(tmp_path, f"space: {space}", DIRECTIONS, ORIGIN, 'space units: "mm" "mm" "mm"')
    array, native = load_array(path)
    np.testing.assert_allclose(native.affine, expected)
    np.testing.assert_allclose(native.affine, itk_affine(path))
    np.testing.assert_array_equal(array, VOXELS)
    assert native.notes == ()


NRRDS = {
    "metre": (["space: LPS", DIRECTIONS, ORIGIN, 'space units: "m" "m" "m"'], scaled(LPS, 1000), "are m, and are conv"),
    "micron": (["space: LPS", DIRECTIONS, ORIGIN, 'space units: "um" "um" "um"'], scaled(LPS, 0.001), "in ITK"),
    "micron in full": (
        ["space: RAS", DIRECTIONS, ORIGIN, 'space units: "microns" "microns" "microns"'],
        scaled(RAS, 0.001),
        "microns",
    ),
    "centimetre": (["space: RAS", DIRECTIONS, ORIGIN, 'space units: "cm" "cm" "cm"'], scaled(RAS, 10), "cm"),
    "two units": (
        ["space: RAS", DIRECTIONS, ORIGIN, 'space units: "mm" "mm" "cm"'],
        np.diag([1.0, 1, 10, 1]) @ RAS,
        "mm, cm",
    ),
    "units of the axes": (["spacings: 2 3 4", 'units: "cm" "cm" "cm"'], scaled(SPACINGS, 10), "names no space"),
    "unknown unit": (["space: LPS", DIRECTIONS, ORIGIN, 'space units: "ells" "ells" "ells"'], LPS, "no known unit"),
    "no space": (["space dimension: 3", DIRECTIONS, ORIGIN], LPS, "names no space, which is taken as left-posterior"),
    "spacings alone": (["spacings: 2 3 4"], SPACINGS, "names no space"),
    "a missing spacing": (["spacings: 2 3 nan"], np.diag([-2.0, -3, 1, 1]), "no voxel size along 1 of its axes"),
    "nothing": ([], np.diag([-1.0, -1, 1, 1]), "no voxel size along 3 of its axes"),
    "scanner": (["space: scanner-xyz", DIRECTIONS, ORIGIN], LPS, "its space is scanner-xyz, which is taken as left-p"),
    "right-handed": (["space: 3D-right-handed", DIRECTIONS, ORIGIN], LPS, "its space is 3d-right-handed"),
}


def check_odd(path: Path, expected: NDArray, said: str) -> None:
    """The file has this affine and one note, which names ITK where that reads another one."""
    native = load_array(path)[1]
    np.testing.assert_allclose(native.affine, expected)
    (note,) = native.notes
    assert note.startswith(f"{path}: ") and said in note
    differs = not np.allclose(itk_affine(path), expected)
    assert differs == ("in ITK, ANTs and Slicer" in note)


@pytest.mark.parametrize(("lines", "expected", "said"), NRRDS.values(), ids=NRRDS.keys())
def test_an_odd_nrrd(lines: list[str], expected: NDArray, said: str, tmp_path: Path) -> None:
    check_odd(nrrd(tmp_path, *lines), expected, said)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["space: LPS", DIRECTIONS + " none", ORIGIN, "kinds: domain domain domain list"], LPS),
        (["spacings: 2 3 4 nan"], SPACINGS),
        (["spacings: 2 3 4 1"], SPACINGS),
        (["space: RAST", *IN_TIME], RAS),
        (["space: left-posterior-superior-time", *IN_TIME], LPS),
    ],
    ids=["list", "no last spacing", "spacings", "RAS and time", "LPS and time"],
)
def test_a_nrrd_with_one_frame(lines: list[str], expected: NDArray, tmp_path: Path) -> None:
    array, native = load_array(nrrd(tmp_path, *lines, sizes="5 6 7 1"))
    np.testing.assert_allclose(native.affine, expected)
    np.testing.assert_array_equal(array, VOXELS)
    # ITK takes every space with time for LPS.
    assert any("in ITK, ANTs and Slicer" in note for note in native.notes) == (lines[0] == "space: RAST")


def test_a_metaimage_with_one_frame(tmp_path: Path) -> None:
    matrix = "TransformMatrix = 0 1 0 0 -1 0 0 0 0 0 1 0 0 0 0 1"
    path = mha(tmp_path, "ElementSpacing = 2 3 4 1", "Offset = 1 2 3 0", matrix, sizes="5 6 7 1")
    array, native = load_array(path)
    # Columns of the file's matrix are ITK's directions: the first axis runs along P, the second one against L.
    np.testing.assert_allclose(native.affine, [[0, 3, 0, -1], [-2, 0, 0, -2], [0, 0, 4, 3], [0, 0, 0, 1]])
    np.testing.assert_array_equal(array, VOXELS)
    assert native.notes == ()
    volume = volume_of(sitk.ReadImage(str(path)), "fixed")
    np.testing.assert_array_equal(volume.native.affine, native.affine)
    with pytest.raises(UserError, match=r"must be a 3-D image, but its shape is \(5, 6, 1, 7\)"):
        load_array(mha(tmp_path, sizes="5 6 1 7"))


METAIMAGES = {
    "centimetre": (["ElementSpacing = 2 3 4", "DistanceUnits = cm"], scaled(SPACINGS, 10), "DistanceUnits are cm"),
    "micron": (["ElementSpacing = 2 3 4", "DistanceUnits = um"], scaled(SPACINGS, 0.001), "in ITK, ANTs and Slicer"),
    "no spacing": ([], np.diag([-1.0, -1, 1, 1]), "states no voxel size"),
    "other letters": (
        ["ElementSpacing = 2 3 4", "TransformMatrix = 1 0 0 0 1 0 0 0 1", "AnatomicalOrientation = LPI"],
        SPACINGS,
        "AnatomicalOrientation LPI does not agree with its TransformMatrix (RAI)",
    ),
    "letters alone": (["ElementSpacing = 2 3 4", "AnatomicalOrientation = LPI"], SPACINGS, "the default directions"),
}


@pytest.mark.parametrize(("lines", "expected", "said"), METAIMAGES.values(), ids=METAIMAGES.keys())
def test_an_odd_metaimage(lines: list[str], expected: NDArray, said: str, tmp_path: Path) -> None:
    check_odd(mha(tmp_path, *lines), expected, said)


@pytest.mark.parametrize("letters", ["RAI", "LPS", "???"])
def test_a_metaimage_whose_letters_agree(letters: str, tmp_path: Path) -> None:
    path = mha(tmp_path, "ElementSpacing = 2 3 4", f"AnatomicalOrientation = {letters}", "DistanceUnits = mm")
    assert load_array(path)[1].notes == ()
    image = sitk.GetImageFromArray(VOXELS.T)
    image.SetDirection((0, 0, 1, -1, 0, 0, 0, -1, 0))
    sitk.WriteImage(image, str(tmp_path / "own.mha"))
    assert b"AnatomicalOrientation" in (tmp_path / "own.mha").read_bytes()[:400]
    assert load_array(tmp_path / "own.mha")[1].notes == ()


def test_numbers_that_itk_makes_up(tmp_path: Path) -> None:
    path = mha(tmp_path, "ElementSpacing = 2 3 4", "Offset = 1 nan 3")
    assert sitk.ReadImage(str(path)).GetOrigin() == (1, 0, 0)
    with pytest.raises(UserError, match="where its voxels lie is unknown, because its offset is 1 nan 3"):
        load_array(path)


def test_a_header_in_a_file_of_its_own(tmp_path: Path) -> None:
    sitk.WriteImage(sitk.GetImageFromArray(VOXELS.T), str(tmp_path / "a.nhdr"), useCompression=False)
    text = (tmp_path / "a.nhdr").read_text(encoding="utf-8")
    (tmp_path / "a.nhdr").write_text(text.replace("space directions", 'space units: "cm" "cm" "cm"\nspace directions'))
    image = read_image(tmp_path / "a.nhdr")
    np.testing.assert_allclose(image.grid.spacing, 10)
    assert "cm" in image.native.notes[0]
