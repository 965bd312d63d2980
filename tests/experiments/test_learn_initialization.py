import jax
import numpy as np
import pytest

from experiments.__main__ import main
from experiments.digit_classifier import load
from experiments.learn_initialization import (
    Initialization,
    LearnInitializationSettings,
    Outcome,
    learn_initialization_checks,
)

SMALL = LearnInitializationSettings(hidden=(8,), steps=8, outer_steps=12, starts=2)


def test_scales_move_from_the_first_towards_lower_losses():
    drawing = Initialization(SMALL, load(None, 100)[0])
    path = drawing.learn(jax.random.key(0))
    first = drawing.all_at(np.exp(-3))
    for one, other in zip(
        jax.tree.leaves(path[0]), jax.tree.leaves(first), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-5)
    keys = jax.random.split(jax.random.key(1), 2)
    assert drawing.judge(path[-1], keys).mean() < drawing.judge(first, keys).mean()


def test_noise_has_unit_variance_and_scales_by_fan_in_undo_it():
    drawing = Initialization(SMALL, load(None, 100)[0])
    noise, _ = drawing.noise(jax.random.key(0))
    for layer in noise.values():
        assert np.std(layer["kernel"]) == pytest.approx(1, abs=0.15)
    scales = drawing.by_fan_in()
    assert float(scales["layer 1"]["kernel"]) == pytest.approx(1 / 8)
    assert float(scales["layer 2"]["bias"]) == 0


def test_claims_compare_medians_and_the_first_scale():
    def outcome(loss, end):
        path = {"layer 1": {"kernel": np.asarray([0.05, end])}}
        losses = {"at first": [2.0], "fan-in": [0.5, 0.6], "learned, seed 0": loss}
        return Outcome([path], {k: np.asarray(v) for k, v in losses.items()})

    good = learn_initialization_checks(outcome([0.4, 0.5], 0.12), 0.125)
    assert [check.met for check in good] == [True, True]
    bad = learn_initialization_checks(outcome([0.6, 0.7], 0.2), 0.125)
    assert [check.met for check in bad] == [False, False]


def test_settings_that_cannot_be_run_are_named():
    bad = LearnInitializationSettings(
        steps=0, batch=0, hidden=(), step_size=0.0, momentum=1.0, start=2.0, seeds=()
    )
    assert len(bad.problems()) == 7
    assert LearnInitializationSettings(batch=50, train_images=40).problems()
    assert not LearnInitializationSettings().problems()


@pytest.mark.slow
def test_the_command_learns_and_draws(tmp_path, capsys):
    figure = tmp_path / "scales"
    options = ["--hidden", "6", "--steps", "6", "--starts", "2"]
    options += ["--outer-steps", "3", "--seeds", "0"]
    assert main(["learn_initialization", *options, "--figure", str(figure)]) == 0
    assert "learned, seed 0" in capsys.readouterr().out
    assert figure.with_suffix(".png").exists()
