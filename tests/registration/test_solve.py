"""Features of a pair in memory, and the solver's displacement on the fixed image's grid."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
import yaml
from numpy.typing import NDArray
from scenes import STRAIGHT, Clock, ConstantSolver, files_of, image_of, register_to, translation
from scipy.spatial.transform import Rotation

from mmreg_lightning.confidence.cues import CUES
from mmreg_lightning.data.pair import Pair
from mmreg_lightning.errors import UserError
from mmreg_lightning.features.mind import MindFeatures
from mmreg_lightning.geometry.frames import transform_points
from mmreg_lightning.geometry.grid import Grid
from mmreg_lightning.geometry.world_transforms import FieldTransform, map_points
from mmreg_lightning.registration.settings import Options, Settings, resolve
from mmreg_lightning.registration.solve import Stopwatch, extract, solution_cues, solve
from mmreg_lightning.solvers.demons import DemonsSolver

HEADER = np.diag([2.0, 2.0, 2.0, 1.0])


def settings_of(**options: Any) -> Settings:
    """Intensity as features, of blocks of two working voxels; CT is windowed to -160 to 240."""
    given = {
        "features": "intensity",
        "fixed_modality": "CT",
        "moving_modality": "CT",
        "spacing": 2.0,
        "affine": "none",
        **options,
    }
    return resolve(Options(**given))


def noise(shape: tuple[int, int, int] = (16, 16, 16), seed: int = 0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).uniform(-160, 240, shape)


def block_means(array: NDArray[np.float64]) -> NDArray[np.float64]:
    i, j, k = (n // 2 for n in array.shape)
    return array.reshape(i, 2, j, 2, k, 2).mean(axis=(1, 3, 5))


def test_a_stopwatch_adds_up_and_leaves_out_what_was_between(clock: Clock) -> None:
    watch = Stopwatch()
    for seconds in (3.0, 4.0):
        with watch.stage("solver"):
            clock.now += seconds
    with pytest.raises(KeyError), watch.stage("write"):
        clock.now += 2.0
        raise KeyError("stopped")
    clock.now += 1.0  # in no stage
    assert watch.seconds == {"solver": 7.0, "write": 2.0} and watch.total() == 10.0
    clock.now += 1000.0
    later = Stopwatch(watch.seconds)
    clock.now += 0.5
    assert later.total() == 9.5, "the stages before and the time since"
    with later.stage("write"):
        clock.now += 1.0
    assert later.seconds == {"solver": 7.0, "write": 3.0} and watch.seconds["write"] == 2.0


def test_features_are_of_the_normalised_images_on_the_working_grid() -> None:
    arrays = noise(seed=0), noise(seed=1)
    maps = extract(Pair(*(image_of(array, HEADER) for array in arrays)), settings_of())
    assert maps.working.same_as(Grid((16, 16, 16), HEADER), tol=1e-6) and maps.fixed_grid.same_as(maps.working)
    for features, array in zip((maps.fixed, maps.moving), arrays, strict=True):
        np.testing.assert_allclose(features[0, 0], block_means((array + 160) / 400), atol=1e-5)
    assert maps.weight is None and maps.moving_weight is None, "everything is seen, and nothing masked"
    assert np.array_equal(maps.initial, np.eye(4))
    assert list(maps.seconds) == ["body_mask", "affine", "prepare", "features"]


def test_without_a_spacing_the_working_grid_has_that_of_the_fixed_image() -> None:
    header = np.diag([1.0, 2.0, 4.0, 1.0])
    maps = extract(Pair(image_of(noise(), header), image_of(noise(seed=1), HEADER)), settings_of(spacing=None))
    np.testing.assert_allclose(maps.working.spacing, 2.0)  # cube root of 8
    assert maps.working.shape == (8, 16, 32)


def test_the_moving_image_is_seen_under_the_initial_affine() -> None:
    array, away = noise(seed=1), translation(80, -60, 40)
    pair = Pair(image_of(noise(), HEADER), image_of(array, away @ HEADER))
    maps = extract(pair, settings_of(affine=away))
    np.testing.assert_allclose(maps.moving[0, 0], block_means((array + 160) / 400), atol=1e-4)
    assert maps.weight is None and np.array_equal(maps.initial, away)
    with pytest.raises(UserError, match="do not overlap"):
        extract(pair, settings_of())


def test_what_the_moving_image_does_not_show_is_not_trusted() -> None:
    half = image_of(noise((8, 16, 16), seed=1), HEADER)
    weight = extract(Pair(image_of(noise(), HEADER), half), settings_of()).weight
    assert weight is not None and weight.shape == (1, 1, 8, 8, 8)
    assert bool((weight[:, :, :4] == 1).all()) and bool((weight[:, :, 4:] == 0).all())


def test_masks_are_weights_each_of_its_own_image() -> None:
    masks = np.ones((16, 16, 16)), np.ones((16, 16, 16))
    masks[0][:3] = 0
    masks[1][:, :, 10:] = 0
    away = translation(80, -60, 40)
    pair = Pair(image_of(noise(), HEADER, masks[0]), image_of(noise(seed=1), away @ HEADER, masks[1]))
    maps = extract(pair, settings_of(affine=away))
    for weight, mask in zip((maps.weight, maps.moving_weight), masks, strict=True):
        assert weight is not None
        np.testing.assert_allclose(weight[0, 0], block_means(mask), atol=1e-4)


def test_the_masks_that_were_used_are_kept_on_the_grids_of_their_images() -> None:
    given = np.ones((12, 16, 16))
    given[:3] = 0
    padded = noise((16, 16, 20), seed=1)
    padded[:, :, 15:] = -1024
    pair = Pair(image_of(noise((12, 16, 16)), HEADER, given), image_of(padded, HEADER))
    kept = solve(extract(pair, settings_of(fixed_modality="CT", moving_modality="CT")), ConstantSolver()).masks
    assert kept.fixed is not None and kept.moving is not None
    assert kept.fixed.dtype == kept.moving.dtype == torch.bool, "a byte a voxel"
    assert np.array_equal(kept.fixed[0], given > 0)
    assert kept.moving.shape == (1, 16, 16, 20) and not kept.moving[..., 15:].any() and kept.moving[..., :15].any()
    whole = solve(extract(Pair(pair.moving, pair.moving), settings_of(body_mask=False)), ConstantSolver()).masks
    assert whole.fixed is None and whole.moving is None


def test_masks_with_nothing_in_common_are_named() -> None:
    left = np.zeros((16, 16, 16))
    left[:6] = 1
    pair = Pair(
        image_of(noise(), HEADER, left, path="f.nii.gz"), image_of(noise(), HEADER, left[::-1].copy(), path="m.nii.gz")
    )
    with pytest.raises(UserError) as error:
        extract(pair, settings_of())
    assert str(error.value) == "f.nii.gz and m.nii.gz: nothing of them lies where both images are seen"


@pytest.mark.parametrize("turned", [0.0, 20.0])
def test_a_constant_displacement_has_its_length_in_the_world(turned: float) -> None:
    header = np.diag([2.0, 3.0, 1.5, 1.0])
    header[:3, :3] = Rotation.from_euler("z", turned, degrees=True).as_matrix() @ header[:3, :3]
    initial = translation(10, 0, -4) @ np.diag([1.1, 1.0, 0.9, 1.0])
    pair = Pair(image_of(noise((24, 16, 32)), header), image_of(noise((24, 16, 32)), initial @ header))
    solver = ConstantSolver((1.0, -0.5, 0.25))
    found = solve(extract(pair, settings_of(affine=initial, spacing=3.0)), solver)
    along = Grid((24, 16, 32), header).direction
    shift = along @ np.array([6.0, -3.0, 1.5])  # mm: a feature voxel has two working voxels of 3 mm
    points = transform_points(header, np.random.default_rng(0).uniform(0, 15, (50, 3)))
    got = map_points(FieldTransform(found.displacement[0], pair.fixed.volume.grid), points)
    np.testing.assert_allclose(got, transform_points(initial, points + shift), atol=1e-3)
    assert np.array_equal(found.initial, initial)


def test_what_is_known_on_the_feature_grid() -> None:
    maps = extract(Pair(image_of(noise(), HEADER), image_of(noise(seed=1), HEADER)), settings_of())
    found = solve(maps, ConstantSolver((1.0, 0.0, -2.0)))
    np.testing.assert_allclose(found.feature_grid.spacing, 4.0)
    np.testing.assert_allclose(found.feature_grid.center, found.working.center)
    assert found.feature_grid.shape == tuple(found.feature_displacement.shape[2:]) == (8, 8, 8)
    np.testing.assert_allclose(found.deformation.mean(dim=(0, 2, 3, 4)), [2.0, 0.0, -4.0], atol=1e-5)
    moved = found.warped_features[0, 0, :-1, :, 2:]
    np.testing.assert_allclose(moved, maps.moving[0, 0, 1:, :, :-2], atol=1e-5)
    assert list(found.seconds) == ["body_mask", "affine", "prepare", "features", "solver", "resample_field"]


def test_the_solver_is_told_what_to_trust_there_and_back() -> None:
    mask = np.ones((16, 16, 16))
    mask[:4] = 0
    pair = Pair(image_of(noise(), HEADER, mask), image_of(noise(seed=1), HEADER, mask[::-1].copy()))
    maps, solver = extract(pair, settings_of()), ConstantSolver()
    told: list[tuple[int, int]] = []
    found = solve(maps, solver, lambda done, of: told.append((done, of)))
    solution_cues(found, maps, solver)
    there, back = solver.trusted
    assert there[0] is maps.weight and there[1] is maps.moving_weight and maps.weight is not None
    assert back[0] is maps.moving_weight and back[1] is maps.weight and maps.moving_weight is not None
    assert told == [(1, 1)]


def test_cues_of_a_way_back_that_does_not_lead_back() -> None:
    maps = extract(Pair(image_of(noise(), HEADER), image_of(noise(), HEADER)), settings_of())
    for length in (0.0, 1.5):
        solver = ConstantSolver((length, 0.0, 0.0))  # the same both ways
        cues = solution_cues(solve(maps, solver), maps, solver)
        inconsistency = cues.maps[0, CUES.index("inconsistency")].exp()
        expected = torch.full_like(inconsistency, max(2 * length, 1e-3))  # feature voxels
        torch.testing.assert_close(inconsistency, expected, rtol=1e-4, atol=1e-6)


def test_masks_keep_what_is_in_one_image_only_from_pulling(write_scene: Callable, tmp_path: Path) -> None:
    fixed, moving = write_scene("f"), write_scene("m", shift=(5, 0, 0))
    image = nib.load(moving.image)
    array = np.asarray(image.dataobj).copy()
    # The upper third has moved the other way, as a bed or an arm may.
    block = np.zeros(array.shape, bool)
    block[:, :, 20:] = True
    other = nib.load(write_scene("other", shift=(-9, 0, 0)).image)
    array[block] = np.asarray(other.dataobj)[block]
    nib.save(nib.Nifti1Image(array, image.affine), moving.image)
    nib.save(nib.Nifti1Image((~block).astype(np.uint8), image.affine), tmp_path / "mask.nii.gz")

    overrides = ["solver.iterations=40", "solver.step.regulariser.sigma_field=2.0"]

    def error(**masks: Path) -> float:
        files = files_of(fixed.image, moving.image, **masks)
        result = register_to(files, tmp_path / "out", overwrite=True, overrides=overrides)
        u = result.registration.displacement[0] * 3.0  # mm
        seen = (slice(8, 24), slice(8, 24), slice(14, 20))
        return float((u[(slice(None), *seen)] - torch.tensor([5.0, 0, 0]).view(3, 1, 1, 1)).norm(dim=0).mean())

    free = error()
    for masks in ({"moving_mask": tmp_path / "mask.nii.gz"}, {"fixed_mask": tmp_path / "mask.nii.gz"}):
        assert error(**masks) < 0.75 * free


@pytest.mark.parametrize(
    ("spoilt", "sentence"),
    [
        (DemonsSolver, "solver DemonsSolver: the displacement is not finite"),
        (MindFeatures, "features=mind_ssc: those of the fixed image are not finite"),
    ],
)
def test_nothing_is_written_of_what_is_not_finite(
    write_scene: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoilt: type, sentence: str
) -> None:
    call = spoilt.__call__ if spoilt is DemonsSolver else spoilt.forward
    name = "__call__" if spoilt is DemonsSolver else "forward"
    monkeypatch.setattr(spoilt, name, lambda *args, **kwargs: call(*args, **kwargs) * torch.nan)
    with pytest.raises(UserError, match=sentence):
        register_to(
            files_of(write_scene("f").image, write_scene("m").image),
            tmp_path / "out",
            overrides=["solver.iterations=1"],
        )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("solver", ["demons", "adam", "convex_adam"])
@pytest.mark.parametrize("slices", [20, 6])
def test_a_slab_against_a_volume(slices: int, solver: str, write_scene: Callable, tmp_path: Path) -> None:
    affine = np.array(STRAIGHT)
    affine[2, 3] += 3.0 * (16 - slices // 2)
    fixed, moving = write_scene("f", (32, 32, slices), affine), write_scene("m", shift=(4, -3, 2))
    files = files_of(fixed.image, moving.image, fixed.labels, moving.labels)
    overrides = [] if solver != "demons" else ["solver.iterations=40"]
    result = register_to(files, tmp_path / "out", solver=solver, overrides=overrides)
    before, after = result.scores.dice_before, result.scores.dice_after
    assert before is not None and after is not None and after["mean"] > before["mean"] + 0.03
    working = result.registration.working.shape[2]
    assert working == slices + -slices % 8
    thin = f"{fixed.image} is thin along K (RAS+ axes), its border is repeated there to compute features."
    coarsest, factor = (2, 1 if slices == 6 else 2) if solver == "convex_adam" else (4, 1 if slices == 6 else 2)
    short = (
        f"The features have only {working // 2} voxels along K (RAS+ axes), so the solver's coarsest level averages "
        f"{factor} of them instead of {coarsest}."
    )
    told = [note for note in result.notes if "padding" not in note]
    assert told == [thin, *([short] if factor < coarsest else [])]
    run = yaml.safe_load((tmp_path / "out" / "run.yaml").read_text(encoding="utf-8"))
    assert run["notes"] == result.notes
