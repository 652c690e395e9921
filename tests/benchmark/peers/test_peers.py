"""Every other package, through its adapter: a known shift of the world comes back in the field's own file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from mmreg_lightning.benchmark.peers.process import run_peer
from mmreg_lightning.benchmark.peers.registry import PEERS, peer_version

SHIFT_RAS = np.array([5.0, -8.0, 3.0])
"""Millimetres from the fixed to the moving image, different along the axes: flipped or swapped ones show."""
SHIFT_LPS = np.array([-5.0, 8.0, 3.0])
"""The same in the frame of ITK's fields."""
TOLERANCE_MM = 1.0
SETTINGS: dict[str, dict[str, Any]] = {
    "convexadam": {"grid_sp": 2, "disp_hw": 4, "grid_sp_adam": 1, "lambda_weight": 0.3},
    "ants_syn": {},
    "elastix": {"FinalGridSpacingInPhysicalUnits": 32, "MaximumNumberOfIterations": 60},
    "greedy": {},
}
"""What suits an image of 32 voxels of 3 mm; nothing of them knows the shift."""


def moved_header(source: Path, path: Path, axes: str) -> Path:
    """The same voxels, ``SHIFT_RAS`` further on in the world, in another axis order."""
    image = nib.load(source)
    affine = image.affine.copy()
    affine[:3, 3] += SHIFT_RAS
    moved = nib.Nifti1Image(np.asarray(image.dataobj), affine)
    order = nib.orientations.ornt_transform(
        nib.orientations.io_orientation(affine), nib.orientations.axcodes2ornt(axes)
    )
    nib.save(moved.as_reoriented(order), path)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("axes", [("RAS", "RAS"), ("PSR", "LPS")], ids="-".join)
@pytest.mark.parametrize("name", PEERS)
def test_a_shift_of_the_header_is_recovered(
    name: str, axes: tuple[str, str], write_scene: Callable, tmp_path: Path
) -> None:
    if peer_version(name) is None:
        pytest.skip(f"the package {PEERS[name].package} is not installed; it is in the extra peers")
    fixed = write_scene("fixed", axes=axes[0]).image
    moving = moved_header(write_scene("scene").image, tmp_path / "moving.nii.gz", axes[1])
    told = run_peer(name, fixed, moving, tmp_path / "field.nii.gz", SETTINGS[name], threads=1)
    assert told["seconds"] > 0 and told["peak_memory_mb"] > 10

    image, field = nib.load(fixed), nib.load(tmp_path / "field.nii.gz")
    assert [nib.aff2axcodes(nib.load(path).affine) for path in (fixed, moving)] == [tuple(name) for name in axes]
    assert field.header["intent_code"] == 1007 and field.shape == (*image.shape, 1, 3)
    np.testing.assert_allclose(field.affine, image.affine, atol=1e-3)
    body = np.asarray(image.dataobj) > 0
    vectors = np.asarray(field.dataobj)[..., 0, :][body]
    np.testing.assert_allclose(vectors.mean(axis=0), SHIFT_LPS, atol=TOLERANCE_MM)


def test_versions_are_those_of_the_registry_and_none_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    class Nobody:
        package = "no-such-package-anywhere"

    class Numbers:
        package = "numpy"

    monkeypatch.setitem(PEERS, "nobody", Nobody())
    monkeypatch.setitem(PEERS, "numbers", Numbers())
    assert peer_version("nobody") is None
    assert peer_version("numbers") == np.__version__
