import dataclasses
import functools

import jax.numpy as jnp
import numpy as np
import pytest

from experiments.adding import AddingSettings, adding_task
from experiments.training import NonFiniteLossError, check_finite, train

SMALL = AddingSettings(
    length=6,
    hidden=4,
    reflectors=2,
    negatives=2,
    batch=8,
    steps=6,
    evaluate_every=3,
    test_sequences=16,
    seeds=(0, 1),
)


@functools.cache
def run(method, **changes):
    settings = dataclasses.replace(SMALL, **changes)
    reported = []
    training = train(adding_task(settings), method, settings, reported.append)
    assert reported == training.measurements
    return training


@pytest.mark.parametrize("method", ["rnn", "spectral_rnn"])
def test_measures_before_the_first_step_and_after_each_stretch(method):
    training = run(method)
    assert [one.step for one in training.measurements] == [0, 3, 6]
    for one in training.measurements:
        assert one.score.shape == (2,)
        assert one.gradient.shape == (2, 6)
    # Every seed starts from the answer 0, and goes its own way.
    first, *_, last = training.measurements
    assert first.score[0] == first.score[1]
    assert len({first.score[0], last.score[0], last.score[1]}) == 3
    assert np.all(np.isnan(training.measurements[0].loss))
    assert np.all(np.isfinite(training.measurements[-1].loss))


@pytest.mark.parametrize("method", ["rnn", "spectral_rnn"])
def test_seeds_side_by_side_are_seeds_one_by_one(method):
    together, alone = run(method), run(method, seeds=(1,))
    for both, one in zip(together.measurements, alone.measurements, strict=True):
        # Products of stacked matrices are summed in another order: a few roundings of
        # float32 a step.
        np.testing.assert_allclose(both.score[1], one.score[0], rtol=1e-5)
        np.testing.assert_allclose(
            both.gradient[1], one.gradient[0], rtol=1e-4, atol=1e-7
        )


@pytest.mark.parametrize("method", ["rnn", "spectral_rnn"])
def test_the_models_are_those_that_were_measured(method):
    inputs, targets = adding_task(SMALL).test
    training = run(method)
    scores = training.measurements[-1].score
    for model, score in zip(training.models, scores, strict=True):
        errors = jnp.mean((model(inputs) - targets) ** 2)
        np.testing.assert_allclose(errors, score, rtol=1e-5)


def test_a_loss_that_is_not_finite_stops_the_run():
    with pytest.raises(NonFiniteLossError, match="tanh RNN, seed 0: .* at step [12]"):
        run("rnn", seeds=(0,), learning_rate=1e38)


def test_names_the_earliest_number_that_is_not_finite():
    losses = np.ones((2, 3))
    losses[0, 2], losses[1, 1] = np.nan, np.inf
    with pytest.raises(NonFiniteLossError, match="seed 8: the loss is inf at step 11"):
        check_finite(losses, 10, "rnn", (7, 8))
    check_finite(np.ones((2, 3)), 0, "rnn", (7, 8))
