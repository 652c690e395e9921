from __future__ import annotations

import math

import numpy as np
import pytest
from scenes import files_of, image_of, translation
from scipy.ndimage import map_coordinates

from mmreg_lightning.data.pair import Pair
from mmreg_lightning.evaluation.scores import Scores
from mmreg_lightning.registration.register import register_pair
from mmreg_lightning.registration.report import registration_picture, score_tables, summary, write_html
from mmreg_lightning.registration.settings import Options, resolve


def test_summary_says_what_was_measured() -> None:
    dice = [{"mean": m, "per_label": {"a": m, "b": math.nan}} for m in (0.5, 0.75)]
    assert summary(Scores(*dice, 8.0, 4.126, 0.01, 0.1234)) == (
        "Dice 0.500 → 0.750 (1 label), TRE 8.00 → 4.13 mm, folds 0.01 %, SD log J 0.123"
    )
    assert summary(Scores(None, None, None, None, 0.0, 0.1)) == "folds 0.00 %, SD log J 0.100"


def test_tables_say_what_was_measured() -> None:
    dice = [{"mean": m, "per_label": {"a": m, "b": math.nan}} for m in (0.5, 0.75)]
    tables = score_tables(Scores(*dice, 8.0, 4.126, 0.01, 0.1234), {"read": 0.5, "resample_field": 1.25})
    assert [heading for heading, _ in tables] == ["Measures", "Dice of each organ", "Seconds by stage"]
    measures, organs, stages = (rows for _, rows in tables)
    assert measures == [
        ["", "before", "after"],
        ["Dice, mean of 1 label", "0.500", "0.750"],
        ["Landmark error (TRE), mm", "8.00", "4.13"],
        ["Folds, % of voxels", "–", "0.010"],
        ["SD of log J", "–", "0.123"],
        ["Seconds until this report", "–", "1.8"],
    ]
    assert organs == [["", "before", "after"], ["a", "0.500", "0.750"], ["b", "–", "–"]]
    assert stages == [["", "s"], ["read", "0.5"], ["resample field", "1.2"]]
    few = score_tables(Scores(None, None, None, None, 0.0, 0.1), {"solver": 2.0})
    assert [heading for heading, _ in few] == ["Measures", "Seconds by stage"]
    assert [row[0] for row in few[0][1]] == ["", "Folds, % of voxels", "SD of log J", "Seconds until this report"]


def test_a_registration_becomes_a_page(write_scene, tmp_path) -> None:
    fixed, moving = write_scene("f"), write_scene("m", (30, 28, 32), shift=(4, -3, 2), axes="PSR")
    options = Options(fixed_modality="MR", moving_modality="CT", affine="moments", overrides=["solver.iterations=2"])
    pair = files_of(fixed.image, moving.image, fixed.labels, moving.labels).read()
    result = register_pair(pair, resolve(options))
    write_html(tmp_path / "report.html", result, registration_picture(result))
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "m.nii.gz  →  f.nii.gz" in page
    assert "Fixed: f.nii.gz (MR). Moving: m.nii.gz (CT)." in page
    assert "affine alignment that preceded it" in page
    assert "Dice, mean of 2 labels" in page and "label 2" in page


OUTLINED = "Outside of its mask, which is outlined, an image was not looked at."


def test_masks_are_shown_where_their_images_are(tmp_path) -> None:
    arrays = [np.random.default_rng(n).uniform(0, 100, (20, 18, 16)) for n in range(2)]
    masks = [np.ones(array.shape) for array in arrays]
    masks[0][:5] = 0
    masks[1][:, 12:] = 0
    header, away = np.diag([2.0, 2.0, 2.0, 1.0]), translation(6, -4, 2)
    pair = Pair(image_of(arrays[0], header, masks[0]), image_of(arrays[1], header, masks[1]))
    result = register_pair(pair, resolve(Options(affine=away, overrides=["solver.iterations=5"])))
    picture = registration_picture(result)
    assert picture.fixed_mask is not None and picture.moving_mask is not None and picture.warped_mask is not None
    assert np.array_equal(picture.fixed_mask, masks[0] > 0)
    voxels = np.stack(np.meshgrid(*(np.arange(n) for n in masks[1].shape), indexing="ij"))
    shift, moved = np.reshape([3.0, -2, 1], (3, 1, 1, 1)), result.displacement[0].numpy()
    assert np.abs(moved - shift).max() > 0.1, "noise is deformed"
    for shown, u in ((picture.moving_mask, shift), (picture.warped_mask, moved)):
        # The nearest voxel, outside of the image there is none.
        near = np.rint(voxels + u).astype(int)
        expected = map_coordinates(masks[1], near, order=0, mode="constant") > 0
        assert (shown.numpy() == expected).mean() > 0.999, "but for places between two voxels"
    write_html(tmp_path / "report.html", result, picture)
    assert OUTLINED in (tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("body_mask", [True, False])
def test_body_masks_are_shown_and_none_where_there_is_none(body_mask, write_scene, tmp_path) -> None:
    files = files_of(write_scene("f").image, write_scene("m", shift=(4, -3, 2)).image)
    options = Options(affine="none", body_mask=body_mask, overrides=["solver.iterations=2"])
    result = register_pair(files.read(), resolve(options))
    picture = registration_picture(result)
    masks = picture.fixed_mask, picture.moving_mask, picture.warped_mask
    for mask, image in zip(masks, (result.pair.fixed, result.pair.moving, result.moved), strict=True):
        assert (mask is not None) == body_mask
        if mask is not None and image is not result.moved:
            assert np.array_equal(mask, image.volume.data[0] != 0), "what is not padding"
    write_html(tmp_path / "report.html", result, picture)
    assert (OUTLINED in (tmp_path / "report.html").read_text(encoding="utf-8")) == body_mask
