from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mmreg_lightning.data.pair import PairFiles, read_pair
from mmreg_lightning.evaluation.scores import score
from mmreg_lightning.geometry.transform import warp_volume
from mmreg_lightning.registration.report import registration_picture, write_html_report
from mmreg_lightning.registration.settings import default_spacing, resolve_settings
from mmreg_lightning.registration.solve import register_pair


def test_a_registration_becomes_a_page(write_scene: Callable, tmp_path: Path) -> None:
    fixed, moving = write_scene("f"), write_scene("m", (30, 28, 32), shift=(4, -3, 2), axes="PSR")
    settings = resolve_settings(fixed_modality="MR", moving_modality="CT", overrides=["solver.iterations=2"])
    pair = read_pair(PairFiles(fixed.image, moving.image, fixed.labels, moving.labels))
    registration = register_pair(
        pair.fixed,
        pair.moving,
        features=settings.features,
        solver=settings.solver,
        spacing=default_spacing(pair.fixed.grid),
        fixed_modality="MR",
        moving_modality="CT",
        normalisation=settings.normalisation,
        affine="moments",
    )
    warped = warp_volume(pair.moving, registration.displacement, pair.fixed.grid)
    scores = score(pair, registration.displacement, {})
    pages = []
    for picture in (None, registration_picture(pair, settings, registration, warped)):
        path = tmp_path / "report.html"
        write_html_report(path, pair, settings, registration, warped, scores, seconds={"solver": 1.25}, picture=picture)
        pages.append(path.read_text(encoding="utf-8"))
    assert pages[0] == pages[1]
    assert "m.nii.gz  →  f.nii.gz" in pages[0]
    assert "Fixed: f.nii.gz (MR). Moving: m.nii.gz (CT)." in pages[0]
    assert "affine alignment that preceded it" in pages[0]
    assert "Dice, mean of 2 labels" in pages[0] and "label 2" in pages[0]
