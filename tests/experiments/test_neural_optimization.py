import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import gradstab as gs
from experiments.__main__ import main
from experiments.neural_optimization import neural_optimization_checks
from experiments.noisy_digits import Network, accuracies, ways
from experiments.proximal_descent import (
    Descent,
    NeuralOptimizationSettings,
    descent,
    proximal_maps,
)

SMALL = NeuralOptimizationSettings(
    in_features=8, code_features=16, descent_steps=100, inputs=3
)


def naive_descent(proximal, settings):
    """The values of Q in NumPy, with A multiplied out."""
    with jax.enable_x64(True):
        rngs = nnx.Rngs(0)
        block = gs.nn.ProximalBlock(
            settings.in_features,
            settings.code_features,
            param_dtype=jnp.float64,
            rngs=rngs,
        )
        a = np.asarray(block.frame())
        x = np.asarray(jax.random.normal(rngs.params(), (3, settings.in_features)))
        y, values = np.zeros((3, settings.code_features)), []
        for _ in range(settings.descent_steps + 1):
            penalty = np.asarray(proximal.penalty(jnp.asarray(y)))
            values.append(np.sum((x - y @ a.T) ** 2, axis=1) / 2 + penalty)
            y = np.asarray(proximal(jnp.asarray(y + (x - y @ a.T) @ a)))
    return np.array(values)


def test_follows_the_objective():
    found = descent(gs.nn.SoftThreshold(0.1), SMALL)
    values = naive_descent(gs.nn.SoftThreshold(0.1), SMALL)
    assert found.left == pytest.approx(np.mean(values[-1] / values[0]), rel=1e-9)
    assert found.rise <= 1e-15
    assert found.share is not None
    assert 0 < found.share <= 1


def test_the_claims_hold_and_the_bound_is_for_convex_penalties():
    found = {
        name: descent(proximal, SMALL)
        for name, proximal in proximal_maps(SMALL).items()
    }
    assert all(check.met for check in neural_optimization_checks(found))
    assert found["hard threshold"].share is None


@pytest.mark.parametrize(
    ("rise", "share", "met"),
    [(0.0, 0.9, (True, True)), (1e-9, 0.9, (False, True)), (0.0, 1.1, (True, False))],
)
def test_judges_rises_and_the_bound(rise, share, met):
    found = {"a": Descent(rise, 0.5, 0.1), "b": Descent(0.0, 0.5, share)}
    found["c"] = Descent(-1.0, 0.5, None)
    assert tuple(check.met for check in neural_optimization_checks(found)) == met
    assert len(neural_optimization_checks({"c": found["c"]})) == 1


def test_what_comes_before_is_applied():
    settings = NeuralOptimizationSettings(width=4, maps=("soft",))
    for name, way in ways(settings).items():
        rngs = nnx.Rngs(0)
        before = way.before(6, rngs)
        model = Network(before, 6 if before is None else 12, 4, rngs=rngs)
        x = jax.random.normal(rngs.params(), (3, 6))
        h = x if before is None else before(x)
        assert h.shape == (3, 6 if name == "nothing" else 12)
        expected = model.readout(jax.nn.relu(model.second(jax.nn.relu(model.first(h)))))
        np.testing.assert_allclose(model(x), expected, rtol=1e-5, atol=1e-6)


def test_a_random_block_is_not_trained():
    way = ways(NeuralOptimizationSettings())["block, ReLU, random"]
    rngs = nnx.Rngs(0)
    assert jax.tree.leaves(nnx.state(way.before(6, rngs), nnx.Param)) == []
    way = ways(NeuralOptimizationSettings())["block, ReLU, trained"]
    (vectors,) = jax.tree.leaves(nnx.state(way.before(6, rngs), nnx.Param))
    assert vectors.shape == (6, 6)


@pytest.mark.slow
def test_learns_digits_and_noise_harms():
    settings = NeuralOptimizationSettings(
        width=16, steps=400, seeds=(0,), draws=1, noises=(0.0, 2.0)
    )
    scores, trained = accuracies(ways(settings)["block, ReLU, random"], settings)
    assert trained == (128 + 1) * 16 + (16 + 1) * 16 + (16 + 1) * 10
    assert scores[0, 0] > 0.8
    assert scores[0, 1] < scores[0, 0] - 0.2


@pytest.mark.slow
def test_prints_tables(capsys):
    options = ["--descent-steps", "5", "--width", "3", "--steps", "2", "--seeds", "0"]
    assert (
        main(["neural_optimization", *options, "--draws", "1", "--maps", "hard"]) == 0
    )
    out = capsys.readouterr().out
    assert "largest rise of Q" in out
    assert "block, hard threshold, trained" in out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--steps", "0"], "--steps must be at least 1"),
        (["--in-features", "0"], "--in-features must be at least 2"),
        (["--code-features", "63"], "must be even"),
        (["--code-features", "16"], "at least --in-features"),
        (["--strength", "-1"], "--strength must be at least 0, got -1.0"),
        (["--noises", "-1"], "none negative"),
        (["--seeds"], "--seeds must be at least one, none negative"),
    ],
)
def test_says_what_cannot_be_run(capsys, options, message):
    assert main(["neural_optimization", *options]) == 2
    assert message in capsys.readouterr().err
