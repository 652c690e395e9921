"""The data module of label maps, as the configuration builds it, and trainings from it."""

from __future__ import annotations

import shutil
import sys

import nibabel as nib
import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from mmreg_lightning.cli.train import entry
from mmreg_lightning.config import CONF_DIR, instantiate
from mmreg_lightning.errors import UserError
from mmreg_lightning.features.checkpoint import load_checkpoint
from mmreg_lightning.training.module import DescentModule


class Killed(BaseException):
    """What no command catches."""


ONLY_MAPS = ["data.sources.phantom=null", "data.sources.bodies=null", "data.patch_size=16"]


def build(*overrides, cache=None, experiment="generalist"):
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF_DIR)):
        config = compose("train", overrides=[f"experiment={experiment}", "output_dir=x", *ONLY_MAPS, *overrides])
    data = OmegaConf.to_container(config.data, resolve=True)
    return instantiate({**data, **({} if cache is None else {"cache_dir": str(cache)})})


@pytest.fixture
def call(tmp_path, monkeypatch, capsys, hydra_logging):
    """mmreg-train in this process; returns exit code, stdout and stderr."""
    tiny = [
        *("features=cnn", "features.width=8", "features.depth=1", "solver.iterations=1", "descent.levels=[2,1]"),
        *("data.samples_per_epoch=4", "data.val_pairs=1", "solver.levels=[2,1]", "callbacks.pictures=null"),
        *(
            "callbacks.steps.every_n_train_steps=2",
            "trainer.precision=32-true",
            "data.num_workers=0",
            "~features.widths",
        ),
    ]

    def run(*overrides, out="out"):
        own = ["experiment=generalist", f"hydra.run.dir={tmp_path / out}", f"data.cache_dir={tmp_path / 'cache'}"]
        monkeypatch.setattr(sys, "argv", ["mmreg-train", *own, *ONLY_MAPS, *tiny, *overrides])
        code = 0
        try:
            entry()
        except SystemExit as stop:
            code = stop.code
        return code, *capsys.readouterr()

    return run


def test_batches_and_validation_pairs(maps, tmp_path):
    data = build(
        f"data.maps={maps}", "data.samples_per_epoch=3", "data.num_workers=0", "data.val_pairs=2", cache=tmp_path
    )
    data.prepare_data()
    data.setup()
    batch = next(iter(data.train_dataloader()))
    assert batch["fixed"].shape == (1, 1, 16, 16, 16) and batch["displacement"].shape == (1, 3, 16, 16, 16)
    names = [pair["name"][0] for pair in data.val_dataloader()]
    assert len(names) == 2 and {name.partition("_")[0] for name in names} <= {"shapes", "maps"}
    assert data.modalities == ["MR", "CT"] and list(data.label_names) == list(range(1, 13))
    facts, words = data.facts()
    assert facts["sources"] == pytest.approx({"shapes": 0.4, "maps": 0.6})
    assert words.startswith("pairs made from label maps: 40% shapes, 60% maps")
    assert words.endswith(f"\n  2 label maps of {maps}") and facts["header_notes"] == []


def test_what_is_assumed_about_headers_is_told(tmp_path):
    image = nib.Nifti1Image(np.ones((8, 8, 8), np.uint8), np.eye(4))
    image.header["pixdim"][1:4] = 0  # no voxel size, and below no frame
    image.set_sform(None, code=0)
    image.set_qform(None, code=0)
    nib.save(image, tmp_path / "odd.nii")
    data = build(f"data.maps={tmp_path}", cache=tmp_path / "cache")
    facts, words = data.facts()
    assert len(facts["header_notes"]) >= 1 and "odd.nii" in facts["header_notes"][0]
    assert "about the headers of files" in words


def test_a_worker_makes_the_items_of_the_main_process(maps, tmp_path):
    items = []
    for workers in (0, 1):
        torch.manual_seed(5)
        data = build(f"data.maps={maps}", "data.samples_per_epoch=2", f"data.num_workers={workers}", cache=tmp_path)
        data.prepare_data()
        data.setup()
        items.append([batch["fixed"] for batch in data.train_dataloader()])
    torch.testing.assert_close(items[0], items[1], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["data.maps=/no/where"], "data.maps=/no/where: there is no such folder"),
        (["data.spacing=[1,2,3]"], "data.spacing="),
        (["data.modalities=[MR]"], "data.modalities="),
        (["data.modalities=[MR,PET]"], "data.normalisation has no recipe for the modality 'PET'"),
        (["data.patch_size=0"], "data.patch_size=0"),
        (["data.sources.shapes.zoom=[2,1]"], "data.sources.shapes.zoom="),
        (["data.views.noise=-1"], "data.views.noise=-1"),
    ],
)
def test_values_that_are_refused(overrides, sentence):
    with pytest.raises(UserError) as error:
        build(*overrides)
    assert str(error.value).startswith(sentence)


def test_the_weights_of_the_recipe_fit_into_5_megabytes_in_half_precision():
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF_DIR)):
        config = compose("train", overrides=["experiment=generalist"])
    features = instantiate(OmegaConf.to_container(config.features), modalities=["MR", "CT"])
    assert sum(weight.numel() for weight in features.parameters()) * 2 < 5e6
    assert {name for name in features.stem.branches} == {"all"} and features.bound == "sigmoid"


@pytest.mark.slow
def test_a_stopped_training_ends_with_the_weights_of_one_that_was_not(call, maps, tmp_path, monkeypatch):
    own = tmp_path / "own"
    shutil.copytree(maps, own)
    code, out, err = call(f"data.maps={own}", "trainer.max_steps=8")
    assert code == 0, err
    assert "pairs made from label maps: 40% shapes, 60% maps" in out
    assert sorted(file.name for file in (tmp_path / "out" / "steps").iterdir()) == [
        *("000002.ckpt", "000004.ckpt", "000006.ckpt", "000008.ckpt")
    ]
    model = load_checkpoint(tmp_path / "out" / "last.ckpt")
    assert model.modalities == ("MR", "CT") and model.features.bound == "sigmoid"
    again = [f"data.maps={own}", "trainer.max_steps=8", "ckpt_path=auto"]
    training_step = DescentModule.training_step

    def step_or_die(self, *batch):
        if self.global_step == 5:
            raise Killed
        return training_step(self, *batch)

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(DescentModule, "training_step", step_or_die)
        call(*again, out="parts")
    assert torch.load(tmp_path / "parts" / "last.ckpt", weights_only=True)["global_step"] == 4
    code, _, err = call(*again, out="parts")
    assert code == 0, err
    whole, parts = (
        torch.load(tmp_path / name / "last.ckpt", weights_only=True)["state_dict"] for name in ("out", "parts")
    )
    torch.testing.assert_close(parts, whole, rtol=0, atol=1e-6)
    (own / "a.nii.gz").unlink()
    code, _, err = call(f"data.maps={own}", "trainer.max_steps=9", "ckpt_path=auto")
    assert code == 2 and "other data" in err and "Traceback" not in err
