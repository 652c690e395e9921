"""Where the voxels of a NIfTI, Analyze or other nibabel image lie, and what is assumed where its header is odd.

The frame is the one that ITK (so SimpleITK, ANTs, elastix and 3D Slicer) reads from the file, because a displacement
field in world coordinates is used in these programs beside the file itself. Where ITK would put a guess in the place
of what the header states, that is taken instead. docs/odd-files.md lists the cases.

Sources: the NIfTI-1 standard (nifti1.h, "3D image orientation and location in space"), and of ITK 5.2 and later
``NiftiImageIO::SetImageIOOrientationFromNIfTI``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import nibabel as nib
import numpy as np
from nibabel.analyze import AnalyzeHeader
from nibabel.spatialimages import SpatialImage
from numpy.typing import NDArray

from mmreg_lightning.errors import UserError
from mmreg_lightning.geometry.frames import RAS_TO_LPS
from mmreg_lightning.geometry.grid import Grid, is_invertible
from mmreg_lightning.geometry.native import NativeGrid
from mmreg_lightning.geometry.rigid import farthest, is_nearly_rigid, is_rigid, without_shear

Affine = NDArray[np.float64]
Shape = tuple[int, int, int]
ITK_PROGRAMS = "ITK, ANTs and Slicer"
_UNITS = {1: ("metre", 1000.0), 3: ("micron", 0.001)}  # NIFTI_UNITS_METER, NIFTI_UNITS_MICRON
_SCANNER = 1  # NIFTI_XFORM_SCANNER_ANAT
_ITK_SCALES = 1e-3  # of pixdim against the columns of the sform
_ITK_SIMILAR = 1e-4  # up to it ITK takes the sform for the more precise form of the qform
_SEEN = 0.01  # voxels: readers that differ by less agree
_USUAL = (0.005, 100.0)  # mm: voxels of other sizes are hardly of a patient


def nibabel_layout(image: SpatialImage, name: str, header: Any = None) -> NativeGrid:
    """The layout of a nibabel image, with a note where readers of the file differ or something is assumed.

    Args:
        image: (X, Y, Z, ...).
        name: of the image in notes and messages.
        header: as it is in the file (``file_header``), where nibabel has mended that of ``image``; None is an image in
            memory, whose affine counts where it is not that of its header.

    Raises:
        UserError: the header states a frame that cannot be used, and no other one.
    """
    i, j, k = image.shape[:3]
    shape = (i, j, k)
    stated = image.header if header is None else header
    own = image.affine
    if own is None:
        own = image.header.get_best_affine() if isinstance(stated, AnalyzeHeader) else np.full((4, 4), np.nan)
    affine = np.asarray(own, dtype=np.float64)
    if not isinstance(stated, AnalyzeHeader):
        return NativeGrid(shape, affine)
    of_header = np.allclose(affine, image.header.get_best_affine(), equal_nan=True)
    if header is None and not of_header:
        return NativeGrid(shape, affine)
    if isinstance(stated, nib.Nifti1Header):
        return _Nifti(stated, name).layout(affine, shape)
    return _analyze(stated, None if of_header else affine, affine, shape, name)


def file_header(image: SpatialImage) -> Any:
    """The header in the file of a loaded image, without what ``nibabel.load`` mends; None for formats without such."""
    if not isinstance(image.header, AnalyzeHeader):
        return None
    holder = image.file_map.get("header", image.file_map["image"])
    with holder.get_prepare_fileobj("rb") as stream:
        return type(image.header).from_fileobj(stream, check=False)


def settled_layout(native: NativeGrid, name: str) -> NativeGrid:
    """Check a layout, and remove a shear that is a matter of rounding: it would keep ITK from reading what is written.

    Raises:
        UserError: the affine is singular or not finite.
    """
    if not is_invertible(native.affine):
        raise UserError(f"{name} has a singular affine {native.affine.tolist()}")
    grid = Grid(native.shape, native.affine)
    if is_rigid(grid.affine) or not is_nearly_rigid(grid):
        return native
    rigid = without_shear(grid).affine
    away = farthest(rigid, grid.affine, grid.shape)
    note = f"{name}: its axes are not quite at right angles, and are made so, which moves no voxel by more than "
    return NativeGrid(native.shape, rigid, (*native.notes, f"{note}{away:.2g} mm."))


def frame_note(
    name: str, reasons: list[str], affine: Affine, others: Mapping[str, Affine | None], shape: Shape
) -> tuple[str, ...]:
    """One sentence about a file whose frame is odd, or nothing.

    Args:
        name: of the file.
        reasons: what is odd, and what is done about it; clauses.
        affine: 4x4 that is used, world RAS mm.
        others: what programs read instead, by their names; None where they cannot read the file.
        shape: of the image.
    """
    seen = _SEEN * float(np.linalg.norm(affine[:3, :3], axis=0).min())
    elsewhere = []
    for programs, other in others.items():
        if other is None or not np.isfinite(other).all():
            elsewhere.append(f"cannot be read in {programs}")
        elif (away := farthest(affine, other, shape)) > seen:
            elsewhere.append(f"lies up to {away:.4g} mm from it in {programs}")
    clauses = list(reasons)
    if elsewhere:
        clauses.append(f"what is written has the frame used, but the file itself {' and '.join(elsewhere)}")
    return (f"{name}: {'; '.join(clauses)}.",) if clauses else ()


def unusual_sizes(sizes: NDArray[np.float64]) -> list[str]:
    """A clause about voxels that are hardly of a patient, if they are."""
    if _USUAL[0] <= sizes.min() and sizes.max() <= _USUAL[1]:
        return []
    return [f"its voxels of {times(sizes)} mm are of an unusual size, so check its unit"]


def times(values: NDArray[np.floating]) -> str:
    """Numbers as in "2 x 3 x 4"."""
    return " x ".join(f"{value:.4g}" for value in values)


def _no_frame(sizes: NDArray[np.float64]) -> Affine:
    """ITK's frame for voxels whose place nobody states: axes to L, P, S from the origin."""
    return RAS_TO_LPS @ np.diag([*sizes, 1.0])


def _mend(pixdim: NDArray[np.float64]) -> NDArray[np.float64]:
    """Voxel sizes (3,) > 0: without a sign, and 1 where there is no number, as nibabel and ITK have it."""
    return np.where(np.isfinite(pixdim) & (pixdim != 0), np.abs(pixdim), 1.0)


def _analyze(header: AnalyzeHeader, own: Affine | None, nibabel: Affine, shape: Shape, name: str) -> NativeGrid:
    """Analyze has no frame; ``own`` is that of SPM's .mat file where there is one, ``nibabel`` what nibabel reads."""
    pixdim = np.asarray(header["pixdim"][1:4], dtype=np.float64)
    sizes = _mend(pixdim)
    others = {ITK_PROGRAMS: _no_frame(np.where(pixdim < 0, -sizes, sizes)), "nibabel": nibabel}
    if own is not None:
        reasons = ["it is of the Analyze format, and its frame is that of the .mat file beside it"]
        return NativeGrid(shape, own, frame_note(name, reasons, own, others, shape))
    reasons = ["it is of the Analyze format, which has no frame, so its axes are taken for L, P, S from the origin"]
    reasons += [] if (pixdim == sizes).all() else [f"its pixdim of {times(pixdim)} is taken as {times(sizes)} mm"]
    reasons += unusual_sizes(sizes)
    affine = _no_frame(sizes)
    return NativeGrid(shape, affine, frame_note(name, reasons, affine, others, shape))


class _Nifti:
    """What a NIfTI header states, in mm.

    Attributes:
        sizes: (3,) voxel sizes of pixdim, mended.
        sform, qform: 4x4 RAS; None where the code is 0 or the numbers cannot be used.
        reasons: what is odd so far.
    """

    def __init__(self, header: nib.Nifti1Header, name: str) -> None:
        self.name = name
        self.codes = max(int(header["sform_code"]), 0), max(int(header["qform_code"]), 0)
        unit, scale = _UNITS.get(int(header["xyzt_units"]) & 7, ("", 1.0))
        self.reasons = [f"its unit is {unit}, and is converted to mm"] if unit else []
        pixdim = np.asarray(header["pixdim"], dtype=np.float64)
        mended = _mend(pixdim[1:4])
        self.bad_sizes = bool((pixdim[1:4] != mended).any())
        self.sizes = scale * mended
        self.itk_sizes = np.where(pixdim[1:4] < 0, -self.sizes, self.sizes)
        to_mm = np.array([[scale], [scale], [scale], [1.0]])
        stored = np.eye(4)
        stored[:3] = [header[f"srow_{axis}"] for axis in "xyz"]
        self.stored_sform = to_mm * stored
        self.stored_qform = to_mm * _of_quaternion(header, mended, np.nan)
        self.itk_qform = to_mm * _of_quaternion(header, mended, 0.0)
        usable = []
        for form, matrix, code in zip(
            ("sform", "qform"), (self.stored_sform, self.stored_qform), self.codes, strict=True
        ):
            usable.append(matrix if code and is_invertible(matrix) else None)
            if code and usable[-1] is None:
                bad = "singular" if np.isfinite(matrix).all() else "not finite"
                self.reasons.append(f"its {form} (code {code}) is {bad}")
        self.sform, self.qform = usable
        if self.bad_sizes and self.sform is not None:
            self.qform = None  # its sizes are those of pixdim
            self.reasons.append(f"its pixdim of {times(pixdim[1:4])} is no size, so the sform alone counts")
        elif self.bad_sizes:
            self.reasons.append(f"its pixdim of {times(pixdim[1:4])} is taken as {times(mended)}")
        intercept = float(header["scl_inter"])
        if header["scl_slope"] == 0 and np.isfinite(intercept) and intercept != 0:
            self.reasons.append(f"its slope is 0, so its intercept of {intercept:g} does not count, but in ITK it does")
        if unit != "micron":
            self.reasons += unusual_sizes(self.sizes)

    def layout(self, nibabel: Affine, shape: Shape) -> NativeGrid:
        """The layout; ``nibabel`` is the affine that nibabel reads."""
        affine, reasons = self._decide(shape)
        others = {ITK_PROGRAMS: self.itk(), "nibabel": nibabel}
        return NativeGrid(shape, affine, frame_note(self.name, reasons, affine, others, shape))

    def itk(self) -> Affine | None:
        """The affine that ITK reads, None where it refuses: directions and place of a form, but pixdim's sizes."""
        if not any(self.codes):
            return _no_frame(self.itk_sizes)
        sform = self.stored_sform
        takes_sform = self.codes[0] and is_invertible(sform) and is_rigid(sform) and self._itk_prefers() == "sform"
        if not takes_sform and (self.codes[1] == 0 or self.codes[0] and not np.isfinite(sform).all()):
            return None
        read = np.array(sform if takes_sform else self.itk_qform)
        read[:3, :3] *= self.itk_sizes / np.linalg.norm(read[:3, :3], axis=0)
        return read

    def _itk_prefers(self) -> Literal["sform", "qform"]:
        """ITK's choice for a rigid sform."""
        sform, qform = np.array(self.stored_sform), np.array(self.itk_qform)
        if all(np.count_nonzero(form[:3, :3]) == 3 and form[:3, :3].diagonal().all() for form in (sform, qform)):
            # Its comparison by singular vectors is blind to flips along the axes.
            sform[:3, :3], qform[:3, :3] = np.abs(sform[:3, :3]), np.abs(qform[:3, :3])
        similar = np.abs(sform - qform).max() <= _ITK_SIMILAR
        return "sform" if self.codes[1] == 0 or self.codes[0] == _SCANNER or similar else "qform"

    def _decide(self, shape: Shape) -> tuple[Affine, list[str]]:
        sform, qform, reasons = self.sform, self.qform, list(self.reasons)
        if sform is None and qform is None:
            if any(self.codes):
                raise UserError(f"{self.name}: where its voxels lie is unknown, because {' and '.join(reasons)}")
            reasons.append("it has no sform and no qform, so its axes are taken for L, P, S from the origin")
            return _no_frame(self.sizes), reasons
        if sform is None or qform is None:
            used = "qform" if sform is None else "sform"
            if not self.bad_sizes and all(self.codes):
                reasons.append(f"the {used} is used")
        else:
            used = self._preferred(sform, shape)
            apart = farthest(sform, qform, shape)
            if apart > _SEEN * self.sizes.min():
                reasons.append(
                    f"its sform (code {self.codes[0]}) and its qform (code {self.codes[1]}) lie up to {apart:.4g} mm "
                    f"apart, and the {used} is used"
                )
        if used == "qform" or sform is None:
            assert qform is not None
            return qform, reasons
        lengths = np.linalg.norm(sform[:3, :3], axis=0)
        if not is_rigid(sform):
            reasons.append("its sform is sheared")
            return sform, reasons
        if self.bad_sizes or np.abs(lengths / self.sizes - 1).max() <= _ITK_SCALES:
            return sform, reasons
        reasons.append(
            f"its sform has voxels of {times(lengths)} mm and its pixdim of {times(self.sizes)} mm, and pixdim is used"
        )
        sized = np.array(sform)
        sized[:3, :3] *= self.sizes / lengths
        return sized, reasons

    def _preferred(self, sform: Affine, shape: Shape) -> Literal["sform", "qform"]:
        """The one to take of two that can be used."""
        if is_rigid(sform):
            return self._itk_prefers()
        # A shear in the scanner's frame (a tilted gantry) is how the voxels lie, though ITK drops it; in another frame
        # it comes from an affine registration.
        sheared = self.codes[0] == _SCANNER and not is_nearly_rigid(Grid(shape, sform))
        return "sform" if sheared else "qform"


def _of_quaternion(header: nib.Nifti1Header, sizes: NDArray[np.float64], bad: float) -> Affine:
    """The qform of a header, 4x4, whatever its code; ``bad`` stands where a number is not finite (ITK: 0).

    qfac is -1 or else 1, and a quaternion that is too long is made a unit one.
    """
    numbers = np.array([header[f"quatern_{a}"] for a in "bcd"] + [header[f"qoffset_{a}"] for a in "xyz"], dtype=float)
    numbers = np.where(np.isfinite(numbers), numbers, bad)
    affine = np.eye(4)
    affine[:3, 3] = numbers[3:]
    if np.isnan(numbers[:3]).any():
        affine[:3, :3] = np.nan
    else:
        real = np.sqrt(max(1 - float(numbers[:3] @ numbers[:3]), 0.0))
        rotation = nib.quaternions.quat2mat([real, *numbers[:3]])
        affine[:3, :3] = rotation * sizes * (1, 1, -1 if header["pixdim"][0] < 0 else 1)
    return affine
