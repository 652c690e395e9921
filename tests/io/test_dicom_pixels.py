"""Values of frames: number types, bits, padding, lookup tables and compression."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from dicom_images import save, slices, stored_values
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGBaseline8Bit, generate_uid

from mmreg_lightning.errors import UserError
from mmreg_lightning.io.dicom_pixels import read_pixels
from mmreg_lightning.io.images import load_array


def shipped(name: str) -> Path:
    path = get_testdata_file(name, download=False)
    assert path is not None
    return Path(path)


def values(path: Path) -> np.ndarray:
    array, _ = read_pixels([(path, 0, ())], str(path))
    return array[..., 0].T


@pytest.mark.parametrize(
    "name",
    [
        "CT_small.dcm",
        "MR_small.dcm",
        "MR_small_bigendian.dcm",
        "MR_small_RLE.dcm",
        "MR_small_implicit.dcm",
        "MR_small_jp2klossless.dcm",
        "MR_small_jpeg_ls_lossless.dcm",
        "JPEG2000.dcm",
        "JPEGLSNearLossless_16.dcm",
    ],
)
def test_real_files_are_what_simpleitk_reads(name: str) -> None:
    np.testing.assert_array_equal(values(shipped(name)), sitk.GetArrayFromImage(sitk.ReadImage(str(shipped(name))))[0])


def test_compressed_files_are_the_original() -> None:
    original = values(shipped("MR_small.dcm"))
    for name in ("MR_small_RLE.dcm", "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm"):
        np.testing.assert_array_equal(values(shipped(name)), original)


def test_lossless_jpeg_of_ct_and_mr(tmp_path: Path) -> None:
    """ITK writes process 14, first-order prediction: the commonest compression of archives."""
    stored = stored_values((32, 24, 1))
    image = sitk.GetImageFromArray(stored.transpose(2, 1, 0))
    writer = sitk.ImageFileWriter()
    writer.SetFileName(str(tmp_path / "a.dcm"))
    writer.UseCompressionOn()
    writer.SetCompressor("JPEG")
    writer.Execute(image)
    assert dcmread(tmp_path / "a.dcm").file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.4.70"
    np.testing.assert_array_equal(values(tmp_path / "a.dcm"), stored[..., 0].T)


def test_baseline_jpeg_of_eight_bits(tmp_path: Path) -> None:
    grey = (np.add.outer(np.arange(48), np.arange(64)) * 2).astype(np.uint8)
    packed = io.BytesIO()
    Image.fromarray(grey).save(packed, "JPEG", quality=90)
    data = slices(np.zeros((64, 48, 1), np.int16), RescaleIntercept=0, BitsAllocated=8, BitsStored=8, HighBit=7)[0]
    data.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    data.PixelData = encapsulate([packed.getvalue()])
    save(tmp_path, [data])
    got = values(tmp_path / "00.dcm")
    assert got.dtype == np.uint8
    np.testing.assert_allclose(got.astype(int), np.asarray(Image.open(packed)).astype(int), atol=1)


def test_what_no_decoder_reads_is_named() -> None:
    with pytest.raises(UserError, match=r"JPGExtended\.dcm is compressed as 'JPEG Extended .* none of the installed"):
        values(shipped("JPGExtended.dcm"))
    with pytest.raises(UserError, match=r"the pixels of .*MR_truncated\.dcm cannot be read, or it is damaged"):
        values(shipped("MR_truncated.dcm"))


@pytest.mark.parametrize("signed", [False, True])
def test_twelve_bits_in_sixteen(signed: bool, tmp_path: Path) -> None:
    """What lies in the other bits does not count (overlays once lay there)."""
    wanted = np.random.default_rng(0).integers(-2048, 2048, (8, 6, 3)) if signed else stored_values((8, 6, 3))
    datasets = slices((np.asarray(wanted) & 0xFFF).astype(np.int16), RescaleIntercept=0)
    for data in datasets:
        data.PixelRepresentation = int(signed)
        data.PixelData = (np.frombuffer(data.PixelData, "<u2") | 0x5000).tobytes()
    array, _ = load_array(save(tmp_path, datasets))
    np.testing.assert_array_equal(array, wanted)
    read = sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(tmp_path)))
    np.testing.assert_array_equal(array, sitk.GetArrayFromImage(read).transpose(2, 1, 0))


def test_padding_gets_the_smallest_value_of_the_rest(tmp_path: Path) -> None:
    stored = stored_values((8, 6, 3)).astype(np.int16)
    stored[:3, :, 1] = -2000
    for name, more in {
        "one": {"PixelPaddingValue": -2000},
        "range": {"PixelPaddingValue": -2500, "PixelPaddingRangeLimit": -1900},
    }.items():
        datasets = slices(stored, PixelRepresentation=1, BitsStored=16, HighBit=15, **more)
        array, native = load_array(save(tmp_path / name, datasets))
        kept = stored != -2000
        np.testing.assert_array_equal(array[kept], stored[kept] - 1024)
        smallest = stored[kept].min() - 1024
        assert (array[~kept] == smallest).all()
        (note,) = native.notes
        assert note.startswith(f"{tmp_path / name}: 12.5 % of its voxels are padding (PixelPaddingValue) ")
        assert note.endswith(f"the smallest value of the others, {smallest}")


def test_a_lookup_table_is_applied(tmp_path: Path) -> None:
    stored = stored_values((8, 6, 3)) % 64
    table = Dataset()
    table.LUTDescriptor, table.ModalityLUTType = [64, 0, 16], "US"
    table.LUTData = (np.arange(64) ** 2).astype("<u2").tobytes()
    datasets = slices(stored, ModalityLUTSequence=[table])
    for data in datasets:
        del data.RescaleSlope, data.RescaleIntercept
    array, _ = load_array(save(tmp_path, datasets))
    np.testing.assert_array_equal(array, stored.astype(np.float32) ** 2)


def test_counts_of_a_pet_are_in_the_units_of_its_header(tmp_path: Path) -> None:
    """Each slice has a slope of its own (PS3.3 C.8.9.4)."""
    stored = stored_values()
    datasets = slices(stored, Modality="PT", Units="BQML", RescaleIntercept=0)
    slopes = np.random.default_rng(0).uniform(0.1, 5, len(datasets)).round(5)
    for data, slope in zip(datasets, slopes.tolist(), strict=True):
        data.RescaleSlope = slope
    array, _ = load_array(save(tmp_path, datasets))
    np.testing.assert_allclose(array, stored * slopes, rtol=1e-6)


def test_floats_and_number_types(tmp_path: Path) -> None:
    stored = stored_values((8, 6, 3))
    floats = slices(stored)
    for k, data in enumerate(floats):
        del data.PixelData, data.BitsStored, data.HighBit, data.PixelRepresentation
        data.BitsAllocated, data.RescaleIntercept = 32, 0
        data.FloatPixelData = np.ascontiguousarray(stored[..., k].T / 7).astype("<f4").tobytes()
        data.SOPInstanceUID = generate_uid()
    array, _ = load_array(save(tmp_path / "float", floats))
    np.testing.assert_array_equal(array, (stored / 7).astype(np.float32))
    array, _ = load_array(save(tmp_path / "raw", slices(stored, RescaleIntercept=0)))
    assert array.dtype == np.uint16
    large, _ = load_array(save(tmp_path / "large", slices(stored, RescaleSlope=100)))
    assert large.dtype == np.int32
    np.testing.assert_array_equal(large, stored.astype(int) * 100 - 1024)


def test_a_slope_of_zero_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has RescaleSlope 0 and RescaleIntercept -1024, which are no scale"):
        load_array(save(tmp_path, slices(stored_values(), RescaleSlope=0)))
