import dataclasses
import json

import pytest

from experiments import sweep
from experiments.__main__ import main
from experiments.adding import ADDING, AddingSettings, adding_task
from experiments.fit import NonFiniteLossError
from experiments.pixel_digits import PRESETS, pixel_digits_task
from experiments.sweep import SharedLearner, SweepSettings, reward

SWEEP = ["sweep", "adding", "--method", "rnn", "--steps", "3", "--trials", "3"]
OVER = ["--over", "learning_rate=1e-4..1e-2:log", "seeds=2"]


def result(runs):
    return json.loads((runs / "sweep-adding" / "result.json").read_text())["trials"]


@pytest.mark.slow
def test_tries_and_goes_on_where_it_was_stopped(tmp_path, capsys, monkeypatch):
    place = ["--runs", str(tmp_path)]
    assert main([*SWEEP, *OVER, *place]) == 0
    printed = capsys.readouterr().out
    assert "3 trials, search: random" in printed
    trials = result(tmp_path)
    assert len({trial["values"]["learning_rate"] for trial in trials}) == 3
    for trial in trials:
        assert 1e-4 <= trial["values"]["learning_rate"] <= 1e-2
        assert trial["reward"] == pytest.approx(1 / (1 + 6 * trial["score"]))
    assert (tmp_path / "sweep-adding" / "figures" / "regret.pdf").is_file()

    run = tmp_path / "sweep-adding"
    seeds = json.loads((run / "trial-000" / "settings.json").read_text())["seeds"]
    assert seeds == [0, 1]
    lines = (run / "metrics.jsonl").read_text().splitlines()
    half = lines[2][: len(lines[2]) // 2]
    (run / "metrics.jsonl").write_text("\n".join([*lines[:2], half]))
    ran = []
    fit = sweep.fit
    monkeypatch.setattr(
        sweep, "fit", lambda *arguments: ran.append(1) or fit(*arguments)
    )
    assert main([*SWEEP, *OVER, *place]) == 0
    assert ran == [1]
    assert result(tmp_path) == trials
    assert main([*SWEEP, *OVER, *place]) == 0
    assert ran == [1]

    other = ["--over", "learning_rate=1e-3..1e-1:log"]
    assert main([*SWEEP, *other, *place]) == 2
    assert main([*SWEEP, *other, *place, "--force"]) == 0
    assert ran == [1] * 4


def test_a_trial_that_diverges_has_no_score_and_the_sweep_goes_on(
    tmp_path, capsys, monkeypatch
):
    def diverge(*_):
        raise NonFiniteLossError("nan")

    monkeypatch.setattr(sweep, "fit", diverge)
    assert main([*SWEEP, *OVER, "--runs", str(tmp_path)]) == 0
    assert [trial["score"] for trial in result(tmp_path)] == [None] * 3
    assert "not finite" in capsys.readouterr().out


def test_new_seeds_for_each_pull_of_a_bandit_alone(tmp_path, monkeypatch):
    pytest.importorskip("PyXAB")
    seen = []

    def note(learner, settings, directory):
        seen.append(settings.seeds)
        raise NonFiniteLossError("nan")

    monkeypatch.setattr(sweep, "fit", note)
    for search in ("vhct", "grid"):
        place = ["--runs", str(tmp_path / search), "--search", search]
        assert main([*SWEEP, *OVER, *place]) == 0
    assert seen == [(0, 1), (2, 3), (4, 5), (0, 1), (0, 1), (0, 1)]


def test_seeds_and_rates_share_one_compiled_learner():
    learners, base = SharedLearner(ADDING), AddingSettings(methods=("rnn",))
    first = learners.serving(base)
    alike = {"seeds": (5, 6), "learning_rate": 0.5, "coordinate_learning_rate": 0.1}
    assert learners.serving(dataclasses.replace(base, **alike)) is first
    for changes in ({"hidden": 8}, {"length": 9}):
        assert learners.serving(dataclasses.replace(base, **changes)) is not first


def test_rewards_grow_with_better_scores():
    adding, digits = adding_task(AddingSettings()), pixel_digits_task(PRESETS["quick"])
    assert reward(0.0, adding) == 1
    assert reward(1 / 6, adding) == pytest.approx(0.5)
    assert reward(0.9, digits) == 0.9


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"experiment": "subtracting"}, "subtracting is no experiment"),
        ({"trials": 0}, "--trials must be at least 1"),
        ({"seed": -1}, "--seed must be at least 0"),
        ({"over": ("speed=0..1",)}, "speed is no number"),
        ({"over": ("hidden=0..8",), "method": "rnn"}, "--hidden must be at least 1"),
        ({"steps": 0}, "--steps must be at least 1"),
        (
            {"over": ("hidden=8..32", "reflectors=1..32"), "method": "spectral_rnn"},
            "--reflectors must lie between 0 and --hidden (8), got 32",
        ),
    ],
)
def test_names_what_cannot_be_run(changes, message):
    lines = SweepSettings(**{"experiment": "adding", **changes}).problems()
    assert any(message in line for line in lines)
