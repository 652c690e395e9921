"""NRRD and MetaImage are read as NIfTI files of the same image are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
import torch

from mmreg_lightning.errors import UserError
from mmreg_lightning.io.images import read_image, read_labels, write_image

Save = Callable[..., Path]


@pytest.fixture
def image(oblique: np.ndarray) -> sitk.Image:
    """16-bit, oblique, unequal spacing."""
    array = np.random.default_rng(0).integers(-900, 2000, (13, 8, 11)).astype(np.int16)
    out = sitk.GetImageFromArray(array)
    out.SetSpacing((1.5, 2.0, 0.8))
    a = np.deg2rad(20)
    out.SetDirection((np.cos(a), -np.sin(a), 0, np.sin(a), np.cos(a), 0, 0, 0, 1))
    out.SetOrigin((-12.0, 30.0, 7.0))
    return out


@pytest.mark.parametrize("kind", ["nrrd", "mha", "mhd"])
def test_every_format_is_the_same_image(kind: str, image: sitk.Image, tmp_path: Path) -> None:
    sitk.WriteImage(image, str(tmp_path / "image.nii.gz"))
    expected = read_image(tmp_path / "image.nii.gz")
    path = tmp_path / f"image.{kind}"
    sitk.WriteImage(image, str(path))
    got = read_image(path)
    assert torch.equal(got.data, expected.data)
    np.testing.assert_allclose(got.grid.affine, expected.grid.affine, atol=1e-4)
    assert got.stored is not None and got.stored.kind == "i"


def test_a_warped_image_keeps_its_number_type(image: sitk.Image, tmp_path: Path) -> None:
    for name, kind in (("u1", np.uint8), ("i2", np.int16), ("u2", np.uint16), ("f4", np.float32), ("f8", np.float64)):
        path = tmp_path / f"{name}.nrrd"
        copy = sitk.GetImageFromArray(sitk.GetArrayFromImage(image).clip(0, 200).astype(kind))
        copy.CopyInformation(image)
        sitk.WriteImage(copy, str(path))
        volume = read_image(path)
        # Interpolation leaves fractions, and values beyond what the type holds.
        volume.data.add_(0.4)
        volume.data[0, 0, 0, :2] = torch.tensor([-3.0, 1e6])
        write_image(volume, tmp_path / "out.nii.gz", dtype=volume.stored)
        out = sitk.ReadImage(str(tmp_path / "out.nii.gz"))
        assert sitk.GetArrayFromImage(out).dtype == kind
        again = read_image(tmp_path / "out.nii.gz").data
        if kind in (np.float32, np.float64):
            assert torch.equal(again, volume.data)
        else:
            limits = np.iinfo(kind)
            assert torch.equal(again, volume.data.round().clamp(limits.min, limits.max))


def segmentation(image: sitk.Image, *names: str) -> sitk.Image:
    """With the header of 3D Slicer's .seg.nrrd."""
    for number, name in enumerate(names):
        image.SetMetaData(f"Segment{number}_ID", f"Segment_{number}")
        image.SetMetaData(f"Segment{number}_Name", name)
        image.SetMetaData(f"Segment{number}_LabelValue", str(number + 1))
        image.SetMetaData(f"Segment{number}_Layer", str(number % image.GetNumberOfComponentsPerPixel()))
    return image


def test_a_segmentation_of_slicer(image: sitk.Image, tmp_path: Path) -> None:
    one = segmentation(sitk.Cast(image > 0, sitk.sitkUInt8), "liver", "spleen")
    sitk.WriteImage(one, str(tmp_path / "one.seg.nrrd"))
    got = read_labels(tmp_path / "one.seg.nrrd").native.from_canonical(read_labels(tmp_path / "one.seg.nrrd").data[0])
    np.testing.assert_array_equal(np.asarray(got), sitk.GetArrayFromImage(image).transpose(2, 1, 0) > 0)
    layers = segmentation(sitk.Compose(one, one), "liver", "tumour")
    sitk.WriteImage(layers, str(tmp_path / "two.seg.nrrd"))
    with pytest.raises(UserError, match=r"two\.seg\.nrrd holds 2 segments in 2 layers, .* \(liver, tumour\): "):
        read_labels(tmp_path / "two.seg.nrrd")


def test_files_that_are_no_scalar_image(image: sitk.Image, tmp_path: Path) -> None:
    (tmp_path / "broken.nrrd").write_text("NRRD0004\nnonsense")
    sitk.WriteImage(sitk.Image([4, 4, 4, 2], sitk.sitkFloat32), str(tmp_path / "series.mha"))
    sitk.WriteImage(sitk.Image([4, 4, 4], sitk.sitkVectorUInt8, 3), str(tmp_path / "colour.nrrd"))
    for name, expected in {
        "broken.nrrd": "not an image that ITK can read",
        "series.mha": r"must be a 3-D image, but its shape is \(4, 4, 4, 2\)",
        "colour.nrrd": r"must be a 3-D image, but its shape is \(4, 4, 4, 3\)",
        "missing.mha": "there is no file",
    }.items():
        with pytest.raises(UserError, match=expected):
            read_labels(tmp_path / name)
