"""Measurements are compiled once."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from gradstab.diagnostics import depth_gradient_profile, diagnose, gradient_norms
from gradstab.diagnostics._compiled import compiled
from tests.diagnostics.models import Reader, inputs, make_cell, mean_square
from tests.helpers import nothing_compiled


def reader():
    return Reader(nnx.RNN(make_cell("flax_elman", 4)), 4)


def scaled(model, batch):
    return batch["scale"] * mean_square(model, batch["inputs"])


@pytest.mark.parametrize("measure", [diagnose, gradient_norms, depth_gradient_profile])
def test_a_call_like_the_last_compiles_nothing(measure, caplog):
    model = reader()
    first, second = inputs(5), -inputs(5)
    measure(model, first, mean_square)
    with nothing_compiled(caplog):
        measure(model, second, mean_square)


def test_constants_in_a_batch_are_part_of_the_program():
    model = reader()
    one, two = (
        gradient_norms(model, {"inputs": inputs(5), "scale": scale}, scaled)["rnn"]
        for scale in (1, 2)
    )
    np.testing.assert_allclose(two, 2 * one, rtol=1e-6)


def test_arrays_and_constants_beside_the_batch_pass():
    @compiled
    def measure(model, batch, loss, offset, *, power):
        return (loss(model, batch) + offset) ** power

    model = reader()
    value = mean_square(model, inputs(5))
    found = measure(model, inputs(5), mean_square, jnp.ones(()), power=3)
    np.testing.assert_allclose(found, (value + 1) ** 3, rtol=1e-6)
