"""Calibration of the confidence on one split of a data set, and its test on another."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from scipy.stats import rankdata

from mmreg_lightning.benchmark.facts import check_unchanged, file_digests
from mmreg_lightning.benchmark.plan import select
from mmreg_lightning.calibration.cases import MeasuredCase, draw_changes, measure_cases
from mmreg_lightning.calibration.risk_coverage import RiskCoverage, risk_coverage
from mmreg_lightning.confidence.cues import CUES
from mmreg_lightning.confidence.model import ConfidenceModel, fit_cases, fit_places
from mmreg_lightning.config import CONF_DIR
from mmreg_lightning.data.learn2reg import Learn2RegDataset
from mmreg_lightning.data.perturbed import Perturbation, read_perturbations
from mmreg_lightning.errors import UserError
from mmreg_lightning.files import sha256, write_json
from mmreg_lightning.io.images import read_image
from mmreg_lightning.registration.settings import Settings, default_spacing

Floats = NDArray[np.float64]
_TOLERANCE = 2.0  # voxels of the working grid
_LOW = 10.0  # percent of the plain calibration pairs that are below ``ConfidenceModel.low``


@dataclass(frozen=True)
class Calibration:
    """What ``calibrate`` found.

    Attributes:
        model: of the confidence.
        fitted, tested: registrations of either split.
        cases: area under the risk-coverage curve, risk 1 - Dice, of the tested cases: ``all``, and ``plain`` ones,
            which nothing was done to.
        rankings: the same for other ways to rank all tested cases: each cue alone.
        places: area under the ROC curve of finding places beyond the tolerance, of ``all`` and ``plain`` cases.
    """

    model: ConfidenceModel
    fitted: Sequence[MeasuredCase]
    tested: Sequence[MeasuredCase]
    cases: Mapping[str, RiskCoverage]
    rankings: Mapping[str, RiskCoverage]
    places: Mapping[str, float]


def calibrate(
    settings: Settings,
    root: str | Path,
    folder: Path,
    *,
    split: str = "val",
    report: str = "test",
    pairs: int = 12,
    variants: int = 6,
    tolerance_mm: float | None = None,
    seed: int = 1,
    progress: Callable[[str, int, int], None],
) -> Calibration:
    """Register pairs of both splits, as they are and perturbed, fit on one and test on the other.

    Args:
        settings: of the registrations, see ``resolve_settings``.
        root: data set in Learn2Reg layout, with labels.
        folder: exists; gets ``cases/SPLIT``, where a run that was stopped goes on.
        split, report: to calibrate on, and to test on.
        pairs: at most so many pairs of each split; of two subjects where it has any.
        variants: perturbed versions of each pair (conf/calibration.yaml).
        tolerance_mm: see ``ConfidenceModel``; None is two voxels of the working grid.
        seed: of perturbations and bootstrap.
        progress: called with (what, done, in all).

    Raises:
        UserError: data set and checkpoint do not fit, a split cannot be used, or both are the same.
    """
    if split == report:
        raise UserError(f"report={report}: must be another split than that which is calibrated on")
    dataset = Learn2RegDataset.read(root)
    if settings.family.checkpoint is not None:
        modalities = [settings.fixed_modality, settings.moving_modality]
        dataset.check_fits(settings.family.checkpoint, modalities, settings.label_names)
        settings = replace(settings, label_names=dataset.organs(settings.label_names.values()))
    kinds = calibration_perturbations()
    chosen = {name: select(dataset, key, name, pairs) for name, key in ((split, "split"), (report, "report"))}
    files = file_digests([pair for own in chosen.values() for pair in own])
    _check_same(folder, settings, {"data": str(Path(root).resolve()), "seed": seed, "variants": variants}, files)
    measured = {}
    for name, own in chosen.items():
        jobs = list(draw_changes(own, kinds, variants, seed))

        def told(done: int, total: int, name: str = name) -> None:
            progress(f"registering {name}", done, total)

        measured[name] = measure_cases(jobs, settings, folder / "cases" / name, seed, told)
    grid_spacing = settings.spacing
    if grid_spacing is None:
        grid_spacing = default_spacing(read_image(dataset.pairs[split][0].fixed.image).grid)
    tolerance = _TOLERANCE * float(np.mean(grid_spacing)) if tolerance_mm is None else tolerance_mm
    model = fit_model(measured[split], tolerance, settings, {"data": dataset.name, "split": split, "pairs": pairs})
    return judge_model(model, measured[split], measured[report], seed)


def calibration_perturbations() -> list[Perturbation]:
    """Those of conf/calibration.yaml."""
    content = yaml.safe_load((CONF_DIR / "calibration.yaml").read_text(encoding="utf-8"))
    return read_perturbations(content["perturbations"])


def _check_same(folder: Path, settings: Settings, about: Mapping[str, Any], files: Mapping[str, str]) -> None:
    """Note in ``folder`` what its cases are of, or compare: cases of two calibrations must not mix."""
    checkpoint = None if settings.family.checkpoint is None else sha256(settings.family.checkpoint)
    now = json.loads(json.dumps({"checkpoint_sha256": checkpoint, **settings.calibrated(), **about}))
    path = folder / "calibration.json"
    if not path.is_file():
        if (folder / "report.html").exists():
            raise UserError(f"out={folder}: holds report.html of another run: name another folder")
        write_json(path, {**now, "files_sha256": files})
        return
    before = json.loads(path.read_text(encoding="utf-8"))
    known = before.get("files_sha256", {})
    check_unchanged(folder, known, files, "folder")
    changed = [key for key in now if before.get(key) != now[key]]
    if changed:
        key = changed[0]
        raise UserError(f"out={folder}: holds a calibration with {key}={before.get(key)}, not {now[key]}")
    write_json(path, {**now, "files_sha256": {**known, **files}})


def fit_model(
    cases: Sequence[MeasuredCase], tolerance: float, settings: Settings, about: Mapping[str, Any]
) -> ConfidenceModel:
    """Fit both models on measured cases.

    Args:
        cases: of the calibration split.
        tolerance: mm.
        settings: that they were registered with.
        about: what is to be noted about the data.

    Raises:
        UserError: no place is beyond the tolerance, or none within: there is nothing to tell apart.
    """
    cues = np.concatenate([case.cues for case in cases])
    right = (np.concatenate([case.errors for case in cases]) <= tolerance).astype(float)
    if right.min() == right.max():
        raise UserError(f"tolerance={tolerance:g}: organ surfaces are all on one side of it in every calibration pair")
    mean, scale, local = fit_places(cues, right)
    checkpoint = None if settings.family.checkpoint is None else sha256(settings.family.checkpoint)
    model = ConfidenceModel(
        mean.tolist(),
        scale.tolist(),
        local.tolist(),
        [0.0, 1.0],
        tolerance,
        0.0,
        checkpoint,
        settings.calibrated(),
        {**about, "registrations": len(cases), "places": len(right), "wrong_percent": 100 * float(1 - right.mean())},
    )
    averages = mean_places(model, cases)
    fitted = fit_cases(averages, np.array([case.dice for case in cases]))
    model = replace(model, case=fitted.tolist())
    plain = model.of_case(averages)[[case.change == "none" for case in cases]]
    return replace(model, low=float(np.percentile(plain, _LOW)))


def mean_places(model: ConfidenceModel, cases: Sequence[MeasuredCase]) -> Floats:
    """(M,) weighted mean of the local confidence of each case."""
    return np.array([model.places(case.sample).mean() for case in cases])


def judge_model(
    model: ConfidenceModel, fitted: Sequence[MeasuredCase], tested: Sequence[MeasuredCase], seed: int
) -> Calibration:
    """Areas of a model on cases that it has not seen."""
    confidence = model.of_case(mean_places(model, tested))
    risk = np.array([1 - case.dice for case in tested])
    pairs = [case.pair for case in tested]
    chosen = {"all": np.ones(len(tested), bool), "plain": np.array([case.change == "none" for case in tested])}
    areas = {
        name: risk_coverage(confidence[keep], risk[keep], [p for p, k in zip(pairs, keep, strict=True) if k], seed=seed)
        for name, keep in chosen.items()
    }
    # All cues but contrast are larger where something is wrong.
    alone = np.array([case.sample.mean(axis=0) for case in tested])
    signs = {cue: 1.0 if cue == "contrast" else -1.0 for cue in CUES}
    rankings = {
        cue: risk_coverage(signs[cue] * alone[:, index], risk, pairs, seed=seed) for index, cue in enumerate(CUES)
    }
    places = {
        name: _roc_area(model, [case for case, k in zip(tested, keep, strict=True) if k])
        for name, keep in chosen.items()
    }
    return Calibration(model, fitted, tested, areas, rankings, places)


def _roc_area(model: ConfidenceModel, cases: Sequence[MeasuredCase]) -> float:
    """Probability that a right place has more confidence than a wrong one (Mann-Whitney)."""
    right = np.concatenate([case.errors for case in cases]) <= model.tolerance_mm
    ranks = rankdata(model.places(np.concatenate([case.cues for case in cases])))
    n, wrong = int(right.sum()), int((~right).sum())
    return float((ranks[right].sum() - n * (n + 1) / 2) / (n * wrong)) if n and wrong else float("nan")
