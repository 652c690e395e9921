from __future__ import annotations

from pathlib import Path
from unittest.mock import create_autospec

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import WandbLogger

from mmreg_lightning.training.callbacks import PairPictures, validation_picture
from mmreg_lightning.training.module import DescentModule


@pytest.fixture
def module(checkpoint: Path) -> DescentModule:
    module = DescentModule.load_from_checkpoint(checkpoint, map_location="cpu", weights_only=True).eval()
    module.solver.iterations = [2, 2, 2]
    return module


def batch() -> dict:
    torch.manual_seed(0)
    labels = torch.zeros(1, 1, 32, 32, 32, dtype=torch.long)
    labels[..., 8:20, 8:20, 8:20] = 1
    image = torch.rand(1, 1, 32, 32, 32)
    return {
        "name": ["0002_to_0001"],
        "fixed": image,
        "moving": image.roll(2, dims=2),
        "fixed_labels": labels,
        "moving_labels": labels.roll(2, dims=2),
        "inside": torch.ones_like(image),
    }


class Pairs(torch.utils.data.Dataset):
    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> dict:
        return {name: value[0] for name, value in batch().items()}


def test_the_first_pair_of_a_validation_is_drawn(module: DescentModule, tmp_path: Path) -> None:
    logger = create_autospec(WandbLogger, instance=True)
    trainer = pl.Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
        default_root_dir=tmp_path,
    )
    trainer.loggers = [logger]
    callback = PairPictures()
    for index in range(2):
        callback.on_validation_batch_end(trainer, module, None, batch(), index)
    written = sorted(path.name for path in (tmp_path / "pictures").iterdir())
    assert written == ["features_000000.png", "registration_000000.png"]
    assert [call.args for call in logger.log_image.call_args_list] == [
        ("val/registration", [str(tmp_path / "pictures" / "registration_000000.png")]),
        ("val/features", [str(tmp_path / "pictures" / "features_000000.png")]),
    ]


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # Lightning's use of torch
def test_it_runs_within_a_trainer_without_wandb(module: DescentModule, tmp_path: Path) -> None:
    trainer = pl.Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
        default_root_dir=tmp_path,
        callbacks=[PairPictures()],
        limit_val_batches=1,
    )
    trainer.validate(module, torch.utils.data.DataLoader(Pairs()), verbose=False)
    assert len(list((tmp_path / "pictures").glob("*.png"))) == 2


def test_the_picture_is_of_the_modules_own_registration(module: DescentModule) -> None:
    data = batch()
    picture = validation_picture(module, data)
    u = module.register(data["fixed"], data["moving"], data["inside"]).displacement
    assert torch.allclose(picture.displacement, u[0] * 3.0, atol=1e-4)  # spacing 3 mm
    assert picture.fixed_features.shape == (module.features.channels, 16, 16, 16)
    assert list(picture.feature_spacing) == [6.0, 6.0, 6.0]


def test_another_module_is_refused(tmp_path: Path) -> None:
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_checkpointing=False)
    with pytest.raises(TypeError, match="DescentModule"):
        PairPictures().on_validation_batch_end(trainer, pl.LightningModule(), None, batch(), 0)
