import jax.numpy as jnp
import numpy as np
import pytest

from experiments.__main__ import main
from experiments.digit_classifier import Digits, load
from experiments.learn_penalties import WAYS, Outcome, learn_penalties_checks
from experiments.pixel_penalties import LearnPenaltiesSettings, Regression, Scores

SMALL = LearnPenaltiesSettings(
    train_images=20, validation_images=60, steps=10, searched=4, outer_steps=10
)


def parts():
    digits, test = load(None, 80)
    train = Digits(digits.images[:20], digits.labels[:20])
    kept = Digits(digits.images[20:], digits.labels[20:])
    return train, kept, test


def test_penalties_of_zero_are_none_and_large_ones_hold_the_weights():
    regression = Regression(SMALL, parts())
    none = regression.trained(jnp.full((64, 10), -jnp.inf))["layer 1"]["kernel"]
    held = regression.trained(jnp.full((64, 10), 1.0))["layer 1"]["kernel"]
    assert np.linalg.norm(held) < np.linalg.norm(none) / 2


def test_learned_penalties_lower_the_validation_loss():
    regression = Regression(SMALL, parts())
    common = regression.search()
    learned, losses = regression.learn(common)
    assert losses[0] == pytest.approx(regression.scores(common).validation, rel=1e-4)
    assert regression.scores(learned).validation < losses[0]
    assert np.ptp(learned) > 0.1


def test_claims_compare_every_choice():
    def outcome(common, learned):
        pairs = ((9.0, 9.0), common, learned)
        scores = [Scores(0, on_kept, on_test, 0) for on_kept, on_test in pairs]
        by_way = dict(zip(WAYS, scores, strict=True))
        return Outcome(jnp.ones(1), np.ones(1), by_way, scores[0])

    good = outcome((0.5, 0.5), (0.4, 0.4))
    assert [check.met for check in learn_penalties_checks([good])] == [True, True]
    bad = outcome((0.5, 0.5), (0.4, 0.6))
    assert [check.met for check in learn_penalties_checks([good, bad])] == [True, False]


def test_settings_that_cannot_be_run_are_named():
    bad = LearnPenaltiesSettings(
        train_images=600, searched=1, outer_rate=0.0, momentum=1.0, seeds=()
    )
    assert len(bad.problems()) == 5
    assert not LearnPenaltiesSettings().problems()


@pytest.mark.slow
def test_the_command_learns_and_draws(tmp_path, capsys):
    figure = tmp_path / "penalties"
    options = ["--train-images", "20", "--validation-images", "40", "--steps", "4"]
    options += ["--searched", "2", "--outer-steps", "2", "--seeds", "0"]
    assert main(["learn_penalties", *options, "--figure", str(figure)]) == 0
    assert "one for each weight" in capsys.readouterr().out
    assert figure.with_suffix(".png").exists()
