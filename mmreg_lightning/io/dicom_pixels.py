"""Values of DICOM frames: decoded, rescaled frame by frame, and without padding."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mmreg_lightning.errors import UserError

if TYPE_CHECKING:
    from pydicom import Dataset

Source = tuple[Path, int, "tuple[Dataset, ...]"]
"""File, index of the frame in it, and functional groups of the frame."""


def read_pixels(frames: Sequence[Source], name: str) -> tuple[NDArray[Any], list[str]]:
    """Values (X, Y, Z) of the frames in their order, and what was assumed.

    Each frame is scaled by its own slope and intercept, or by its lookup table (Modality LUT; PS3.3 C.11.1). Whole
    numbers stay whole: the result is of 8, 16 or 32 bits where every frame's are, else float32. Voxels of padding
    (PixelPaddingValue; PS3.3 C.7.5.1.1.2) get the smallest value of the others. Presentation (MONOCHROME1, windows)
    and real-world value maps change nothing.

    Raises:
        UserError: a frame cannot be decoded, or its scale cannot be used.
    """
    slices: list[NDArray[Any]] = [np.empty(0)] * len(frames)
    padding: list[NDArray[np.bool_] | None] = [None] * len(frames)
    numbered = sorted(enumerate(frames), key=lambda item: (str(item[1][0]), item[1][1]))
    for file, group in itertools.groupby(numbered, key=lambda item: item[1][0]):
        chosen = list(group)
        data = _open(file)
        planes = _decode(data, file, [index for _, (_, index, _) in chosen])
        for (slot, (_, _, groups)), plane in zip(chosen, planes, strict=True):
            if plane.ndim != 2:
                raise UserError(f"{file} has planes of shape {plane.shape}: it must have one value a voxel")
            padding[slot] = _padded(data, plane)
            slices[slot] = _scaled(plane, data, groups, file)
    # Slice by slice in memory, as they come: (Z, Y, X) seen as (X, Y, Z).
    kind = _common([plane.dtype for plane in slices])
    array = np.stack([plane.astype(kind, copy=False) for plane in slices]).transpose(2, 1, 0)
    if array.dtype == np.int32 and array.min() >= -(2**15) and array.max() < 2**15:
        array = array.astype(np.int16)
    return array, _fill_padding(array, padding, name)


def _open(file: Path) -> Dataset:
    """A whole data set; one without file meta information gets the transfer syntax that it was read with."""
    import pydicom
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    data = pydicom.dcmread(file, force=True)
    if "TransferSyntaxUID" not in data.file_meta:
        implicit, little = data.original_encoding
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        data.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
    return data


def _decode(data: Dataset, file: Path, indices: Sequence[int]) -> list[NDArray[Any]]:
    from pydicom.pixels.utils import iter_pixels

    try:
        return list(iter_pixels(data, indices=list(indices)))
    except (RuntimeError, NotImplementedError) as error:
        syntax = data.file_meta.TransferSyntaxUID
        if not syntax.is_compressed:
            raise UserError(f"the pixels of {file} cannot be read, or it is damaged") from error
        raise UserError(
            f"{file} is compressed as {syntax.name!r}, which none of the installed decoders can read, or it is "
            "damaged: pydicom takes others, such as pylibjpeg with pylibjpeg-libjpeg"
        ) from error
    except (AttributeError, ValueError, KeyError, IndexError) as error:
        raise UserError(f"the pixels of {file} cannot be read, or it is damaged") from error


def _scaled(plane: NDArray[Any], data: Dataset, groups: Sequence[Dataset], file: Path) -> NDArray[Any]:
    """A plane in the units of its header, in the smallest type that holds all that the file's could be."""
    from pydicom import Dataset
    from pydicom.pixels.processing import apply_modality_lut

    own = [item for group in groups for item in group.get("PixelValueTransformationSequence") or []]
    scale = own[0] if own else data
    if scale.get("ModalityLUTSequence"):
        return apply_modality_lut(plane, scale).astype(np.float32)
    numbers = [scale.get("RescaleSlope"), scale.get("RescaleIntercept")]
    slope, intercept = (float(default if n is None else n) for n, default in zip(numbers, (1, 0), strict=True))
    if not np.isfinite([slope, intercept]).all() or slope == 0:
        raise UserError(f"{file} has RescaleSlope {slope:g} and RescaleIntercept {intercept:g}, which are no scale")
    if plane.dtype.kind == "f":
        return (plane * slope + intercept).astype(np.float32)
    if (slope, intercept) == (1, 0):
        return plane.astype(plane.dtype.newbyteorder("="))
    both = Dataset()
    both.RescaleSlope, both.RescaleIntercept = slope, intercept
    values = apply_modality_lut(plane, both)
    whole = slope == round(slope) and intercept == round(intercept)
    return values.astype(np.int32 if whole and np.abs(values).max() < 2**31 else np.float32)


def _common(kinds: Sequence[np.dtype[Any]]) -> np.dtype[Any]:
    """The type that holds the values of all frames."""
    found = np.result_type(*kinds)
    # 32 unsigned bits beside signed ones, or beside fractions.
    return np.dtype(np.float32) if found.kind == "f" or found.itemsize > 4 else found


def _padded(data: Dataset, plane: NDArray[Any]) -> NDArray[np.bool_] | None:
    """Where a plane as it is stored is padding; None where nothing is."""
    if plane.dtype.kind == "f" or not isinstance(data.get("PixelPaddingValue"), int):
        return None
    # Some writers give the bits of a signed value as an unsigned one.
    first = np.array(data.PixelPaddingValue).astype(plane.dtype)
    last = first
    if isinstance(data.get("PixelPaddingRangeLimit"), int):
        last = np.array(data.PixelPaddingRangeLimit).astype(plane.dtype)
    found = (plane >= min(first, last)) & (plane <= max(first, last))
    return found if found.any() else None


def _fill_padding(array: NDArray[Any], padding: Sequence[NDArray[np.bool_] | None], name: str) -> list[str]:
    if all(plane is None for plane in padding):
        return []
    mask = np.zeros(array.shape, dtype=bool)
    for slot, plane in enumerate(padding):
        if plane is not None:
            mask[..., slot] = plane.T
    if mask.all():
        return []  # constant, which whoever wants an image refuses
    smallest = array[~mask].min()
    if (array[mask] == smallest).all():
        return []
    array[mask] = smallest
    return [
        f"{name}: {100 * mask.mean():.3g} % of its voxels are padding (PixelPaddingValue) and were set to the smallest "
        f"value of the others, {smallest:g}"
    ]
