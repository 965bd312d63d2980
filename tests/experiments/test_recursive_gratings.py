from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import gradstab as gs
from experiments.__main__ import main
from experiments.data.gratings import gratings
from experiments.recursive_gratings import WAYS, recursive_gratings_checks
from experiments.recursive_net import (
    STARTS,
    RecursiveGratingsSettings,
    Trained,
    gradients,
    network,
)


def test_starts():
    bases = {start: network(2, start, 16, 0)[1]["block"]["bases"] for start in STARTS}
    sizes = {start: float(optax.tree.norm(basis)) for start, basis in bases.items()}
    assert gs.optim.orthogonality_penalty(bases["orthonormal"]) < 1e-12
    assert sizes["he, scaled"] == pytest.approx(sizes["orthonormal"], rel=1e-5)
    # n · 9 · n entries of variance 2 / (9 n).
    assert sizes["he"] == pytest.approx((2 * 16) ** 0.5, rel=0.1)


def test_the_gradient_is_that_of_the_basis_alone():
    settings = RecursiveGratingsSettings(features=3, batch=4, draws=1)
    graph, params, key = network(2, "he", 3, 0)
    images, labels = gratings(key, 4, settings.noise)

    def loss(params):
        answers = nnx.merge(graph, params)(images)
        losses = optax.softmax_cross_entropy_with_integer_labels(answers, labels)
        return jnp.mean(losses)

    expected = jax.grad(loss)(params)["block"]["bases"][0]["weight"][...]
    found = gradients(2, "he", settings)
    np.testing.assert_allclose(found, [jnp.linalg.norm(expected)], rtol=1e-4)


@pytest.mark.parametrize(
    ("orthonormal", "he", "held", "met"),
    [(0.4, 40.0, 1e-4, [True] * 3), (5.0, 2.0, 0.5, [False] * 3)],
)
def test_judges(orthonormal, he, held, met):
    growth: Any = {"orthonormal": orthonormal, "he": he, "he, scaled": 1.0}
    first: Any = {(4, start): np.ones(3) for start in STARTS}
    first |= {(12, start): np.full(3, growth[start]) for start in STARTS}
    found: Any = {
        (4, start, is_held): Trained(np.array([held if is_held else 0.1]), np.ones(1))
        for start, is_held in WAYS
    }
    assert [check.met for check in recursive_gratings_checks(first, found)] == met


@pytest.mark.slow
def test_prints_both_tables(capsys):
    tiny = ["--recursions", "2", "--features", "3", "--batch", "4", "--steps", "2"]
    tiny += ["--test-images", "5", "--draws", "2", "--seeds", "0"]
    assert main(["recursive_gratings", *tiny]) == 0
    printed = capsys.readouterr().out
    assert "of 2 draws" in printed
    assert "after 2 steps" in printed
    assert main(["recursive_gratings", "--recursions", "0", "--draws", "0"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 2
