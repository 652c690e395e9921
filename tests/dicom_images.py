"""DICOM files as scanners leave them, written by pydicom and highdicom."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, FileMetaDataset, dcmwrite
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

ROW, COLUMN = np.array([0.8, 0.6, 0.0]), np.array([-0.6, 0.8, 0.0])
"""LPS directions of the axes of ``slices``; the normal is S."""
ORIGIN, SPACING = np.array([-12.0, 30.0, 7.5]), (1.5, 2.0, 2.5)
"""LPS mm, and mm along rows, columns and slices."""


def stored_values(shape: tuple[int, int, int] = (9, 7, 6), seed: int = 0) -> NDArray[np.int16]:
    """(columns, rows, slices) of 12 bits."""
    return np.random.default_rng(seed).integers(0, 4096, shape).astype(np.int16)


def slices(stored: NDArray[np.int16], series: str = "1", **more: Any) -> list[Dataset]:
    """One data set a slice of ``stored`` (columns, rows, slices); ``more`` are elements of all of them."""
    return [_slice(stored[..., k], k, series, more) for k in range(stored.shape[2])]


def affine_lps(spacing: Sequence[float] = SPACING) -> NDArray[np.float64]:
    """Voxel (column, row, slice) to LPS mm."""
    affine = np.eye(4)
    affine[:3, :3] = np.stack([ROW, COLUMN, np.array([0.0, 0.0, 1.0])], axis=1) * spacing
    affine[:3, 3] = ORIGIN
    return affine


def save(
    folder: Path, datasets: Sequence[Dataset], name: Callable[[int], str] = lambda k: f"{(k * 7) % 31:02d}.dcm"
) -> Path:
    """Write the data sets into a folder; by default the order of the names is not that of the slices."""
    for k, data in enumerate(datasets):
        path = folder / name(k)
        path.parent.mkdir(parents=True, exist_ok=True)
        dcmwrite(path, data, enforce_file_format=True)
    return folder


def _slice(pixels: NDArray[np.int16], k: int, series: str, more: Mapping[str, Any]) -> Dataset:
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID = CTImageStorage
    data.SOPInstanceUID = generate_uid()
    data.SeriesInstanceUID = f"1.2.826.0.1.3680043.2.1125.{series}"
    data.StudyInstanceUID = "1.2.826.0.1.3680043.2.1125.99"
    data.FrameOfReferenceUID = "1.2.826.0.1.3680043.2.1125.98"
    data.PatientName, data.PatientID, data.PatientBirthDate, data.PatientSex = "Doe^Jane", "4711", "19700101", "F"
    data.StudyDate, data.StudyTime, data.StudyID, data.AccessionNumber = "20200101", "120000", "1", "1"
    data.ContentDate, data.ContentTime = "20200101", "120000"
    data.Manufacturer, data.ReferringPhysicianName = "", ""
    data.Modality, data.SeriesDescription = "CT", f"Series {series}"
    data.SeriesNumber, data.InstanceNumber, data.AcquisitionNumber = 1, k + 1, 1
    data.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    data.ImagePositionPatient = [round(float(x), 6) for x in ORIGIN + [0, 0, k * SPACING[2]]]
    data.ImageOrientationPatient = [*ROW.tolist(), *COLUMN.tolist()]
    data.PixelSpacing = [SPACING[1], SPACING[0]]
    data.SliceThickness = 9  # thick, overlapping slices: no distance
    data.RescaleSlope, data.RescaleIntercept, data.RescaleType = 1, -1024, "HU"
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.Columns, data.Rows = pixels.shape
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 12, 11, 0
    data.PixelData = np.ascontiguousarray(pixels.T).astype("<u2").tobytes()
    for keyword, value in more.items():
        setattr(data, keyword, value)
    return data
