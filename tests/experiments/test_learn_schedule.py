import jax.numpy as jnp
import numpy as np
import pytest

from experiments.__main__ import main
from experiments.learn_schedule import (
    Judged,
    Outcome,
    bits,
    learn_schedule_checks,
    profile,
)
from experiments.learned_schedule import LearnScheduleSettings
from gradstab.reversible import Schedules


def falling(ends):
    sizes = np.full(100, 0.5)
    sizes[-3:] *= ends
    layer = {"kernel": jnp.asarray(sizes), "bias": jnp.ones(100)}
    return Schedules({"layer 1": layer}, {"layer 1": {"kernel": jnp.full(100, 0.5)}})


def judged(losses, ends=1.0):
    return Judged(falling(ends), np.asarray(losses), np.ones(len(losses)))


def test_claims_are_judged_by_medians_and_ends():
    constant, curves = judged([0.1, 0.2, 0.3]), np.ones((1, 5))
    good = Outcome(constant, [judged([0.1, 0.1, 0.9], 0.5)], curves)
    assert [check.met for check in learn_schedule_checks(good)] == [True, True]
    bad = Outcome(constant, [judged([0.2, 0.3, 0.9], 0.7)], curves)
    assert [check.met for check in learn_schedule_checks(bad)] == [False, False]


def test_stages_of_a_schedule():
    np.testing.assert_allclose(
        profile(judged([0.1], 0.25), "layer 1"), [0.5, 0.5, 0.5 * 0.25**0.3, 0.125]
    )
    assert bits(falling(1.0)) == pytest.approx(1.0)


def test_settings_that_cannot_be_run_are_named():
    bad = LearnScheduleSettings(
        steps=0, batch=0, hidden=(), head_start=0.0, seeds=(), searched=(1, 2)
    )
    assert len(bad.problems()) == 6
    assert LearnScheduleSettings(batch=50, train_images=40).problems()
    assert not LearnScheduleSettings().problems()


@pytest.mark.slow
def test_the_command_learns_and_draws(tmp_path, capsys):
    figure = tmp_path / "schedule"
    options = ["--hidden", "6", "--steps", "12", "--searched", "3", "2"]
    options += ["--starts", "2", "--outer-steps", "15", "--seeds", "0"]
    assert main(["learn_schedule", *options, "--figure", str(figure)]) == 0
    assert "learned, seed 0" in capsys.readouterr().out
    assert figure.with_suffix(".png").exists()
