"""Linear transforms of FreeSurfer, against nitransforms, nibabel's volume geometry and the published rule."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from headers import oblique_affine
from wavy import an_affine

from mmreg_lightning.errors import UserError
from mmreg_lightning.geometry.native import NativeGrid
from mmreg_lightning.io.lta import read_lta, write_lta

FIXED = NativeGrid((11, 8, 13), oblique_affine())
MOVING = NativeGrid((10, 12, 7), np.array([[0, 0, -2.0, 40], [-1.5, 0, 0, 20], [0, 3, 0, -10], [0, 0, 0, 1]]))
VOXELS = """# transform file
type      = 0 # LINEAR_VOX_TO_VOX
nxforms   = 1
mean      = 0.0000 0.0000 0.0000
sigma     = 1.0000
1 4 4
1.0 0.0 0.0 2.0
0.0 1.0 0.0 -1.0
0.0 0.0 1.0 4.0
0.0 0.0 0.0 1.0
src volume info
valid = 1  # volume info valid
filename = moving.mgz
volume = 256 256 256
voxelsize = 1.0 1.0 1.0
xras   = -1.0 0.0 0.0
yras   = 0.0 0.0 -1.0
zras   = 0.0 1.0 0.0
cras   = 5.0 -6.0 7.0
dst volume info
valid = 1  # volume info valid
filename = fixed.mgz
volume = 100 120 80
voxelsize = 2.0 2.0 3.0
xras   = 1.0 0.0 0.0
yras   = 0.0 1.0 0.0
zras   = 0.0 0.0 1.0
cras   = 0.0 0.0 0.0
subject fsaverage
fscale 0.1
"""


def test_what_we_write_others_read_and_we_read_back(tmp_path: Path) -> None:
    path = tmp_path / "a.lta"
    write_lta(an_affine(), FIXED, MOVING, ("fixed.nii.gz", "moving.nii.gz"), path)
    np.testing.assert_allclose(read_lta(path), an_affine(), atol=1e-9)
    io = pytest.importorskip("nitransforms.io.lta", reason="nitransforms is in the extra dev")
    loaded = io.FSLinearTransform.from_filename(str(path))
    np.testing.assert_allclose(loaded.to_ras(), an_affine(), atol=1e-4)  # it reads single precision
    for name, native in (("src", MOVING), ("dst", FIXED)):
        geometry = io.VolumeGeometry(loaded.structarr[name]).as_affine()
        np.testing.assert_allclose(geometry, native.affine, atol=1e-4)


def test_voxels_to_voxels_by_the_published_rule(tmp_path: Path) -> None:
    (tmp_path / "v.lta").write_text(VOXELS)
    header = nib.freesurfer.mghformat.MGHHeader()  # nibabel computes the affine from FreeSurfer's geometry, too
    header.set_data_shape((256, 256, 256))
    header["Mdc"], header["Pxyz_c"] = [[-1, 0, 0], [0, 0, -1], [0, 1, 0]], [5, -6, 7]
    source = header.get_affine()
    target = np.diag([2.0, 2, 3, 1])
    target[:3, 3] = -target[:3, :3] @ [50, 60, 40]
    voxels = np.eye(4)
    voxels[:3, 3] = [2, -1, 4]
    np.testing.assert_allclose(np.linalg.inv(read_lta(tmp_path / "v.lta")), target @ voxels @ np.linalg.inv(source))
    io = pytest.importorskip("nitransforms.io.lta", reason="nitransforms is in the extra dev")
    theirs = io.FSLinearTransform.from_filename(tmp_path / "v.lta").to_ras()
    np.testing.assert_allclose(read_lta(tmp_path / "v.lta"), theirs, atol=1e-3)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("type      = 0", "type      = 14", "type 14; it must be one of type 0"),
        ("nxforms   = 1", "nxforms   = 2", "holds 2 transforms"),
        ("valid = 1", "valid = 0", "lacks the geometry"),
        ("0.0 0.0 1.0 4.0", "0.0 0.0 0.0 4.0", "no inverse"),
        ("1 4 4", "1 4 3", "is not a transform of FreeSurfer"),
        ("dst volume info", "", "is not a transform of FreeSurfer"),
    ],
)
def test_files_that_cannot_be_used(old: str, new: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "bad.lta").write_text(VOXELS.replace(old, new))
    with pytest.raises(UserError, match=f"bad.lta.*{message}"):
        read_lta(tmp_path / "bad.lta")
