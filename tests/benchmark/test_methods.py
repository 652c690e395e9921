"""A feature family with a solver as a benchmark's method."""

from __future__ import annotations

import shutil

import nibabel as nib
import numpy as np
import pytest
import torch

from mmreg_lightning.benchmark.methods import FeatureMethod
from mmreg_lightning.benchmark.plan import make_method
from mmreg_lightning.data.learn2reg import Learn2RegDataset
from mmreg_lightning.registration.families import family_of_config
from mmreg_lightning.solvers.demons import DemonsSolver


@pytest.fixture(scope="module")
def files(pairs_phantom):
    return Learn2RegDataset.read(pairs_phantom).pairs["test"][0]


@pytest.fixture
def method():
    overrides = ["solver.iterations=2", "solver.levels=[2,1]"]
    return make_method(family_of_config("mind_ssc"), "demons", {"overrides": overrides})


def test_name_and_space_are_of_family_and_solver(method):
    assert method.name == "mind_ssc+demons"
    assert list(method.space) == [
        "features.radius",
        "features.dilation",
        "solver.step.alpha",
        "solver.step.regulariser.sigma_field",
    ]


def test_a_setting_reaches_features_solver_and_grid(method, files):
    settings = method.settings(files, {"features.radius": 2, "solver.step.alpha": 0.3, "spacing": 10.0})
    assert settings.features.radius == 2 and settings.family.config["radius"] == 2
    assert settings.solver.step.alpha == 0.3 and settings.solver_config["step"]["alpha"] == 0.3
    assert (settings.spacing, settings.fixed_modality, settings.moving_modality) == (10.0, "MR", "CT")
    plain = method.settings(files, {})
    assert plain.features.radius == 1 and plain.solver.step.alpha == method.config["step"]["alpha"] != 0.3


def test_features_are_kept_for_all_settings_of_the_solver(method, files):
    pair, memo = files.read(), {}
    first = method(files, pair, {"solver.step.alpha": 0.1}, memo)
    (kept,) = memo.values()
    second = method(files, pair, {"solver.step.alpha": 0.4}, memo)
    assert list(memo.values()) == [kept] and first.peak_memory_mb is None
    assert not torch.equal(first.displacement, second.displacement)
    assert torch.equal(method(files, pair, {"solver.step.alpha": 0.4}).displacement, second.displacement)
    method(files, pair, {"features.radius": 2}, memo)
    assert len(memo) == 2


def test_seconds_are_by_stage_and_in_all(method, files):
    seconds = dict(method(files, files.read(), {}).seconds)
    total = seconds.pop("total")
    assert total == pytest.approx(sum(seconds.values())) and {"features", "solver"} <= set(seconds)
    assert FeatureMethod(method.family, "adam", {}, {"spacing": [1]}).name == "mind_ssc+adam"


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
    method = make_method(family, "demons", options)
    for data, masked in ((phantom, False), (root, True)):
        pair = Learn2RegDataset.read(data).pairs["val"][0]
        method(pair, pair.read(), {})
        assert (seen["moving_weight"] is not None) is masked
    for key, axis in (("weight", 2), ("moving_weight", 3)):
        along = seen[key].amax(dim=[d for d in range(5) if d != axis])
        assert along[1:6].min() == 1 and along[-4:].max() == 0
