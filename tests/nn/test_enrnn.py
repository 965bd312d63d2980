from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import gradstab as gs
from tests.helpers import random_matrix


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def make(short=2, hidden=6, **options) -> Any:
    options = {"param_dtype": jnp.float64} | options
    return gs.nn.ENRNNCell(3, hidden, short_features=short, rngs=nnx.Rngs(0), **options)


def kernel(cell):
    (found,) = cell.recurrent_kernels()
    return found.mT


def test_step_is_the_documented_equation():
    cell = make(bias_init=nnx.initializers.normal())
    state, inputs = random_matrix(1, (6,), "float64"), random_matrix(2, (3,), "float64")
    long, short = state[:4], state[4:]
    drive = cell.dense(inputs)
    coupling = cell.coupling[...].mT
    expected = gs.nn.modrelu(
        jnp.concatenate([
            drive[:4] + cell.long() @ long + coupling @ short,
            drive[4:] + cell.short() @ short,
        ]),
        cell.bias[...],
    )
    carry, _ = cell(state, inputs)
    np.testing.assert_allclose(carry, expected, atol=1e-14)


@pytest.mark.parametrize("activation_fn", [gs.nn.modrelu, jnp.tanh])
def test_the_lean_gradient_is_that_of_stock_flax(activation_fn):
    cell = make(activation_fn=activation_fn)
    inputs = random_matrix(4, (2, 7, 3), "float64")

    def loss(layer, inputs):
        carry = cell.initialize_carry((2, 3)) + 0.1
        return jnp.sum(layer(inputs, initial_carry=carry) ** 3)

    slope = jax.jit(jax.grad(loss, (0, 1)))
    ours, stock = (
        slope(gs.nn.RNN(cell), inputs),
        slope(nnx.RNN(cell, rngs=False), inputs),
    )
    for one, other in zip(*map(jax.tree.leaves, (ours, stock)), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-13)


def test_its_eigenvalues_are_those_of_its_two_memories():
    cell = make()
    parts = [np.linalg.eigvals(np.asarray(m())) for m in (cell.long, cell.short)]
    whole = np.linalg.eigvals(np.asarray(kernel(cell)))
    for value in np.concatenate(parts):
        assert np.min(np.abs(whole - value)) < 1e-7
    np.testing.assert_allclose(np.abs(parts[0]), 1, atol=1e-14)
    assert np.all(np.abs(parts[1]) < 1)


def test_without_short_memory_it_is_scornn():
    cell = make(short=0)
    twin = gs.nn.OrthogonalCell(
        3,
        6,
        recurrent=cell.long,
        activation_fn=gs.nn.modrelu,
        param_dtype=jnp.float64,
        rngs=nnx.Rngs(1),
    )
    twin.dense, twin.bias = cell.dense, cell.bias
    inputs = random_matrix(5, (2, 4, 3), "float64")
    np.testing.assert_array_equal(gs.nn.RNN(cell)(inputs), gs.nn.RNN(twin)(inputs))
    assert cell.coupling is None


def test_without_coupling_the_memories_do_not_see_each_other():
    cell = make(coupled=False)
    matrix = kernel(cell)
    np.testing.assert_array_equal(matrix[:4, 4:], 0)
    np.testing.assert_array_equal(matrix[4:, :4], 0)
    assert jnp.any(kernel(make())[:4, 4:] != 0)
    np.testing.assert_array_equal(kernel(make())[4:, :4], 0)


def test_the_long_memory_lasts_and_the_short_one_fades():
    short = gs.nn.EigenvalueNormalized(
        (2, 2),
        radius=0.9,
        mode="always",
        matrix_init=nnx.initializers.normal(),
        param_dtype=jnp.float64,
        rngs=nnx.Rngs(7),
    )
    cell = make(short=short.shape[0], coupled=False)
    cell.short = short
    matrix = kernel(cell)
    state = random_matrix(1, (6,), "float64")
    sizes = []
    for _ in range(400):
        state = matrix @ state
        sizes.append([jnp.linalg.norm(state[:4]), jnp.linalg.norm(state[4:])])
    long, fading = np.array(sizes).T
    np.testing.assert_allclose(long, long[0], rtol=1e-12)
    rate = (fading[-1] / fading[99]) ** (1 / 300)
    assert rate == pytest.approx(0.9, abs=5e-3)


def test_starts_as_the_paper_does():
    cell = make(short=20, hidden=60)
    assert jnp.max(jnp.abs(cell.dense.kernel[...])) <= 0.01
    assert cell.coupling.shape == (20, 40)
    limit = (6 / 60) ** 0.5
    assert 0.9 * limit < jnp.max(jnp.abs(cell.coupling[...])) <= limit
    np.testing.assert_array_equal(cell.bias[...], 0)
    assert cell.contraction_bound is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"short": 7}, "`short_features` must"),
        ({"short": -1}, "`short_features` must"),
        (
            {"long": gs.nn.Cayley((5, 5), rngs=nnx.Rngs(0))},
            r"`long` must have shape \(4, 4\)",
        ),
    ],
)
def test_refuses_what_does_not_fit(options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)
