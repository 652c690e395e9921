"""Images and label maps through saved transforms: as the registration itself warps them, there and back, filled."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from mmreg_lightning.cli.apply import main
from mmreg_lightning.evaluation.dice import dice_per_label
from mmreg_lightning.io.images import read_labels


def apply(folder: Path, *words: object, transform: object = "out", inverse: bool = False) -> None:
    argv = ["--transform", str(folder / str(transform)), *(str(word) for word in words)]
    main([*argv, "--inverse"] if inverse else argv)


def test_images_and_labels_are_warped_as_by_the_registration(registered: Path) -> None:
    for name, more in (("m", []), ("m_labels", ["--labels"])):
        out = registered / f"{name}_warped.nii.gz"
        source, reference = registered / f"{name}.nii.gz", registered / "f.nii.gz"
        apply(registered, "--input", source, "--reference", reference, "--out", out, *more)
        written = "warped.nii.gz" if name == "m" else "warped_labels.nii.gz"
        expected, got = nib.load(registered / "out" / written), nib.load(out)
        assert got.get_data_dtype() == expected.get_data_dtype()
        np.testing.assert_allclose(got.affine, expected.affine, atol=1e-5)
        difference = np.abs(got.get_fdata() - expected.get_fdata())
        assert np.mean(difference > 1e-2) < 1e-3  # nearest neighbours on a tie


def test_labels_come_back_through_the_inverse(registered: Path) -> None:
    there, back = registered / "there.nii.gz", registered / "back.nii.gz"
    labels, fixed, moving = (registered / f"{name}.nii.gz" for name in ("m_labels", "f", "m"))
    apply(registered, "--input", labels, "--reference", fixed, "--out", there, "--labels")
    apply(registered, "--input", there, "--reference", moving, "--out", back, "--labels", inverse=True)
    # The same through the inverse field that was written
    field = "out/inverse.itk.nii.gz"
    apply(
        registered,
        "--input",
        there,
        "--reference",
        moving,
        "--out",
        registered / "b.nii.gz",
        "--labels",
        transform=field,
    )
    expected = read_labels(labels).data
    for path in (back, registered / "b.nii.gz"):
        dice = dice_per_label(expected, read_labels(path).data, [1, 2])
        # Two nearest neighbours on voxels of 3 mm: half a voxel at the surface of organs 10 voxels across.
        assert min(dice.values()) > 0.9


def test_labels_by_vote_come_back_better(registered: Path) -> None:
    labels, fixed, moving = (registered / f"{name}.nii.gz" for name in ("m_labels", "f", "m"))
    dice = {}
    for kind in ("nearest", "vote"):
        there, back = registered / f"{kind}_there.nii.gz", registered / f"{kind}_back.nii.gz"
        apply(registered, "--input", labels, "--reference", fixed, "--out", there, "--labels", kind)
        apply(registered, "--input", there, "--reference", moving, "--out", back, "--labels", kind, inverse=True)
        dice[kind] = min(dice_per_label(read_labels(labels).data, read_labels(back).data, [1, 2]).values())
    assert dice["vote"] > max(0.97, dice["nearest"])


def test_an_image_on_a_larger_grid_is_warped_by_the_affine_there(
    registered: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fixed = nib.load(registered / "f.nii.gz")
    pad = 12
    larger = fixed.affine.copy()
    larger[:3, 3] -= larger[:3, :3] @ np.full(3, pad)
    nib.save(nib.Nifti1Image(np.zeros(np.array(fixed.shape) + 2 * pad, np.uint8), larger), registered / "large.nii.gz")
    argv = ["--input", registered / "m.nii.gz", "--out", registered / "w.nii.gz", "--fill", "-7.5"]
    apply(registered, *argv, "--reference", registered / "large.nii.gz")
    assert "of it lies outside of the field of view of the transform" in capsys.readouterr().out
    warped = nib.load(registered / "w.nii.gz").get_fdata()
    inner = warped[pad:-pad, pad:-pad, pad:-pad]
    own = nib.load(registered / "out" / "warped.nii.gz").get_fdata()
    moving = nib.load(registered / "m.nii.gz")
    seen = inner != -7.5
    np.testing.assert_allclose(inner[seen], own[seen], atol=1e-2)
    assert (warped == -7.5).any() and warped[warped != -7.5].min() >= moving.get_fdata().min() - 1e-3


def test_labels_are_filled_with_a_label(registered: Path) -> None:
    labels, fixed = registered / "m_labels.nii.gz", registered / "f.nii.gz"
    found = []
    for kind in ("nearest", "vote"):
        out = registered / f"{kind}.nii.gz"
        apply(registered, "--input", labels, "--reference", fixed, "--out", out, "--labels", kind, "--fill", "9")
        found.append(np.asarray(nib.load(out).dataobj))
    assert (found[0] == 9).any() and (found[1] == 9).mean() == pytest.approx((found[0] == 9).mean(), abs=0.01)
