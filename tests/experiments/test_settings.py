import pytest

from experiments.adding import AddingSettings
from experiments.demo import DemoSettings
from experiments.pixel_digits import PixelDigitsSettings

BAD = {
    "hidden": 0,
    "batch": 0,
    "steps": 0,
    "evaluate_every": -1,
    "learning_rate": -1e-3,
    "coordinate_learning_rate": float("nan"),
    "reflectors": 33,
    "negatives": -1,
    "radius": -0.1,
    "dt": 0.0,
    "methods": (),
    "seeds": (1, 1),
    "name": "up/there",
    "length": 1,
    "validation_sequences": 0,
    "test_sequences": 0,
}


def test_presets_have_no_problems():
    from experiments.catalog import EXPERIMENTS

    for experiment in EXPERIMENTS.values():
        assert "quick" in experiment.presets
        for preset, settings in experiment.presets.items():
            assert settings.preset == preset
            assert experiment.problems(settings) == []
    assert DemoSettings().problems() == []


@pytest.mark.parametrize("field", BAD)
def test_names_the_flag_of_a_bad_value(field):
    lines = AddingSettings(**{field: BAD[field]}).problems()
    assert lines[0].startswith(f"--{field.replace('_', '-')} must ")


@pytest.mark.parametrize("name", ["..", ".", "up/there", "/there"])
def test_a_run_stays_below_the_directory_of_runs(name):
    assert AddingSettings(name=name).problems()


def test_settings_of_methods_that_are_not_trained_are_not_checked():
    assert AddingSettings(methods=("rnn",), hidden=4).problems() == []


def test_counts_of_steps_fit_their_type():
    (line,) = AddingSettings(steps=2**31).problems()
    assert line.startswith("--steps must be at most 2,147,483,647")


def test_lists_every_problem():
    settings = AddingSettings(batch=0, length=1, seeds=(-1,))
    assert len(settings.problems()) == 3
    assert PixelDigitsSettings(split_seed=-1).problems() == [
        "--split-seed must be at least 0, got -1."
    ]
    assert len(DemoSettings(adding_steps=0, seeds=()).problems()) == 2
