from typing import Any

import jax
import numpy as np
import pytest
from flax import nnx

from experiments.__main__ import main
from experiments.channel_norm_depth import (
    Chain,
    ChannelNormDepthSettings,
    channel_norm_checks,
    gradient_norms,
    objective,
)
from tests.helpers import random_matrix

SIZE = 7


def circulant(signals):
    """The matrix of the convolution of all signals, column by column."""
    matrix = np.eye(SIZE)
    for signal in np.asarray(signals):
        columns = [np.roll(signal, place) for place in range(SIZE)]
        matrix = np.stack(columns, axis=1) @ matrix
    return matrix


@pytest.mark.parametrize("normalized", [False, True])
def test_gradients_are_those_written_down(normalized):
    with jax.enable_x64(True):
        signals = random_matrix(0, (3, SIZE), "float64")
        last, target = random_matrix(1, (2, SIZE), "float64")
        matrix = circulant(signals)
        answer = matrix @ np.asarray(last)
        if normalized:
            length = np.linalg.norm(answer)
            u = answer / length
            expected = -matrix.T @ (np.eye(SIZE) - np.outer(u, u)) @ target / length
        else:
            expected = -matrix.T @ (target - answer)
        found = jax.grad(objective)(last, signals, target, normalized=normalized)
        np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_a_frequency_of_a_filter_has_the_mean_logarithm_of_an_exponential():
    # log |ŵ|² of N(0, 1/n) filters: mean -γ, variance π²/6.
    filters = np.random.default_rng(0).normal(size=(4000, 64)) / 8
    squares = np.abs(np.fft.rfft(filters)[:, 1:-1]) ** 2
    assert np.mean(np.log(squares)) == pytest.approx(-np.euler_gamma, abs=0.01)
    assert np.var(np.log(squares)) == pytest.approx(np.pi**2 / 6, abs=0.02)


def test_few_draws_already_show_it():
    settings = ChannelNormDepthSettings(draws=200)
    medians = {
        depth: {kind: np.median(found) for kind, found in norms.items()}
        for depth in (2, 80)
        for norms in [gradient_norms(depth, settings)]
    }
    assert medians[80][False] < 1e-4 < 10 < medians[2][False]
    assert 0.5 < medians[80][True] < 1 < 2 * medians[2][True]


def test_a_chain_is_convolutions():
    settings = ChannelNormDepthSettings(kernel=3)
    chain: Any = Chain(2, "bias", settings, rngs=nnx.Rngs(0))
    signal = random_matrix(0, (SIZE,), "float32")
    expected = np.asarray(signal)
    for kernel in np.asarray(chain.filters[...]):
        expected = sum(
            weight * np.roll(expected, 1 - place) for place, weight in enumerate(kernel)
        )
    expected = expected * chain.readout.kernel[0, 0] + chain.readout.bias[0]
    np.testing.assert_allclose(chain(signal), jax.nn.sigmoid(expected), atol=1e-6)


@pytest.mark.parametrize(
    ("plain", "normalized", "fitted", "stuck", "met"),
    [
        ([9.0, 1e-4], [1.0, 0.9], 0.1, 0.25, [True] * 4),
        ([9.0, 1.0], [1.0, 0.1], 0.3, 0.2, [False] * 4),
    ],
)
def test_judges(plain, normalized, fitted, stuck, met):
    norms = {
        depth: {False: np.array([plain[place]]), True: np.array([normalized[place]])}
        for place, depth in enumerate((2, 80))
    }
    errors = {(5, "full"): np.array([0.0, fitted]), (5, "bias"): np.array([0.5, stuck])}
    assert [check.met for check in channel_norm_checks(norms, errors)] == met


@pytest.mark.slow
def test_prints_both_tables(capsys):
    small = ["--size", "8", "--draws", "9", "--depths", "2", "3", "--train-size", "8"]
    small += ["--kernel", "3", "--train-depths", "2", "--steps", "2", "--seeds", "0"]
    assert main(["channel_norm_depth", *small]) == 0
    printed = capsys.readouterr().out
    assert "9 draws" in printed
    assert "2 steps" in printed
    assert main(["channel_norm_depth", "--depths", "1", "--kernel", "200"]) == 2
    complaints = capsys.readouterr().err.splitlines()
    assert len(complaints) == 2
    assert "--kernel must lie between 1 and 128" in complaints[0]
