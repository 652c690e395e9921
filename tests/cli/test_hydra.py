"""Complaints of Hydra's in one sentence, and what a refused command leaves."""

from __future__ import annotations

import sys

import pytest

from mmreg_lightning.cli import benchmark, train


@pytest.fixture
def call(phantom, cache_dir, tmp_path, monkeypatch, capfd, hydra_logging):
    """Runs a command in this process, with ``out`` as its folder; returns exit code and the last line of stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")

    def run(command, *overrides):
        options = [word for word in overrides if word.startswith("-")]
        rest = [word for word in overrides if word not in options]
        own = [f"data.root={phantom}", "hydra.run.dir=out", "hydra.sweep.dir=out"]
        if command is train:
            own += [f"data.cache_dir={cache_dir}", "experiment=phantom_tiny"]
        else:
            own += ["~features.learned"]
        monkeypatch.setattr(sys, "argv", ["mmreg", *options, *own, *rest])
        with pytest.raises(SystemExit) as stop:
            command.entry()
        err = capfd.readouterr().err
        assert err.count("error: ") == 1 and "Traceback" not in err
        return stop.value.code, err.splitlines()[-1].removeprefix("error: ")

    return run


UNKNOWN = "there is no such setting, did you mean"


@pytest.mark.parametrize("plus", ["", "+", "++"])
@pytest.mark.parametrize(
    ("command", "override", "sentence"),
    [
        (train, "training.warm_up=0.1", f"training.warm_up: {UNKNOWN} training.warmup?"),
        (train, "trainer.max_step=3", f"trainer.max_step: {UNKNOWN} trainer.max_steps?"),
        (train, "losss=mse", f"losss: {UNKNOWN} loss?"),
        (train, "callbacks.checkpoint.moniter=a", f"callbacks.checkpoint.moniter: {UNKNOWN} callbacks.checkpoint.mon"),
        (train, "hydra.swep.dir=a", f"hydra.swep: {UNKNOWN} hydra.sweep?"),
        (benchmark, "tuning.trial=3", f"tuning.trial: {UNKNOWN} tuning.trials?"),
        (benchmark, "solvers.demons.override=[a]", f"solvers.demons.override: {UNKNOWN} solvers.demons.overrides?"),
        (benchmark, "features.mind_ssc.radios=1", f"features.mind_ssc.radios: {UNKNOWN} features.mind_ssc.radius?"),
        (benchmark, "hydra.run.dirs=a", f"hydra.run.dirs: {UNKNOWN} hydra.run.dir?"),
    ],
    ids=lambda value: value if isinstance(value, str) and "=" in value else "",
)
def test_an_unknown_key_names_the_nearest_one(call, tmp_path, command, override, sentence, plus):
    code, said = call(command, plus + override)
    assert code == 2 and said.startswith(sentence)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("command", "override", "sentence"),
    [
        (train, "loss=mze", "loss=mze: there is no such choice, known are descent, mse, warped_label_dice; did you me"),
        (train, "experiment=tiny", "experiment=tiny: there is no such choice, known are ablation_architecture, "),
        (train, "hydra/launcher=joblob", "hydra/launcher=joblob: there is no such choice, known are basic"),
        (train, "data/foo=bar", f"data/foo: {UNKNOWN} data?"),
        (train, "loss@other=mse", "loss@other: is not among the chosen files, +loss@other=NAME adds one"),
        (train, "+training.warmup=0.1", "training.warmup: is in the configuration already, set it without '+'"),
        (train, "~callbacks.progres", f"callbacks.progres: {UNKNOWN} callbacks.progress?"),
        (train, "~los", f"los: {UNKNOWN} loss?"),
        (train, "x=[1", "configuration: "),
        (benchmark, "~peers.greedi", f"peers.greedi: {UNKNOWN} peers.greedy?"),
        (benchmark, "robustness=defalt", "robustness=defalt: there is no such choice, known are default; did you mean"),
        (benchmark, "+features@features.mine=mind_scc", "features=mind_scc: there is no such choice, known are cnn, "),
        (train, "data.batch_size=0", "data.batch_size=0: must be a whole number, 1 or more"),
        (train, "data.patch_size=99", "data.patch_size=99: larger than the images"),
        (benchmark, "tuning.trials=0", "tuning.trials=0: must be a whole number, 1 or more"),
        (benchmark, "report.split=none", "report.split=none: must be one of train, val, test"),
    ],
)
def test_a_refused_command_is_one_sentence_and_leaves_nothing(call, tmp_path, command, override, sentence):
    code, said = call(command, override)
    assert code == 2 and said.startswith(sentence)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", [train, benchmark])
def test_a_refused_command_changes_nothing_in_a_folder_that_was_there(call, tmp_path, command):
    (tmp_path / "out" / ".hydra").mkdir(parents=True)
    name = command.__name__.rpartition(".")[2]
    files = {"out/.hydra/overrides.yaml": "- seed=7\n", f"out/{name}.log": "a line\n", "out/mine.txt": "1"}
    for path, text in files.items():
        (tmp_path / path).write_text(text)
    assert call(command, "seed=abc")[0] == 2
    left = {str(path.relative_to(tmp_path)): path.read_text() for path in tmp_path.rglob("*") if path.is_file()}
    assert left == files


def test_a_refused_multirun_leaves_nothing(call, tmp_path):
    assert call(train, "-m", "seed=1,2", "training.warm_up=0.1")[0] == 2
    assert list(tmp_path.iterdir()) == []


def test_a_known_key_needs_no_plus(call):
    # min_steps is an argument of the trainer, and in no file: it is taken, and the next mistake is named.
    assert call(train, "trainer.min_steps=1", "data.batch_size=0")[1].startswith("data.batch_size=0")
    assert call(train, "+trainer.min_steps=1", "data.batch_size=0")[1].startswith("data.batch_size=0")
