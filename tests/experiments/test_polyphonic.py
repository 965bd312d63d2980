from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import polyphonic
from experiments.__main__ import main
from experiments.data.polyphonic import RollSplits, bucketed, frame_nll
from experiments.polyphonic import PRESETS, polyphonic_task


def piece(seed, length):
    rng = np.random.default_rng(seed)
    return (rng.random((length, 88)) < 0.1).astype(np.uint8)


SPLITS = RollSplits(
    train=[piece(0, 7), piece(1, 3), piece(2, 1)],
    validation=[piece(3, 4), piece(4, 2)],
    test=[piece(5, 6), piece(6, 1), piece(7, 3)],
)


@pytest.fixture
def task(monkeypatch):
    monkeypatch.setattr(polyphonic, "load_polyphonic", lambda name, folder: SPLITS)
    return polyphonic_task(replace(PRESETS["quick"], length=3, batch=50))


def test_a_time_step_is_predicted_from_those_before_it(task):
    inputs, targets = task.test
    for place, roll in enumerate(SPLITS.test):
        np.testing.assert_array_equal(inputs[place, 0], 0)
        np.testing.assert_array_equal(inputs[place, 1 : len(roll)], roll[:-1])
        np.testing.assert_array_equal(targets.values[place, : len(roll)], roll)
        assert np.all(np.asarray(targets.weights)[place, : len(roll)] > 0)
        np.testing.assert_array_equal(targets.weights[place, len(roll) :], 0)


def test_the_score_is_that_of_a_time_step_of_all_pieces(task):
    logits = jax.random.normal(jax.random.key(0), task.test[1].values.shape)
    score = jnp.mean(task.scores(logits, task.test[1]))
    (batch,) = bucketed(SPLITS.test, 3, multiple=6)
    order = sorted(range(3), key=lambda place: len(SPLITS.test[place]))
    np.testing.assert_allclose(
        score, frame_nll(logits[np.array(order)], batch), rtol=1e-5
    )


def test_training_sequences_are_all_parts_of_all_pieces(task):
    inputs, targets = task.draw(jax.random.key(0), task.train)
    assert inputs.shape == (50, 3, 88)
    parts = {
        np.asarray(roll[first : first + 3]).tobytes()
        for roll in SPLITS.train
        for first in range(0, len(roll), 3)
    }
    found = {
        np.asarray(values[weights > 0], np.uint8).tobytes()
        for values, weights in zip(
            np.asarray(targets.values), np.asarray(targets.weights), strict=True
        )
    }
    assert found == parts


def test_the_baseline_knows_how_often_each_key_sounds(task):
    frames = np.concatenate(SPLITS.train)
    often = jnp.asarray((frames.sum(0) + 1) / (len(frames) + 2))
    logits = jnp.log(often) - jnp.log1p(-often)
    answers = jnp.broadcast_to(logits, task.test[1].values.shape)
    score = jnp.mean(task.scores(answers, task.test[1]))
    np.testing.assert_allclose(score, task.baseline, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.usefixtures("task")
def test_learns_from_music(tmp_path, capsys):
    small = "--steps 2 --hidden 4 --length 3 --batch 2 --seeds 0".split()
    kinds = ["--methods", "spectral_gru", "clipped_gru", "--runs", str(tmp_path)]
    assert main(["polyphonic", *small, *kinds]) == 0
    assert "negative log-likelihood of a time step" in capsys.readouterr().out
