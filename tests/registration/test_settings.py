from __future__ import annotations

from pathlib import Path

import pytest

from mmreg_lightning.errors import UserError
from mmreg_lightning.registration.families import family_of_config
from mmreg_lightning.registration.settings import Options, resolve, solver_config


@pytest.mark.parametrize("trained", [False, True], ids=["MIND-SSC", "checkpoint"])
def test_overrides_are_the_same_with_and_without_a_checkpoint(trained: bool, checkpoint: Path) -> None:
    overrides = ["solver.iterations=[3,2,1]", "descent.step.alpha=0.125", "solver.step.max_step=0.5"]
    settings = resolve(Options(checkpoint if trained else None, overrides=overrides))
    assert settings.solver.iterations == [3, 2, 1]
    assert settings.solver.step.alpha == 0.125
    assert settings.solver.step.max_step == 0.5
    assert settings.solver_config["step"]["alpha"] == 0.125


def test_a_whole_part_can_be_replaced() -> None:
    target = "mmreg_lightning.descent.regularisers.GaussianRegulariser"
    text = f"solver.step.regulariser={{_target_: {target}, sigma_update: 2.5, sigma_field: 0}}"
    assert resolve(Options(overrides=[text])).solver.step.regulariser.sigma_update == 2.5


@pytest.mark.parametrize(
    "override", ["solver.x=1", "x", "solver=1", "data.root=1", "descent.unrolled_steps=1", "solver.levels.0=1"]
)
def test_an_override_of_nothing_is_refused(override: str) -> None:
    with pytest.raises(UserError, match=f"^overrides={override}: "):
        resolve(Options(overrides=[override]))


@pytest.mark.parametrize("value", ["1", "{alpha: 0.2}", "null"])
@pytest.mark.parametrize("group", ["solver.step", "descent.step.regulariser"])
def test_a_group_is_not_replaced_by_a_value(group: str, value: str) -> None:
    with pytest.raises(UserError, match=rf"^overrides={group}=.*: {group} is a group, set one of .*sigma_field"):
        resolve(Options(overrides=[f"{group}={value}"]))


@pytest.mark.parametrize("override", ["solver.levels=[1", "solver.iterations=many", "descent.step.alpha=-1"])
def test_a_value_that_cannot_be_is_refused_in_one_line(override: str) -> None:
    with pytest.raises(UserError) as error:
        resolve(Options(overrides=[override]))
    assert "\n" not in str(error.value)


def test_modalities_and_spacing_of_the_checkpoint(checkpoint: Path) -> None:
    settings = resolve(Options(checkpoint))
    assert (settings.fixed_modality, settings.moving_modality, settings.spacing) == ("MR", "CT", 3.0)
    assert settings.label_names == {1: "spleen", 7: "aorta"}
    swapped = resolve(Options(checkpoint, fixed_modality="CT", moving_modality="MR", spacing=2.0))
    assert (swapped.fixed_modality, swapped.moving_modality, swapped.spacing) == ("CT", "MR", 2.0)
    # There is a recipe for US, but the network has no stem for it.
    with pytest.raises(UserError, match="moving_modality=US: the checkpoint knows only CT, MR"):
        resolve(Options(checkpoint, moving_modality="US"))


def test_mind_ssc_has_a_step_of_its_own(checkpoint: Path) -> None:
    step = resolve(Options()).solver.step
    assert (step.alpha, step.regulariser.sigma_field) == (0.4, 1.0)
    step = resolve(Options(solver="demons", overrides=["solver.step.alpha=0.3"])).solver.step
    assert (step.alpha, step.regulariser.sigma_field) == (0.3, 1.0)
    shipped = solver_config("demons", family_of_config("mind_ssc"))["step"]
    assert resolve(Options(checkpoint)).solver_config["step"] == shipped
    assert shipped["alpha"] != 0.4


@pytest.mark.parametrize("spacing", [0.0, -1.0, float("nan"), float("inf")])
def test_spacing_must_be_a_length(spacing: float) -> None:
    with pytest.raises(UserError, match="spacing="):
        resolve(Options(spacing=spacing))


def test_unknown_solver() -> None:
    with pytest.raises(UserError, match="solver=magic: must be one of .*demons"):
        resolve(Options(solver="magic"))


def test_a_named_solver_takes_the_step_of_the_checkpoint(checkpoint: Path) -> None:
    named, stored = resolve(Options(checkpoint, solver="demons")), resolve(Options(checkpoint))
    assert named.solver_config["step"] == stored.solver_config["step"]


@pytest.mark.parametrize("content", [None, b"", b"no checkpoint", b"PK\x03\x04 cut short"])
def test_a_checkpoint_that_is_none(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "x.ckpt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"checkpoint=.*x\.ckpt: ") as error:
        resolve(Options(path))
    assert "\n" not in str(error.value)
