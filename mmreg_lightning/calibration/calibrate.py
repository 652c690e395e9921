"""Calibration of the confidence on one split of a data set, and its test on another."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray
from scipy.stats import mannwhitneyu

from mmreg_lightning.benchmark.store import check_same
from mmreg_lightning.calibration.cases import MeasuredCase, draw_changes, measure_cases
from mmreg_lightning.calibration.risk_coverage import RiskCoverage, risk_coverage
from mmreg_lightning.confidence.cues import CUES
from mmreg_lightning.confidence.model import ConfidenceModel, fit_cases, fit_places
from mmreg_lightning.config import CONF_DIR
from mmreg_lightning.data.assumptions import header_notes
from mmreg_lightning.data.learn2reg import Learn2RegDataset
from mmreg_lightning.data.perturbed import read_perturbations
from mmreg_lightning.errors import UserError
from mmreg_lightning.files import sha256
from mmreg_lightning.geometry.working import default_spacing
from mmreg_lightning.io.images import read_image
from mmreg_lightning.registration.settings import Settings

Floats = NDArray[np.float64]
Cases = Sequence[MeasuredCase]
_TOLERANCE = 2.0  # voxels of the working grid
_LOW = 10.0  # percent of the plain calibration pairs that are below ``ConfidenceModel.low``


@dataclass(frozen=True)
class Calibration:
    """What ``calibrate`` found.

    Attributes:
        model: of the confidence.
        fitted, tested: registrations of either split.
        cases: area under the risk-coverage curve, risk 1 - Dice, of ``all`` tested cases and of the ``plain`` ones,
            which are not perturbed.
        rankings: the same of all tested cases when they are ranked by each cue alone.
        places: area under the ROC curve of finding places beyond the tolerance, of ``all`` and ``plain`` cases.
        header_notes: what is assumed about the headers of the files.
    """

    model: ConfidenceModel
    fitted: Cases
    tested: Cases
    cases: Mapping[str, RiskCoverage]
    rankings: Mapping[str, RiskCoverage]
    places: Mapping[str, float]
    header_notes: Sequence[str] = ()


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
    """Register pairs of both splits, as they are and perturbed, fit on one split and test on the other.

    Args:
        settings: of the registrations; modalities are the data set's.
        root: data set in Learn2Reg layout, with labels.
        folder: exists; gets calibration.json and ``cases/SPLIT``, from which a stopped run goes on.
        split, report: to calibrate on, and to test on.
        pairs: at most so many pairs of each split; of two subjects where it has any.
        variants: number of perturbed versions of each pair (conf/calibration.yaml).
        tolerance_mm: see ``ConfidenceModel``; None is two voxels of the working grid.
        seed: of perturbations and bootstrap.
        progress: called with (what, done, total).

    Raises:
        UserError: data set and checkpoint do not fit, a split cannot be used, both splits are the same, or the folder
            holds results of something else.
    """
    if split == report:
        raise UserError(f"report={report}: must be another split than that which is calibrated on")
    dataset, family = Learn2RegDataset.read(root), settings.family
    if family.model is not None:
        settings = replace(settings, label_names=family.organs(dataset))
    if family.normalisation is None:
        settings = replace(
            settings,
            fixed_modality=family.check_modality("fixed_modality", dataset.fixed_modality),
            moving_modality=family.check_modality("moving_modality", dataset.moving_modality),
        )
    kinds = read_perturbations(yaml.safe_load((CONF_DIR / "calibration.yaml").read_text("utf-8"))["perturbations"])
    roles = {"split": split, "report": report}
    chosen = {name: dataset.select(name, pairs, key, options=list(roles)) for key, name in roles.items()}
    about = {"data": str(Path(root).resolve()), "seed": seed, "variants": variants}
    fixed = {"checkpoint_sha256": _digest(settings), **settings.calibrated(), **about}
    check_same(folder / "calibration.json", fixed, [pair for own in chosen.values() for pair in own], "folder")
    measured = {}
    for name, own in chosen.items():
        cases = list(draw_changes(own, kinds, variants, seed))
        told = partial(progress, f"registering {name}")
        measured[name] = measure_cases(cases, settings, folder / "cases" / name, seed, told)
    if tolerance_mm is None:
        spacing = settings.spacing or default_spacing(read_image(dataset.pairs[split][0].fixed.image).grid)
        tolerance_mm = _TOLERANCE * float(np.mean(spacing))
    model = fit_model(measured[split], tolerance_mm, settings, {"data": dataset.name, "split": split, "pairs": pairs})
    found = judge_model(model, measured[split], measured[report], seed)
    files = [one for own in chosen.values() for pair in own for one in pair]
    return replace(found, header_notes=header_notes(files))


def fit_model(cases: Cases, tolerance: float, settings: Settings, about: Mapping[str, Any]) -> ConfidenceModel:
    """Fit the models of places and of cases.

    Args:
        cases: of the calibration split.
        tolerance: mm.
        settings: that they were registered with.
        about: what is to be noted about the data.

    Raises:
        UserError: no place is beyond the tolerance, or none is within it.
    """
    cues = np.concatenate([case.cues for case in cases])
    right = np.concatenate([case.errors for case in cases]) <= tolerance
    if right.all() or not right.any():
        raise UserError(f"tolerance={tolerance:g}: organ surfaces are all on one side of it in every calibration pair")
    mean, scale, local = (array.tolist() for array in fit_places(cues, right.astype(float)))
    counts = {"registrations": len(cases), "places": len(right), "wrong_percent": 100 * float(1 - right.mean())}
    known = (tolerance, 0.0, _digest(settings), settings.calibrated(), {**about, **counts})
    model = ConfidenceModel(mean, scale, local, [0.0, 1.0], *known)
    dice = np.array([case.dice for case in cases])
    model = replace(model, case=fit_cases(_mean_places(model, cases), dice).tolist())
    plain = case_confidence(model, [case for case in cases if case.source.perturbation is None])
    return replace(model, low=float(np.percentile(plain, _LOW)))


def case_confidence(model: ConfidenceModel, cases: Cases) -> Floats:
    """(M,) confidence of each case."""
    return model.of_case(_mean_places(model, cases))


def judge_model(model: ConfidenceModel, fitted: Cases, tested: Cases, seed: int) -> Calibration:
    """Areas of a model on cases that it has not seen; ``seed`` is of the bootstrap."""
    subsets = {"all": tested, "plain": [case for case in tested if case.source.perturbation is None]}
    # All cues but contrast are larger where something is wrong.
    alone = np.array([case.sample.mean(axis=0) for case in tested])
    ranks = {cue: (1 if cue == "contrast" else -1) * alone[:, index] for index, cue in enumerate(CUES)}

    def area(cases: Cases, confidence: Floats) -> RiskCoverage:
        risk = np.array([1 - case.dice for case in cases])
        return risk_coverage(confidence, risk, [case.source.files.name for case in cases], seed=seed)

    areas = {name: area(cases, case_confidence(model, cases)) for name, cases in subsets.items()}
    rankings = {cue: area(tested, rank) for cue, rank in ranks.items()}
    places = {name: _roc_area(model, cases) for name, cases in subsets.items()}
    return Calibration(model, fitted, tested, areas, rankings, places)


def _mean_places(model: ConfidenceModel, cases: Cases) -> Floats:
    """(M,) weighted mean of the local confidence of each case."""
    return np.array([model.places(case.sample).mean() for case in cases])


def _roc_area(model: ConfidenceModel, cases: Cases) -> float:
    """Probability that a right place has more confidence than a wrong one; NaN where all places are of one kind."""
    right = np.concatenate([case.errors for case in cases]) <= model.tolerance_mm
    confidence = model.places(np.concatenate([case.cues for case in cases]))
    if right.all() or not right.any():
        return float("nan")
    # The core dependency SciPy gives it in one line; scikit-learn is an optional one.
    u = mannwhitneyu(confidence[right], confidence[~right], method="asymptotic").statistic
    return float(u / (right.sum() * (~right).sum()))


def _digest(settings: Settings) -> str | None:
    return None if settings.family.checkpoint is None else sha256(settings.family.checkpoint)
