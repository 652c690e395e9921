"""The methods of a benchmark, on the pairs of a data set."""

from __future__ import annotations

import shutil

import nibabel as nib
import numpy as np

from mmreg_lightning.benchmark.plan import make_method
from mmreg_lightning.data.learn2reg import Learn2RegDataset
from mmreg_lightning.registration.families import family_of_config
from mmreg_lightning.solvers.demons import DemonsSolver


def test_masks_of_a_data_set_reach_the_solver(phantom, tmp_path, monkeypatch):
    root = shutil.copytree(phantom, tmp_path / "copy")
    (root / "masksTr").mkdir()
    for number, axis in ((0, 0), (1, 1)):
        name = f"PhantomMRCT_0004_{number:04d}.nii.gz"
        image = nib.load(root / "imagesTr" / name)
        mask = np.zeros(image.shape, np.uint8)
        mask[(slice(None),) * axis + (slice(14),)] = 1
        nib.save(nib.Nifti1Image(mask, image.affine), root / "masksTr" / name)
    seen = {}
    solve = DemonsSolver.__call__

    def solver(self, fixed, moving, weight=None, progress=None, moving_weight=None):
        seen.update(weight=weight, moving_weight=moving_weight)
        return solve(self, fixed, moving, weight, progress, moving_weight=moving_weight)

    monkeypatch.setattr(DemonsSolver, "__call__", solver)
    family = family_of_config("intensity", spacing=12.0)
    options = {"overrides": ["solver.iterations=1"], "space": {}}
    method = make_method(family, "demons", options, {})
    for data, masked in ((phantom, False), (root, True)):
        pair = Learn2RegDataset.read(data).pairs["val"][0]
        method(pair, pair.read(), {})
        assert (seen["moving_weight"] is not None) is masked
    for key, axis in (("weight", 2), ("moving_weight", 3)):
        along = seen[key].amax(dim=[d for d in range(5) if d != axis])
        assert along[1:6].min() == 1 and along[-4:].max() == 0
