"""The alignment before the solver: what an option may name, and what the kinds find."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
import yaml
from numpy.typing import NDArray
from scenes import CENTER, QUICK, STRAIGHT, body, errors_mm, files_of, image_of, register_to, translation
from scipy.spatial.transform import Rotation

from mmreg_lightning.data.pair import Image, Pair
from mmreg_lightning.errors import UserError
from mmreg_lightning.features.intensity import IntensityFeatures
from mmreg_lightning.features.labels import LabelFeatures
from mmreg_lightning.functional.intensity import Recipe
from mmreg_lightning.geometry.frames import transform_points
from mmreg_lightning.geometry.grid import Grid
from mmreg_lightning.io.fsl import write_flirt_matrix
from mmreg_lightning.io.images import read_image
from mmreg_lightning.io.transforms import AffineFile, read_affine, write_affine
from mmreg_lightning.registration.initial_affine import (
    AFFINES,
    check_overlap,
    initial_affine,
    network_input,
    read_initial_affine,
)
from mmreg_lightning.registration.settings import Options, Settings, resolve

SIDE = 16
WINDOW: Recipe = {"kind": "window", "low": 0.0, "high": 100.0, "clip": False}


def settings_of(affine: str | NDArray[np.float64]) -> Settings:
    return resolve(Options(features="intensity", spacing=3.0, affine=affine))


def block(corner: tuple[int, int, int], affine: NDArray, shape: tuple[int, int, int] = (SIDE, SIDE, SIDE)) -> Image:
    """A bright cube of four voxels a side."""
    array = np.zeros(shape)
    array[tuple(slice(c, c + 4) for c in corner)] = 100.0
    return image_of(array, affine)


@pytest.mark.parametrize("name", AFFINES)
def test_a_kind_names_no_matrix(name: str) -> None:
    assert read_initial_affine(name) is None


def test_a_matrix_is_taken_as_it_is_and_one_of_a_file_comes_back(tmp_path: Path) -> None:
    turned = translation(5, -7, 11)
    turned[:3, :3] = 1.1 * Rotation.from_euler("z", 30, degrees=True).as_matrix()
    write_affine(turned, tmp_path / "turned.tfm")
    read = read_initial_affine(str(tmp_path / "turned.tfm"))
    assert isinstance(read, AffineFile) and np.allclose(read.matrix, turned, rtol=0, atol=1e-9)
    given = read_initial_affine(np.diag([1, 1, -1, 1]))
    assert given is not None and given.dtype == np.float64 and given.tolist() == np.diag([1.0, 1, -1, 1]).tolist()


@pytest.mark.parametrize(
    "matrix",
    [np.diag([1.0, 1, 0, 1]), np.eye(3), np.full((4, 4), np.nan), translation(3, 0, 0).T],
    ids=["flat", "3x3", "no numbers", "transposed"],
)
def test_a_matrix_that_is_none(matrix: NDArray[np.float64]) -> None:
    with pytest.raises(UserError) as error:
        read_initial_affine(matrix)
    wanted = "must be an invertible 4x4 matrix with the last row 0 0 0 1"
    assert str(error.value) == f"affine={matrix.tolist()}: {wanted}"
    with pytest.raises(UserError, match=r"^affine=\[\[1, 2\], \[3\]\]: must be an invertible 4x4 matrix"):
        read_initial_affine([[1, 2], [3]])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("nowhere.tfm", "there is no such file"),
        (
            "sideways",
            "must be one of auto, none, moments, rigid, similarity, affine, or a transform file",
        ),
    ],
)
def test_a_word_that_is_neither_a_kind_nor_a_file(name: str, expected: str) -> None:
    with pytest.raises(UserError) as error:
        read_initial_affine(name)
    assert str(error.value) == f"affine={name}: {expected}"


def test_none_trusts_the_headers_and_a_matrix_is_not_improved() -> None:
    pair = Pair(block((4, 4, 4), np.diag([2.0, 2, 2, 1])), block((8, 6, 2), np.diag([2.0, 2, 2, 1])))
    assert np.array_equal(initial_affine(pair, settings_of("none"), 3.0)[0], np.eye(4))
    matrix = translation(100, 0, 0)
    assert np.array_equal(initial_affine(pair, settings_of(matrix), 3.0)[0], matrix)


def test_moments_is_the_way_between_the_centres_of_mass_within_the_masks() -> None:
    fixed = block((4, 4, 4), np.diag([2.0, 2, 2, 1]))  # centre 5.5 voxels: 11 mm
    affine = translation(40, -30, 20) @ np.diag([3.0, 1, 2, 1])
    moving = block((2, 8, 10), affine, (20, 16, 18))  # centre (3.5, 9.5, 11.5) voxels: (50.5, -20.5, 43) mm
    expected = translation(39.5, -31.5, 32)
    np.testing.assert_allclose(initial_affine(Pair(fixed, moving), settings_of("moments"), 3.0)[0], expected, atol=1e-5)
    half = np.zeros((20, 16, 18))
    half[:3] = 1
    masked = image_of(moving.volume.data[0].numpy(), affine, half)
    np.testing.assert_allclose(
        initial_affine(Pair(fixed, masked), settings_of("moments"), 3.0)[0], translation(35, -31.5, 32), atol=1e-5
    )


def test_an_empty_image_has_no_centre_of_mass() -> None:
    empty = image_of(np.zeros((SIDE, SIDE, SIDE)), np.eye(4), path="empty.nii.gz")
    with pytest.raises(UserError, match=r"^empty\.nii\.gz has no centre of mass: it is empty within its intensity"):
        initial_affine(Pair(block((4, 4, 4), np.eye(4)), empty), settings_of("moments"), 3.0)


@pytest.mark.parametrize("kind", ["rigid", "similarity", "affine"])
def test_each_kind_finds_what_it_can_from_beyond_the_field_of_view(kind: str) -> None:
    truth = translation(*(CENTER + [300, 200, -400])) @ np.diag([1.05, 1.05, 1.05, 1]) @ translation(*-CENTER)
    found = initial_affine(Pair(body(np.eye(4)), body(truth)), settings_of(kind), 3.0)[0]
    scale, within, farthest = (1.05, 0.02, 0.0) if kind != "rigid" else (1.0, 1e-6, 0.05 * 30 * np.sqrt(3))
    assert np.linalg.det(found[:3, :3]) ** (1 / 3) == pytest.approx(scale, abs=within)
    assert errors_mm(found, truth).max() < farthest + 2.0  # mm; voxels of the features have 6


def test_what_a_mask_leaves_out_does_not_pull() -> None:
    fixed, mask = body(np.eye(4)), np.ones((32, 32, 32))
    mask[:, :, 20:] = 0
    truth = translation(6, -3, 0)
    moving = body(truth, mask)
    # Above the mask the body has moved the other way.
    moving.volume.data[0, :, :, 20:] = moving.volume.data[0].roll(-8, 0)[:, :, 20:]
    free = errors_mm(initial_affine(Pair(fixed, Image(moving.volume)), settings_of("rigid"), 3.0)[0], truth)
    masked = errors_mm(initial_affine(Pair(fixed, moving), settings_of("rigid"), 3.0)[0], truth)
    assert masked.max() < 0.5 < free.max()


def test_an_extractor_is_given_the_image_by_its_recipe_where_the_transform_points() -> None:
    array = np.random.default_rng(0).uniform(-50, 150, (32, 8, 8))
    image = image_of(array, np.diag([2.0, 2, 2, 1]))
    seen = network_input(image, image.volume.grid, WINDOW, IntensityFeatures(), translation(2, 0, 0))
    np.testing.assert_allclose(seen[0, 0, :-1], array[1:] / 100, atol=1e-5)
    np.testing.assert_allclose(seen[0, 0, -1], array.min() / 100, atol=1e-5)  # beyond the image: its darkest


def test_an_extractor_of_labels_is_given_the_labels() -> None:
    labels = np.random.default_rng(0).integers(0, 5, (8, 8, 8))
    image = image_of(np.zeros((8, 8, 8)), np.diag([2.0, 2, 2, 1]), labels=labels)
    seen = network_input(image, image.volume.grid, WINDOW, LabelFeatures([1, 2]), translation(0, 0, -4))
    assert torch.equal(seen[0, 0, :, :, 2:], torch.from_numpy(labels[:, :, :-2]))
    assert not seen[..., :2].any(), "background beyond the image"
    for path, name in (("ct.nii.gz", "ct.nii.gz"), (None, "an image")):
        bare = image_of(np.zeros((8, 8, 8)), np.eye(4), path=path)
        with pytest.raises(UserError, match=f"^{name}: features of the true labels need a label map$"):
            network_input(bare, image.volume.grid, WINDOW, LabelFeatures([1, 2]))


def test_images_side_by_side_have_nothing_in_common_before_they_are_aligned() -> None:
    fixed = image_of(np.zeros((8, 8, 8)), np.diag([2.0, 2, 2, 1]), path="f.nii.gz").volume
    moving = image_of(np.zeros((8, 8, 8)), translation(16, 0, 0) @ np.diag([2.0, 2, 2, 1])).volume
    with pytest.raises(UserError) as error:
        check_overlap(fixed, moving, np.eye(4))
    hint = "(affine=moments aligns their centres of mass)"
    assert str(error.value) == f"f.nii.gz and the moving image: their fields of view do not overlap {hint}"
    check_overlap(fixed, moving, translation(2, 0, 0))
    with pytest.raises(UserError, match="do not overlap"):
        check_overlap(fixed, moving, translation(-2, 0, 0))


def test_a_small_image_between_the_samples_of_a_large_one_is_not_missed() -> None:
    large = image_of(np.zeros((64, 64, 64)), np.diag([4.0, 4, 4, 1])).volume
    small = image_of(np.zeros((2, 2, 2)), translation(126, 126, 126)).volume
    assert large.grid.overlap_fraction(Grid(small.grid.shape, small.grid.affine)) == 0
    check_overlap(large, small, np.eye(4))
    check_overlap(small, large, np.eye(4))


def test_moments_bring_together_what_the_headers_place_apart(write_scene: Callable, tmp_path: Path) -> None:
    affine = np.array([[3.0, 0, 0, 255], [0, 3.0, 0, 160], [0, 0, 3.0, -450], [0, 0, 0, 1]])
    shift = (300, 200, -400)
    fixed, moving = write_scene("f"), write_scene("m", affine=affine, shift=shift)
    with pytest.raises(UserError, match="do not overlap"):
        register_to(files_of(fixed.image, moving.image), tmp_path / "out", affine="none")
    for name in ("f", "m"):
        (tmp_path / f"{name}.csv").write_text("15,15,15\n20,10,12\n")
    files = files_of(fixed.image, moving.image, fixed.labels, moving.labels, tmp_path / "f.csv", tmp_path / "m.csv")
    result = register_to(files, tmp_path / "out", affine="moments", overrides=QUICK)
    assert np.allclose(result.registration.initial[:3, 3], shift, atol=1.0)
    assert result.metrics["dice_before"]["mean"] == 0
    assert result.metrics["dice_after"]["mean"] > 0.95
    assert result.metrics["tre_mm_before"] == pytest.approx(np.linalg.norm(shift), abs=0.01)
    assert result.metrics["tre_mm_after"] < 1.5


def test_a_rotation_between_the_headers_is_found(write_scene: Callable, tmp_path: Path) -> None:
    fixed, moving = write_scene("f"), write_scene("m", (36, 36, 36), STRAIGHT)
    # The moving header is turned by 15 degrees about the body and shifted.
    turn = np.eye(4)
    turn[:3, :3] = Rotation.from_euler("xyz", [5, -8, 15], degrees=True).as_matrix()
    turn[:3, 3] = np.array([8, -6, 5]) + CENTER - turn[:3, :3] @ CENTER
    for path in (moving.image, moving.labels):
        image = nib.load(path)
        nib.save(nib.Nifti1Image(np.asarray(image.dataobj), turn @ image.affine), path)
    files = files_of(fixed.image, moving.image, fixed.labels, moving.labels)
    result = register_to(files, tmp_path / "out", affine="rigid", overrides=QUICK)
    points = CENTER + np.random.default_rng(0).uniform(-30, 30, (50, 3))
    errors = transform_points(result.registration.initial, points) - transform_points(turn, points)
    assert np.linalg.norm(errors, axis=1).max() < 2.0  # mm; voxels have 3
    assert result.metrics["dice_after"]["mean"] > 0.9 > result.metrics["dice_before"]["mean"] + 0.2


def test_an_affine_of_a_file_is_where_the_deformation_begins(write_scene: Callable, tmp_path: Path) -> None:
    matrix = translation(60, 40, -30)
    write_affine(matrix, tmp_path / "shift.tfm")
    fixed, moving = write_scene("f"), write_scene("m", affine=matrix @ STRAIGHT, shift=(60, 40, -30))
    files = files_of(fixed.image, moving.image)
    result = register_to(files, tmp_path / "out", affine=str(tmp_path / "shift.tfm"), overrides=QUICK)
    assert np.allclose(result.registration.initial, matrix, atol=1e-6)
    spread = result.registration.deformation.abs().max()
    assert spread < 1e-3  # voxels: nothing is left to do
    assert np.allclose(read_affine(tmp_path / "out" / "affine.tfm").matrix, matrix, atol=1e-6)
    run = yaml.safe_load((tmp_path / "out" / "run.yaml").read_text(encoding="utf-8"))
    assert run["inputs"]["affine"]["path"] == str(tmp_path / "shift.tfm")


def test_a_matrix_of_flirt_is_understood_with_both_images(write_scene: Callable, tmp_path: Path) -> None:
    matrix = translation(60, 40, -30)
    fixed, moving = write_scene("f", axes="PSR"), write_scene("m", affine=matrix @ STRAIGHT, shift=(60, 40, -30))
    layouts = [read_image(path).native for path in (fixed.image, moving.image)]
    write_flirt_matrix(matrix, layouts[0], layouts[1], tmp_path / "flirt.mat")
    files = files_of(fixed.image, moving.image)
    result = register_to(files, tmp_path / "out", affine=str(tmp_path / "flirt.mat"), overrides=QUICK)
    assert np.allclose(result.registration.initial, matrix, atol=1e-4)
    assert any("taken for one of FSL's FLIRT" in note for note in result.notes)
    run = yaml.safe_load((tmp_path / "out" / "run.yaml").read_text(encoding="utf-8"))
    assert run["inputs"]["affine"]["path"] == str(tmp_path / "flirt.mat") and run["notes"] == result.notes
    named = read_initial_affine(f"[fsl:{tmp_path / 'flirt.mat'},1]")
    assert isinstance(named, AffineFile) and named.notes == ()
    back = named.world(layouts[1], layouts[0], (None, None))
    np.testing.assert_allclose(back @ matrix, np.eye(4), atol=1e-4)
    pair = [tmp_path / "m.mha"]
    pair[0].write_bytes(b"")
    with pytest.raises(UserError, match="m.mha is not NIfTI"):
        named.world(layouts[0], layouts[1], (fixed.image, pair[0]))
