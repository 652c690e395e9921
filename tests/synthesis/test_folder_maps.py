"""A user's own label maps."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from mmreg_lightning.errors import UserError
from mmreg_lightning.synthesis.folder_maps import FolderMaps, label_files


def test_regions_are_the_labels_in_ras_order(maps, tmp_path):
    source = FolderMaps(str(maps), tissues={7: "bone"}, filled=0.0)
    source.prepare(tmp_path)
    drawn = [source.draw(np.random.default_rng(seed), tmp_path) for seed in range(8)]
    assert {len(own.regions) for own in drawn} == {40} and drawn[0].ground is None
    assert drawn[0].tissues == ["air", "bone", "any"]
    file = nib.as_closest_canonical(nib.load(maps / "a.nii.gz"))
    expected = np.asarray(file.dataobj)
    first = next(own for own in drawn if (own.regions > 0)[25].sum() == (expected > 0)[25].sum())
    ids = np.array([0, 7, 500])
    assert any(np.array_equal(ids[own.regions], expected) for own in drawn)
    np.testing.assert_allclose(first.spacing, [2, 2, 3])


def test_label_0_is_filled_in_a_share_of_the_items(maps, tmp_path):
    source = FolderMaps([str(maps), str(maps)], filled=0.5)
    assert len(source.files) == 4
    source.prepare(tmp_path)
    drawn = [source.draw(np.random.default_rng(seed), tmp_path) for seed in range(40)]
    grounds = [own.ground for own in drawn if own.ground is not None]
    assert 10 < len(grounds) < 30
    np.testing.assert_allclose(grounds[0].extent, drawn[0].extent)


def test_without_a_folder_nothing_is_drawn():
    assert FolderMaps().weight == 0 and FolderMaps().files == []


def test_what_cannot_be_used(maps, tmp_path):
    with pytest.raises(UserError, match=r"^data.maps=/no/where: there is no such folder$"):
        label_files("/no/where")
    with pytest.raises(UserError, match=r"holds no label map"):
        label_files(tmp_path)
    with pytest.raises(UserError, match=r"^data.sources.maps.tissues.3=wood: must be one of air, "):
        FolderMaps(str(maps), tissues={3: "wood"})
    nib.save(nib.Nifti1Image(np.zeros((4, 4, 4), np.uint8), np.eye(4)), tmp_path / "empty.nii.gz")
    with pytest.raises(UserError, match=r"empty.nii.gz: shows no label other than 0"):
        FolderMaps(str(tmp_path)).prepare(tmp_path / "cache")
    nib.save(nib.Nifti1Image(np.random.default_rng(0).normal(size=(4, 4, 4)), np.eye(4)), tmp_path / "empty.nii.gz")
    with pytest.raises(UserError, match=r"empty.nii.gz"):
        FolderMaps(str(tmp_path)).prepare(tmp_path / "cache")
