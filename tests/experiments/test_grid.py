import json
from dataclasses import replace

import pytest

from experiments import grid
from experiments.__main__ import main
from experiments.adding import AddingSettings, adding_task
from experiments.grid import Cell, GridSettings, best_row
from experiments.pixel_digits import PRESETS, pixel_digits_task

GRID = ["grid", "adding", "--methods", "rnn", "scornn", "--steps", "3", "--seeds", "0"]
RATES = ["--rates", "1e-3", "1e-2"]
ADDING = adding_task(AddingSettings(length=4, validation_sequences=1, test_sequences=1))


def cells(runs):
    return json.loads((runs / "grid-adding" / "result.json").read_text())["cells"]


@pytest.mark.slow
def test_trains_all_and_goes_on_where_it_was_stopped(tmp_path, capsys, monkeypatch):
    place = ["--runs", str(tmp_path)]
    assert main([*GRID, *RATES, *place]) == 0
    printed = capsys.readouterr().out
    assert "each at the rate that validates best" in printed
    found = cells(tmp_path)
    assert [(one["method"], one["rate"]) for one in found] == [
        (method, rate) for method in ("rnn", "scornn") for rate in (1e-3, 1e-2)
    ]
    run = tmp_path / "grid-adding"
    chosen = json.loads((run / "scornn-0.01" / "settings.json").read_text())
    assert chosen["learning_rate"] == 1e-2
    assert chosen["coordinate_learning_rate"] == pytest.approx(1e-3)

    lines = (run / "metrics.jsonl").read_text().splitlines()
    half = lines[3][: len(lines[3]) // 2]
    (run / "metrics.jsonl").write_text("\n".join([*lines[:3], half]))
    ran = []
    fit = grid.fit
    monkeypatch.setattr(
        grid, "fit", lambda *arguments: ran.append(1) or fit(*arguments)
    )
    assert main([*GRID, *RATES, *place]) == 0
    assert ran == [1]
    assert cells(tmp_path) == found


@pytest.mark.slow
def test_a_rate_that_diverges_is_counted_and_never_the_best(tmp_path, capsys):
    rates = ["--rates", "1e-3", "1e30"]
    options = ["--methods", "rnn", "--steps", "4", "--seeds", "0", "1"]
    assert main(["grid", "adding", *options, *rates, "--runs", str(tmp_path)]) == 0
    sound, failed = cells(tmp_path)
    assert (sound["diverged"], failed["diverged"]) == (0, 2)
    printed = capsys.readouterr().out
    assert "2 diverged" in printed
    assert "0 of 2" in printed


def test_the_best_rate_validates_best_without_failures():
    found = [
        Cell("rnn", 0.1, (0.3, 0.3, 0.9), (0.31, 0.4, 0.8), 0),
        Cell("rnn", 0.2, (0.2, 0.2, 0.2), (0.21, 0.22, 0.23), 1),
    ]
    assert best_row(found, ADDING)[1:3] == ("0.1", "0.4")
    assert best_row(found[1:], ADDING)[1:3] == ("0.2", "0.22")
    digits = pixel_digits_task(PRESETS["quick"])
    sound = [found[0], replace(found[1], diverged=0)]
    assert best_row(sound, ADDING)[1] == "0.2"
    assert best_row(sound, digits)[1] == "0.1"


def test_methods_without_coordinates_need_no_rate_for_them():
    assert GridSettings("adding", methods=("rnn", "gru")).problems() == []
    assert GridSettings("markov_text").problems() == []


def test_names_what_cannot_be_run():
    for changes, message in [
        ({"experiment": "addin"}, "addin is no experiment"),
        ({"rates": ()}, "--rates must be given"),
        ({"rates": (0.1, -1.0)}, "--learning-rate must be positive, got -1.0."),
        ({"preset": "h_detach"}, "--preset must be one of quick, paper"),
        ({"data_dir": "."}, "--data-dir changes nothing"),
    ]:
        (problem, *_) = replace(GridSettings("adding"), **changes).problems()
        assert problem.startswith(message)
