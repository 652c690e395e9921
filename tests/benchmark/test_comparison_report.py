"""Words, cells and pictures of the comparison's page."""

from __future__ import annotations

from mmreg_lightning.benchmark.comparison_report import method_note, results_table, write_comparison_report


def result(dice, tmp_path=None):
    case = {"case": "0001_to_0002", "same_subject": False, "dice_before": 0.4, "dice": dice, "folder": "."}
    means = {"dice": dice, "tre_mm": None, "folds_percent": 0.0, "sdlogj": 0.1234, "seconds": 1.26}
    return {**means, "cases": [case]}


RESULTS = {name: result(dice) for name, dice in (("before", 0.4), ("mind_ssc", 0.5), ("learned", 0.7), ("labels", 0.9))}


def test_a_measure_that_is_missing_is_a_dash():
    table = results_table(RESULTS)
    assert table[0] == ["", "Dice", "TRE, mm", "folds, %", "SDlogJ", "cosine", "s / pair"]
    assert table[3] == ["learned + demons", "0.700", "–", "0.000", "0.123", "–", "1.3"]


def test_the_page_has_the_numbers_the_training_and_the_pictures(tmp_path):
    (tmp_path / "report.png").write_bytes(b"picture")
    log = tmp_path / "metrics.csv"
    log.write_text("step,train/organ_loss,val/dice\n1,0.5,\n2,,0.6\n")
    write_comparison_report(tmp_path / "report.html", RESULTS, "a < b", ["a note"], log)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "a &lt; b" in page and "a note" in page and "Training: losses" in page
    assert "MIND-SSC + demons: Dice 0.400 to 0.500" in page and "cGljdHVyZQ==" in page


def test_the_note_says_what_was_done():
    note = method_note(trials=12, patches=3, pairs=3, tune="val", report="test")
    assert "same 12 settings" in note and "over 3 pairs of the val split" in note
    assert "more than 0.1 % of the voxels" in note and "from the test split" in note


def test_the_note_says_when_nothing_was_held_out():
    note = method_note(trials=12, patches=3, pairs=1, tune="val", report="val")
    assert "over 1 pair of the val split" in note and "tuned on the pairs of the reported split val itself" in note
