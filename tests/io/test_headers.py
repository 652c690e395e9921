"""Headers on which readers differ: SimpleITK, nibabel and ANTs read the files, and read what is written."""

from __future__ import annotations

import itertools
import logging
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import torch
from headers import itk_affine, nifti_file, oblique_affine, patched, smooth_array, straight_affine
from numpy.typing import NDArray

from mmreg_lightning.errors import UserError
from mmreg_lightning.geometry.rigid import farthest
from mmreg_lightning.geometry.volume import Volume
from mmreg_lightning.io.headers import _Nifti, file_header, nibabel_layout
from mmreg_lightning.io.images import load_array, read_image, read_layout, write_image
from mmreg_lightning.io.in_memory import volume_of
from mmreg_lightning.io.itk_fields import write_itk_field

SHAPE = (6, 7, 5)
SIZES = (1.5, 2.0, 0.8)
OBLIQUE = oblique_affine()
STRAIGHT = straight_affine()


def moved(affine: NDArray, *shift: float) -> NDArray:
    other = affine.copy()
    other[:3, 3] += shift
    return other


def scaled(affine: NDArray, factor: float) -> NDArray:
    """The frame in another unit."""
    return np.diag([factor, factor, factor, 1.0]) @ affine


def sheared(affine: NDArray) -> NDArray:
    other = affine.copy()
    other[:3, 2] += 0.3 * affine[:3, 1]
    return other


def larger(affine: NDArray) -> NDArray:
    other = affine.copy()
    other[:3, :3] *= 1.5
    return other


@pytest.fixture(autouse=True)
def _quiet() -> None:
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    nib.imageglobals.logger.setLevel(logging.CRITICAL)


def the_note(path: Path) -> str:
    """The only note of a file; it is one sentence that names it."""
    (note,) = load_array(path)[1].notes
    assert note.startswith(f"{path}: ") and note.endswith(".") and "\n" not in note
    return note


REGULAR = {
    "both forms": {"sform": OBLIQUE, "qform": OBLIQUE},
    "sform": {"sform": OBLIQUE},
    "qform": {"qform": OBLIQUE},
    "template sform": {"sform": OBLIQUE, "qform": OBLIQUE, "sform_code": 4},
    "no unit": {"sform": OBLIQUE, "qform": OBLIQUE, "units": 0},
    "unit and seconds": {"sform": OBLIQUE, "qform": OBLIQUE, "units": 2 + 8},
    "qfac 0": {"sform": OBLIQUE, "qform": OBLIQUE, "pixdim": [0, *SIZES]},
    "qfac 0 without sform": {"qform": OBLIQUE, "pixdim": [0, *SIZES]},
    "a form that does not count": {"sform": OBLIQUE, "qform": moved(OBLIQUE, 9, 9, 9), "qform_code": 0},
    "rounding": {"sform": moved(OBLIQUE, 0.002, 0, 0), "qform": OBLIQUE},
}


@pytest.mark.parametrize("header", REGULAR.values(), ids=REGULAR.keys())
def test_a_regular_file_has_no_note(header: dict[str, NDArray], tmp_path: Path) -> None:
    path = nifti_file(tmp_path / "a.nii", **header)
    native = load_array(path)[1]
    assert native.notes == ()
    np.testing.assert_allclose(native.affine, OBLIQUE, atol=3e-3)
    np.testing.assert_allclose(native.affine, itk_affine(path), atol=1e-4)
    np.testing.assert_allclose(native.affine, nib.load(path).affine, atol=3e-3)


def case(header: dict[str, object], expected: NDArray, *said: str, same: tuple[str, ...] = ("itk",)):
    return header, expected, said, same


LPS = np.diag([-1.5, -2.0, 0.8, 1.0])
FAR = moved(OBLIQUE, 12, 0, 0)
ODD = {
    "micron": case({"sform": scaled(OBLIQUE, 1000), "qform": scaled(OBLIQUE, 1000), "units": 3}, OBLIQUE, "micron"),
    "metre": case({"qform": scaled(OBLIQUE, 0.001), "units": 1}, OBLIQUE, "metre"),
    "metre that is mm": case({"sform": OBLIQUE, "units": 1}, scaled(OBLIQUE, 1000), "metre", "unusual size"),
    "no unit, unusual": case({"sform": scaled(OBLIQUE, 0.001), "units": 0}, scaled(OBLIQUE, 0.001), "unusual size"),
    "micron without form": case({"pixdim": [1, 1500, 2000, 800], "units": 3}, LPS, "micron", "no sform and no qform"),
    "no form": case({"pixdim": [1, *SIZES]}, LPS, "no sform and no qform", "L, P, S from the origin"),
    "sform 1": case(
        {"sform": OBLIQUE, "qform": FAR}, OBLIQUE, "up to 12 mm apart", "sform is used", same=("itk", "nib")
    ),
    "sform 2": case({"sform": OBLIQUE, "qform": FAR, "sform_code": 2}, FAR, "up to 12 mm apart", "qform is used"),
    "sform 3": case({"sform": OBLIQUE, "qform": FAR, "sform_code": 3}, FAR, "lies up to 12 mm from it in nibabel"),
    "sform 4": case({"sform": OBLIQUE, "qform": FAR, "sform_code": 4, "qform_code": 2}, FAR, "(code 4)", "(code 2)"),
    "sform code 9": case({"sform": OBLIQUE, "qform": FAR, "sform_code": 9}, FAR, "(code 9)", same=("itk", "nib")),
    "zero sform": case({"sform": np.zeros((3, 4)), "qform": OBLIQUE, "sform_code": 1}, OBLIQUE, "singular", "qform is"),
    "flat sform": case(
        {"sform": [[1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0]], "qform": OBLIQUE, "sform_code": 1}, OBLIQUE, "singular"
    ),
    "NaN sform": case(
        {"sform": np.full((3, 4), np.nan), "qform": OBLIQUE, "sform_code": 1},
        OBLIQUE,
        "not finite",
        "cannot be read in ITK, ANTs and Slicer and cannot be read in nibabel",
        same=(),
    ),
    "infinite sform": case(
        {"sform": [[np.inf, 0, 0, 0], *OBLIQUE[1:3]], "qform": OBLIQUE, "sform_code": 1}, OBLIQUE, "not finite", same=()
    ),
    "NaN qform": case({"sform": OBLIQUE, "qform": OBLIQUE, "quatern": [np.nan] * 3}, OBLIQUE, "qform (code 1) is not"),
    "NaN offset": case(
        {"sform": OBLIQUE, "qform": OBLIQUE, "qoffset": [np.nan, 0, 0], "sform_code": 2},
        OBLIQUE,
        "sform is",
        same=("nib",),
    ),
    "pixdim 0 with sform": case(
        {"sform": OBLIQUE, "qform": OBLIQUE, "pixdim": [1, 0, 2, 0.8]}, OBLIQUE, "0 x 2 x 0.8", "ITK", same=("nib",)
    ),
    "pixdim < 0 with sform": case(
        {"sform": OBLIQUE, "pixdim": [1, -1.5, 2, 0.8]}, OBLIQUE, "sform alone", same=("nib",)
    ),
    "pixdim 0 with qform": case(
        {"qform": STRAIGHT, "pixdim": [1, 0, 2, 0.8]},
        STRAIGHT @ np.diag([1 / 1.5, 1, 1, 1]),
        "taken as 1 x 2",
        same=("itk", "nib"),
    ),
    "pixdim < 0 with qform": case(
        {"qform": OBLIQUE, "pixdim": [1, -1.5, 2, 0.8]}, OBLIQUE, "taken as 1.5", same=("nib",)
    ),
    "pixdim 0 without form": case({"pixdim": [1, 0, 2, 0.8]}, np.diag([-1, -2, 0.8, 1]), "taken as 1 x 2 x 0.8"),
    "pixdim < 0 without form": case({"pixdim": [1, -1.5, 2, 0.8]}, LPS, "-1.5 x 2 x 0.8", "in ITK", same=()),
    "sizes of the sform": case({"sform": larger(OBLIQUE), "pixdim": [1, *SIZES]}, OBLIQUE, "pixdim is used"),
    "sheared": case({"sform": sheared(OBLIQUE)}, sheared(OBLIQUE), "sheared", "cannot be read in ITK", same=("nib",)),
    "sheared scanner sform": case(
        {"sform": sheared(OBLIQUE), "qform": OBLIQUE}, sheared(OBLIQUE), "sheared", "from it in ITK", same=("nib",)
    ),
    "sheared template sform": case(
        {"sform": sheared(OBLIQUE), "qform": OBLIQUE, "sform_code": 4}, OBLIQUE, "qform is used", "from it in nibabel"
    ),
    "intercept without slope": case(
        {"sform": OBLIQUE, "qform": OBLIQUE, "slope": 0, "intercept": -1024}, OBLIQUE, "-1024", same=("itk", "nib")
    ),
}
"""Header, affine, what the note says, and which programs read the file alike."""


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD.keys())
def test_an_odd_header(
    odd: tuple[dict[str, object], NDArray, tuple[str, ...], tuple[str, ...]], tmp_path: Path
) -> None:
    header, expected, said, same = odd
    path = nifti_file(tmp_path / "odd.nii", **header)
    array, native = load_array(path)
    tolerance = 1e-5 * np.abs(expected).max()
    np.testing.assert_allclose(native.affine, expected, atol=tolerance)
    if "itk" in same:
        np.testing.assert_allclose(itk_affine(path), expected, atol=tolerance)
    if "nib" in same:
        np.testing.assert_allclose(nib.load(path).affine, expected, atol=tolerance)
    note = the_note(path)
    for words in said:
        assert words in note
    np.testing.assert_array_equal(array, smooth_array(SHAPE))
    assert read_layout(path).notes == (note,)


ODD_READ = {name: header for name, (header, *_) in ODD.items() if not name.startswith("sheared") or "template" in name}


@pytest.mark.parametrize("header", ODD_READ.values(), ids=ODD_READ.keys())
def test_what_is_written_on_an_odd_grid_is_read_alike(header: dict[str, object], tmp_path: Path) -> None:
    ants = pytest.importorskip("ants")
    image = read_image(nifti_file(tmp_path / "odd.nii", **header))
    write_image(image, tmp_path / "image.nii.gz")
    write_itk_field(torch.zeros(3, *image.grid.shape), image.grid, tmp_path / "field.nii.gz", like=image)
    expected, shape = image.native.affine, image.native.shape
    tolerance = 1e-3 * max(1.0, float(image.grid.spacing.max()))
    for name in ("image.nii.gz", "field.nii.gz"):
        path = tmp_path / name
        loaded = nib.load(path)
        for read in (loaded.affine, loaded.get_sform(), loaded.get_qform(), itk_affine(path)):
            assert farthest(read, expected, shape) < tolerance
        assert loaded.header.get_xyzt_units()[0] == "mm"
    read = ants.image_read(str(tmp_path / "image.nii.gz"))
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = read.direction * np.array(read.spacing), read.origin
    assert farthest(np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine, expected, shape) < tolerance
    assert load_array(tmp_path / "image.nii.gz")[1].notes == () or "unusual" in the_note(tmp_path / "image.nii.gz")


def test_the_rule_of_itk(tmp_path: Path) -> None:
    """Over pairs of forms and their codes, the affine that ITK is said to read is the one that SimpleITK reads."""
    flipped = STRAIGHT @ np.diag([-1.0, 1.0, 1.0, 1.0])
    near = moved(OBLIQUE, 3e-5, 0, 0)
    forms = [STRAIGHT, OBLIQUE, near, larger(STRAIGHT), sheared(STRAIGHT), flipped, np.zeros((4, 4))]
    path = tmp_path / "a.nii"
    for qform in (STRAIGHT, OBLIQUE, near, flipped):
        nifti_file(path, qform=qform)
        for sform, codes, units in itertools.product(forms, itertools.product((0, 1, 2, 4), (0, 1, 2)), (1, 2, 3)):
            patched(path, sform=sform[:3], sform_code=codes[0], qform_code=codes[1], units=units)
            try:
                read = itk_affine(path)
            except RuntimeError:
                read = None
            ours = _Nifti(file_header(nib.load(path)), "a").itk()
            assert (ours is None) == (read is None)
            if ours is not None:
                np.testing.assert_allclose(ours, read, rtol=1e-4, atol=1e-6 * np.abs(read).max())


REFUSED = {
    "zero sform": ({"sform": np.zeros((3, 4)), "sform_code": 1}, r"its sform \(code 1\) is singular"),
    "NaN sform": ({"sform": np.full((3, 4), np.nan), "sform_code": 1}, r"its sform \(code 1\) is not finite"),
    "NaN quaternion": ({"qform": OBLIQUE, "quatern": [np.nan] * 3}, r"its qform \(code 1\) is not finite"),
    "infinite offset": ({"qform": OBLIQUE, "qoffset": [np.inf, 0, 0]}, r"its qform \(code 1\) is not finite"),
    "both bad": (
        {"sform": np.zeros((3, 4)), "qform": OBLIQUE, "sform_code": 1, "quatern": [np.nan] * 3},
        r"its sform \(code 1\) is singular and its qform \(code 1\) is not finite",
    ),
    "long quaternion": ({"qform": OBLIQUE, "quatern": [0.8, 0.8, 0.8]}, "quaternion"),
}


@pytest.mark.parametrize(("header", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_a_frame_that_cannot_be_used(header: dict[str, object], message: str, tmp_path: Path) -> None:
    path = nifti_file(tmp_path / "bad.nii", **header)
    with pytest.raises(UserError, match=f"bad.nii: where its voxels lie is unknown, .*{message}"):
        load_array(path)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("slope", "intercept"), [(1, 0), (0.5, -1024), (2, 0), (0, 0), (np.nan, np.nan), (-1, 10)], ids=str
)
def test_stored_numbers(order: str, slope: float, intercept: float, tmp_path: Path) -> None:
    stored = np.arange(210, dtype=np.int16).reshape(SHAPE) - 100
    header = nib.Nifti1Header(endianness=order)
    header.set_data_dtype(np.dtype(np.int16).newbyteorder(order))
    header.set_data_shape(SHAPE)
    header.set_sform(OBLIQUE, 1)
    header.set_qform(OBLIQUE, 1)
    header.set_xyzt_units("mm")
    header["scl_slope"], header["scl_inter"], header["vox_offset"], header["magic"] = slope, intercept, 352, b"n+1"
    path = tmp_path / "a.nii"
    path.write_bytes(header.binaryblock + bytes(4) + stored.astype(f"{order}i2").tobytes(order="F"))
    array, native = load_array(path)
    # nifti1.h: a slope of 0 means that the numbers are not scaled.
    expected = stored if slope == 0 or np.isnan(slope) else stored * slope + intercept
    np.testing.assert_allclose(array, expected)
    np.testing.assert_allclose(native.affine, OBLIQUE, atol=1e-5)
    assert native.notes == ()
    if np.isfinite(slope):
        image = sitk.ReadImage(str(path))
        np.testing.assert_allclose(sitk.GetArrayFromImage(image).transpose(2, 1, 0), expected)


def analyze(folder: Path, kind: type = nib.AnalyzeImage) -> Path:
    """The header of an Analyze pair."""
    image = kind(np.arange(210, dtype=np.int16).reshape(SHAPE), np.diag([-1.5, 2.0, 0.8, 1.0]))
    image.to_filename(folder / "a.hdr")
    return folder / "a.hdr"


def test_analyze_has_itks_frame(tmp_path: Path) -> None:
    path = analyze(tmp_path)
    for name in (path, path.with_suffix(".img")):
        array, native = load_array(name)
        np.testing.assert_allclose(native.affine, LPS, atol=1e-6)
        np.testing.assert_allclose(native.affine, itk_affine(name), atol=1e-6)
        read = sitk.GetArrayFromImage(sitk.ReadImage(str(name))).transpose(2, 1, 0)
        np.testing.assert_array_equal(array, read)
        assert "Analyze format" in the_note(name) and "in nibabel" in the_note(name)
    patched(path, pixdim=[0, 0, 2, 0.8])
    np.testing.assert_allclose(load_array(path)[1].affine, itk_affine(path), atol=1e-6)
    assert "taken as 1 x 2 x 0.8 mm" in the_note(path)


def test_analyze_with_the_mat_file_of_spm(tmp_path: Path) -> None:
    path = tmp_path / "a.hdr"
    nib.Spm99AnalyzeImage(smooth_array(SHAPE), OBLIQUE).to_filename(path)
    assert path.with_suffix(".mat").is_file()
    np.testing.assert_allclose(load_array(path)[1].affine, OBLIQUE, atol=1e-5)
    assert ".mat file" in the_note(path) and "in ITK, ANTs and Slicer" in the_note(path)


def test_a_nifti_pair_of_two_files(tmp_path: Path) -> None:
    nib.Nifti1Pair(smooth_array(SHAPE), OBLIQUE).to_filename(tmp_path / "a.hdr")
    patched(tmp_path / "a.hdr", qform_code=1, qoffset=OBLIQUE[:3, 3] + (12, 0, 0))
    np.testing.assert_allclose(load_array(tmp_path / "a.img")[1].affine, FAR, atol=1e-4)
    assert "up to 12 mm apart" in the_note(tmp_path / "a.img")


def test_images_in_memory_are_decided_alike(tmp_path: Path) -> None:
    path = nifti_file(tmp_path / "odd.nii", sform=OBLIQUE, qform=FAR, sform_code=2)
    image = nib.load(path)
    volume = volume_of(image, "fixed")
    np.testing.assert_allclose(volume.native.affine, FAR, atol=1e-5)
    assert volume.native.notes[0].startswith("fixed: ") and "12 mm apart" in volume.native.notes[0]
    # SimpleITK has decided by itself before we see the image.
    np.testing.assert_allclose(volume_of(sitk.ReadImage(str(path)), "fixed").native.affine, FAR, atol=1e-5)
    torchio = pytest.importorskip("torchio")
    np.testing.assert_allclose(volume_of(torchio.ScalarImage(path), "fixed").native.affine, FAR, atol=1e-5)
    # An affine that was given in memory is what its author means.
    own = nib.Nifti1Image(smooth_array(SHAPE), OBLIQUE)
    assert nibabel_layout(own, "own").notes == ()
    own.affine[:3, 3] += 5
    np.testing.assert_allclose(nibabel_layout(own, "own").affine, moved(OBLIQUE, 5, 5, 5))


def test_a_shear_of_rounding_is_removed(tmp_path: Path) -> None:
    affine = OBLIQUE.copy()
    affine[:3, :3] = np.round(affine[:3, :3], 3)
    path = nifti_file(tmp_path / "rounded.nii", sform=affine)
    native = load_array(path)[1]
    assert "right angles" in native.notes[-1]
    assert 0 < farthest(native.affine, affine, SHAPE) < 0.02
    write_image(read_image(path), tmp_path / "out.nii.gz")
    np.testing.assert_allclose(itk_affine(tmp_path / "out.nii.gz"), native.affine, atol=1e-5)


def test_other_formats_of_nibabel_have_their_own_frame(tmp_path: Path) -> None:
    nib.save(nib.MGHImage(smooth_array(SHAPE), OBLIQUE), tmp_path / "a.mgz")
    native = load_array(tmp_path / "a.mgz")[1]
    np.testing.assert_allclose(native.affine, OBLIQUE, atol=1e-4)
    assert native.notes == ()


def test_compressed_files_are_read_alike(tmp_path: Path) -> None:
    path = nifti_file(tmp_path / "odd.nii", sform=OBLIQUE, pixdim=[1, 0, 2, 0.8])
    image = nib.load(path)
    nib.save(nib.Nifti1Image(smooth_array(SHAPE), OBLIQUE), tmp_path / "odd.nii.gz")
    import gzip

    with open(path, "rb") as plain, gzip.open(tmp_path / "odd.nii.gz", "wb") as packed:
        shutil.copyfileobj(plain, packed)
    assert file_header(nib.load(tmp_path / "odd.nii.gz"))["pixdim"][1] == 0
    assert image.header["pixdim"][1] == 1  # nibabel has mended it
    assert "0 x 2 x 0.8" in the_note(tmp_path / "odd.nii.gz")


def test_a_mask_of_an_odd_image_lies_on_it(tmp_path: Path) -> None:
    header = {"sform": OBLIQUE, "qform": FAR, "sform_code": 2}
    image = read_image(nifti_file(tmp_path / "image.nii", **header))
    mask = read_image(nifti_file(tmp_path / "mask.nii", **header))
    assert isinstance(mask, Volume) and mask.grid.same_as(image.grid)
    # ... and one that was drawn in a program of ITK, which writes the frame that it has read.
    sitk.WriteImage(sitk.ReadImage(str(tmp_path / "image.nii")), str(tmp_path / "drawn.nii.gz"))
    assert read_image(tmp_path / "drawn.nii.gz").grid.same_as(image.grid)


def test_an_image_in_memory_without_an_affine() -> None:
    image = nib.Nifti1Image(smooth_array(SHAPE), None)
    image.header.set_zooms(SIZES)
    native = nibabel_layout(image, "fixed")
    np.testing.assert_allclose(native.affine, LPS, atol=1e-6)
    assert native.notes[0].startswith("fixed: it has no sform and no qform")
