"""The phantom against what it promises: anatomy, exact correspondence, layout, reproducibility."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from scipy import ndimage

from mmreg_lightning.cli import phantom as cli
from mmreg_lightning.errors import UserError
from mmreg_lightning.phantom.anatomy import Anatomy
from mmreg_lightning.phantom.dataset import NAME, dataset_description, write_phantom
from mmreg_lightning.phantom.displacement import KnownDisplacement, smallest_jacobian
from mmreg_lightning.phantom.layers import LABEL_IDS, LABELS
from mmreg_lightning.phantom.render_mr import random_contrast, slice_profiles
from mmreg_lightning.phantom.subject import PhantomSubject, make_subject

SIZE = (64, 54, 64)
SUBJECTS = 4


@cache
def subject(index: int, size: tuple[int, int, int] = SIZE, intra_displacement: float = 15.0) -> PhantomSubject:
    return make_subject(7, index, size, intra_displacement=intra_displacement)


def mean_dice(a: np.ndarray, b: np.ndarray) -> float:
    scores = [2 * np.sum((a == n) & (b == n)) / (np.sum(a == n) + np.sum(b == n)) for n in LABELS if n]
    return float(np.mean(scores))


def centroid(labels: np.ndarray, name: str) -> np.ndarray:
    return np.argwhere(labels == LABEL_IDS[name]).mean(axis=0)


def inside(labels: np.ndarray, name: str) -> np.ndarray:
    """The organ without its surface, where voxels are mixed with the neighbours."""
    return ndimage.binary_erosion(labels == LABEL_IDS[name])


@pytest.mark.parametrize("index", range(SUBJECTS))
def test_every_label_is_present_in_both_images(index: int) -> None:
    for labels in (subject(index).mr_labels, subject(index).ct_labels):
        assert set(np.unique(labels)) == set(range(15))


@pytest.mark.parametrize("index", range(SUBJECTS))
def test_organs_lie_where_a_radiologist_looks_for_them(index: int) -> None:
    labels = subject(index).ct_labels
    right, anterior, superior = (
        {name: centroid(labels, name)[axis] for name in LABEL_IDS if name != "background"} for axis in range(3)
    )
    for on_the_right, on_the_left in (
        ("liver", "spleen"),
        ("right kidney", "left kidney"),
        ("right psoas", "left psoas"),
        ("gall bladder", "stomach"),
        ("inferior vena cava", "aorta"),
    ):
        assert right[on_the_right] > right[on_the_left]
    assert max(anterior, key=lambda name: -anterior[name]) == "vertebral column"
    assert max(superior, key=lambda name: superior[name]) == "lungs"
    assert superior["right psoas"] < superior["right kidney"] < superior["liver"]
    assert anterior["stomach"] > anterior["left kidney"]


@pytest.mark.parametrize("index", range(SUBJECTS))
def test_ct_is_in_hounsfield_units(index: int) -> None:
    ct, labels = subject(index).ct, subject(index).ct_labels
    assert 40 < np.median(ct[inside(labels, "liver")]) < 125
    assert 35 < np.median(ct[inside(labels, "spleen")]) < 140
    assert np.median(ct[inside(labels, "lungs")]) < -700
    assert np.median(ct[labels == LABEL_IDS["vertebral column"]]) > 150
    assert -125 < np.median(ct[labels == LABEL_IDS["subcutaneous fat"]]) < -60
    assert 30 < np.median(ct[inside(labels, "left psoas")]) < 80
    assert abs(np.median(ct[:, -3:]) + 1000) < 20
    assert ct.min() >= -1024


@pytest.mark.parametrize("index", range(SUBJECTS))
def test_mr_is_a_magnitude_image(index: int) -> None:
    mr = subject(index).mr
    assert mr.min() >= 0
    assert 500 < np.percentile(mr, 99.5) < 2500
    # Rayleigh distributed noise in the air: its mean exceeds its standard deviation by sqrt(pi / (4 - pi)).
    air = mr[:, -3:]
    assert air.mean() / air.std() > 1.5


def test_mr_contrast_changes_order_between_subjects() -> None:
    contrasts = [random_contrast(np.random.default_rng(seed)) for seed in range(40)]
    for a, b in (("liver", "spleen"), ("fat", "stomach content"), ("muscle", "arterial blood")):
        brighter = sum(contrast[a] > contrast[b] for contrast in contrasts)
        assert 3 < brighter < 37


def test_partial_volume_lies_between_the_tissues() -> None:
    s = make_subject(3, 0, (48, 40, 48))
    edge = ndimage.binary_dilation(s.ct_labels == LABEL_IDS["lungs"]) & (s.ct_labels == LABEL_IDS["liver"])
    assert -600 < np.median(s.ct[edge]) < 40


def test_thick_slices_keep_a_constant_and_blur_one_axis() -> None:
    profile, back = slice_profiles(40, 2.0, 8.0)
    assert profile.shape == (10, 40)
    np.testing.assert_allclose(back @ profile @ np.ones(40), 1, atol=1e-5)
    step = back @ profile @ (np.arange(40) > 19).astype(float)
    assert np.sum((step > 0.1) & (step < 0.9)) >= 3
    np.testing.assert_array_equal(slice_profiles(40, 5.0, 5.0)[0], np.eye(40))


def test_subjects_differ_but_resemble_each_other() -> None:
    scores = [mean_dice(subject(a).mr_labels, subject((a + 1) % SUBJECTS).ct_labels) for a in range(SUBJECTS)]
    assert 0.3 < np.mean(scores) < 0.6


def test_same_seed_same_subject() -> None:
    again = make_subject(7, 1, SIZE)
    for field in ("mr", "ct", "mr_labels", "ct_labels", "displacement", "mr_landmarks", "ct_landmarks"):
        np.testing.assert_array_equal(getattr(again, field), getattr(subject(1), field))
    assert np.abs(make_subject(8, 1, SIZE).ct - subject(1).ct).mean() > 20


def test_grid_changes_the_sampling_and_not_the_anatomy() -> None:
    """With three times the spacing, coarse voxel i has its centre at that of fine voxel 3 i + 1."""
    fine = make_subject(2, 5, (72, 60, 72), 5.0)
    coarse = make_subject(2, 5, (24, 20, 24), 15.0)
    for name in ("ct_labels", "mr_labels"):
        assert np.mean(getattr(fine, name)[1::3, 1::3, 1::3] == getattr(coarse, name)) > 0.9999
    np.testing.assert_allclose(fine.displacement[:, 1::3, 1::3, 1::3] / 3, coarse.displacement, atol=1e-4)
    # The grids' outermost voxel centres differ, so a few landmarks at the border are in one image only.
    gaps = np.linalg.norm(fine.mr_landmarks[:, None] - (3 * coarse.mr_landmarks + 1)[None], axis=2).min(axis=1)
    assert np.sum(gaps < 1e-3) >= 90


def test_anisotropic_spacing() -> None:
    isotropic = make_subject(2, 5, (48, 40, 48), 8.0)
    thin = make_subject(2, 5, (48, 40, 144), (8.0, 8.0, 8.0 / 3))
    assert np.mean(thin.ct_labels[:, :, 1::3] == isotropic.ct_labels) > 0.9999
    np.testing.assert_allclose(np.diag(thin.affine), [8, 8, 8 / 3, 1])


def test_known_displacement_takes_the_ct_to_the_mr() -> None:
    s = subject(0, (96, 80, 96))
    grid = np.stack(np.meshgrid(*[np.arange(n) for n in s.ct.shape], indexing="ij"))
    warped = ndimage.map_coordinates(s.ct_labels, grid + s.displacement, order=0, mode="nearest")
    assert mean_dice(warped, s.mr_labels) > 0.9
    assert mean_dice(s.ct_labels, s.mr_labels) < 0.87


def test_landmarks_follow_the_known_displacement() -> None:
    s = subject(1)
    assert 60 <= len(s.mr_landmarks) <= 100
    at_points = np.stack([ndimage.map_coordinates(u, s.mr_landmarks.T, order=1) for u in s.displacement], axis=1)
    np.testing.assert_allclose(s.ct_landmarks, s.mr_landmarks + at_points, atol=0.06)
    assert np.linalg.norm((s.ct_landmarks - s.mr_landmarks) * 6.0, axis=1).max() > 5
    for points in (s.mr_landmarks, s.ct_landmarks):
        assert (points >= 0).all() and (points <= np.array(s.mr.shape) - 1).all()


def test_landmarks_in_a_narrow_field_of_view() -> None:
    assert len(make_subject(0, 0, (32, 32, 32), 4.0).mr_landmarks) >= 60


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("amplitude", [15.0, 60.0])
def test_displacement_is_bounded_and_invertible(seed: int, amplitude: float) -> None:
    known = KnownDisplacement(np.random.default_rng(seed), amplitude)
    axes = [np.arange(-half, half + 1, 6, dtype=np.float32) for half in (192, 160, 192)]
    points = np.stack(np.meshgrid(*axes, indexing="ij"))
    field = known(points.reshape(3, -1)).reshape(points.shape)
    length = np.linalg.norm(field, axis=0)
    assert length.max() < amplitude * 1.05
    assert length.max() > 8
    assert smallest_jacobian(field, 6.0) > 0.3


def test_no_displacement() -> None:
    s = subject(0, (48, 40, 48), 0.0)
    assert not s.displacement.any()
    np.testing.assert_array_equal(s.mr_labels, s.ct_labels)
    np.testing.assert_array_equal(s.mr_landmarks, s.ct_landmarks)


def test_organs_hold_content_without_label() -> None:
    """Vessels, pyramids, bowel: tissues that do not follow the labels, at the same places for CT and MR."""
    points = np.random.default_rng(0).uniform(-100, 100, (3, 40000)).astype(np.float32)
    layers, texture = Anatomy(np.random.default_rng(1)).sample(points)
    unlabelled = {layer.tissue for layer in layers if layer.label <= 0 and (layer.distance < 0).sum() > 10}
    assert {
        "venous blood",
        "renal medulla",
        "bowel wall",
        "bowel content",
        "cortical bone",
        "bile",
    } <= unlabelled
    assert 0.5 < texture[texture != 0].std() < 1.5
    assert {layer.distance.dtype for layer in layers} == {np.dtype(np.float32)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantom(tmp_path_factory.mktemp("data") / "phantom", 6, (24, 20, 24), seed=3, val=2, test=1)


def test_layout(folder: Path) -> None:
    description = json.loads((folder / f"{NAME}_dataset.json").read_text(encoding="utf-8"))
    assert description["modality"] == {"0": "MR", "1": "CT"}
    assert description["registration_direction"] == {"fixed": 0, "moving": 1}
    assert description["labels"]["1"]["1"] == "liver"
    keys = ("training_paired_images", "registration_val", "registration_test")
    assert [len(description[key]) for key in keys] == [3, 4, 1]
    for pair in (pair for key in keys for pair in description[key]):
        assert pair["fixed"].endswith("_0000.nii.gz") and pair["moving"].endswith("_0001.nii.gz")
        for name in pair.values():
            image = nib.load(folder / name)
            labels = nib.load(folder / name.replace("imagesTr", "labelsTr"))
            assert image.shape == labels.shape == (24, 20, 24)
            assert nib.aff2axcodes(image.affine) == ("R", "A", "S")
            np.testing.assert_allclose(image.header.get_zooms(), 16)
            np.testing.assert_allclose(image.affine @ [11.5, 9.5, 11.5, 1], [0, 0, 0, 1], atol=1e-5)
            np.testing.assert_array_equal(image.affine, labels.affine)
            assert np.issubdtype(labels.get_data_dtype(), np.integer)
    fixed, moving = (
        np.loadtxt(folder / "landmarksTr" / f"{NAME}_0001_{modality}.csv", delimiter=",")
        for modality in ("0000", "0001")
    )
    assert fixed.shape == moving.shape and fixed.shape[1] == 3


def test_files_hold_the_subject_whatever_the_number_of_subjects(folder: Path) -> None:
    expected = make_subject(3, 4, (24, 20, 24))
    stored = nib.load(folder / "imagesTr" / f"{NAME}_0005_0001.nii.gz")
    np.testing.assert_allclose(stored.get_fdata(), expected.ct, atol=0.51)
    labels = nib.load(folder / "labelsTr" / f"{NAME}_0005_0000.nii.gz")
    np.testing.assert_array_equal(np.asarray(labels.dataobj), expected.mr_labels)


@pytest.mark.parametrize(("subjects", "val", "test"), [(1, 0, 0), (3, 1, 1), (10, 2, 3), (4, 4, 0)])
def test_splits_share_no_subject(subjects: int, val: int, test: int) -> None:
    description = dataset_description(subjects, val, test, (16, 16, 16))
    splits = [
        {name.split("_")[1] for pair in description[key] for name in pair.values()}
        for key in ("training_paired_images", "registration_val", "registration_test")
    ]
    assert [len(split) for split in splits] == [subjects - val - test, val, test]
    assert len(set.union(*splits)) == subjects


def test_second_call_writes_nothing(folder: Path) -> None:
    def stamps() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}

    before = stamps()
    assert write_phantom(folder, 6, (24, 20, 24), seed=3, val=2, test=1) == folder
    assert stamps() == before
    assert [path.name for path in folder.parent.iterdir()] == ["phantom"]


def test_never_overwrites(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="phantom made with other arguments"):
        write_phantom(folder, 6, (24, 20, 24), seed=4, val=2, test=1)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=str(tmp_path)):
        write_phantom(tmp_path, 1, (24, 20, 24))
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_empty_folder_may_be_filled(tmp_path: Path) -> None:
    assert (write_phantom(tmp_path / "new" / "deep", 1, (16, 16, 16)) / "imagesTr").is_dir()
    (tmp_path / "empty").mkdir()
    assert (write_phantom(tmp_path / "empty", 1, (16, 16, 16)) / "labelsTr").is_dir()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--subjects", "0"], "subjects=0: must be"),
        (["--subjects", "1", "--size", "15", "32", "32"], r"size=\[15, 32, 32\]: must be"),
        (["--subjects", "1", "--spacing", "0"], "spacing=0.0: must be"),
        (["--subjects", "1", "--spacing", "nan"], "spacing=nan: must be"),
        (["--subjects", "1", "--seed", "-1"], "seed=-1"),
        (["--subjects", "1", "--intra-displacement", "-2"], "intra_displacement=-2.0: must be"),
        (["--subjects", "3", "--val", "2", "--test", "2"], "val=2 and test=2: must be"),
    ],
)
def test_bad_arguments(arguments: Sequence[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        cli.main(["--out", str(tmp_path / "x"), *arguments])
    assert not list(tmp_path.iterdir())


def test_unwritable_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        write_phantom(tmp_path / "file" / "phantom", 1, (16, 16, 16))


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    cli.main(["--out", str(tmp_path / "x"), "--subjects", "1", "--size", "16", "16", "16", "--spacing", "20"])
    assert str(tmp_path / "x") in capsys.readouterr().out
    assert nib.load(tmp_path / "x" / "imagesTr" / f"{NAME}_0001_0000.nii.gz").header.get_zooms() == (
        20,
        20,
        20,
    )
    monkeypatch.setattr("sys.argv", ["mmreg-phantom", "--out", str(tmp_path / "y"), "--subjects", "0"])
    with pytest.raises(SystemExit) as stop:
        cli.entry()
    assert stop.value.code == 2
    assert "subjects=0" in capsys.readouterr().err


def test_the_known_displacement_is_that_of_the_landmarks(tmp_path):
    from mmreg_lightning.data.learn2reg import Learn2RegDataset, PairRecord
    from mmreg_lightning.evaluation.tre import landmark_errors
    from mmreg_lightning.io.images import read_image
    from mmreg_lightning.io.points import read_point_table
    from mmreg_lightning.phantom.dataset import true_displacement

    write_phantom(tmp_path / "phantom", 2, (32, 28, 32), seed=5, intra_displacement=20.0)
    dataset = Learn2RegDataset.read(tmp_path / "phantom")
    pair = dataset.pairs["train"][1]
    grid = read_image(pair.fixed.image).grid
    field = true_displacement(dataset, pair, grid)
    a, b = (read_point_table(record.landmarks).coordinates for record in (pair.fixed, pair.moving))
    assert landmark_errors(torch.zeros_like(field), grid, grid, a, b).mean() > 3
    assert landmark_errors(field, grid, grid, a, b).mean() < 0.3  # of interpolation at 12 mm
    assert true_displacement(dataset, PairRecord(pair.fixed, dataset.pairs["train"][0].moving), grid) is None
