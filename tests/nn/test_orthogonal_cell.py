from collections.abc import Callable
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import gradstab as gs
from tests.helpers import check_sequence_gradient, random_matrix


def make(
    activation_fn=jnp.tanh,
    *,
    kind: Callable[..., gs.nn.Parametrization] = gs.nn.Unconstrained,
    dtype=jnp.float32,
):
    rngs = nnx.Rngs(0)
    return gs.nn.OrthogonalCell(
        3,
        4,
        recurrent=kind((4, 4), param_dtype=dtype, rngs=rngs),
        activation_fn=activation_fn,
        bias_init=nnx.initializers.normal(),
        param_dtype=dtype,
        rngs=rngs,
    )


@pytest.mark.parametrize("activation_fn", [jnp.tanh, gs.nn.modrelu])
def test_step_is_the_documented_equation(activation_fn, any_dtype):
    cell = make(activation_fn, dtype=any_dtype)
    state, inputs = random_matrix(1, (4,), any_dtype), random_matrix(2, (3,), any_dtype)
    kernel, matrix = cell.dense.kernel[...], cell.recurrent()
    drive = kernel.T @ inputs + matrix @ state  # an asymmetric R acts from the left
    if cell.bias is not None:
        expected = gs.nn.modrelu(drive, cell.bias[...])
    else:
        assert cell.dense.bias is not None
        expected = jnp.tanh(drive + cell.dense.bias[...])
    carry, output = cell(state, inputs)
    np.testing.assert_allclose(carry, expected, atol=1e-5)
    assert carry.dtype == any_dtype
    assert output is carry


@pytest.mark.parametrize(
    "activation_fn",
    [jnp.tanh, jax.nn.relu, jax.nn.leaky_relu, jax.nn.sigmoid, jnp.sin, gs.nn.modrelu],
)
def test_sequence_gradient_is_that_of_stock_rnn(activation_fn):
    cell = make(activation_fn)
    inputs = jax.random.normal(jax.random.key(0), (2, 6, 3))
    check_sequence_gradient(cell, inputs, atol=1e-4)


def test_unitary_modrelu_sequence_gradient():
    cell = make(gs.nn.modrelu, kind=gs.nn.ScaledCayley, dtype=jnp.complex64)
    inputs = random_matrix(0, (2, 6, 3), jnp.complex64)

    @jax.jit
    def slope(rnn):
        return jax.grad(lambda rnn: jnp.sum(jnp.abs(rnn(inputs)) ** 2))(rnn)

    ours, stock = slope(gs.nn.RNN(cell)), slope(nnx.RNN(cell, rngs=False))
    for one, other in zip(*map(jax.tree.leaves, (ours, stock)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


def test_a_new_activate_is_not_given_the_old_derivative():
    class Doubled(gs.nn.OrthogonalCell):
        def activate(self, carry, products, projected):
            return 2 * super().activate(carry, products, projected)

    assert make().matmul_step.pullback is not None
    assert Doubled(3, 4, rngs=nnx.Rngs(0)).matmul_step.pullback is None


def test_zero_input_and_state_with_modrelu():
    cell = make(gs.nn.modrelu)

    def loss(rnn):
        return jnp.sum(rnn(jnp.zeros((2, 5, 3))))

    value, slope = jax.value_and_grad(loss)(gs.nn.RNN(cell))
    assert value == 0
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(slope))


def test_default_is_a_rotation():
    cell = gs.nn.OrthogonalCell(3, 4, rngs=nnx.Rngs(0))
    assert isinstance(cell.recurrent, gs.nn.Cayley)
    assert cell.contraction_bound == 1


def test_contraction_bound():
    rngs = nnx.Rngs(0)
    held = gs.nn.SVD((4, 4), center=0.5, radius=0.25, rngs=rngs)
    cell = gs.nn.OrthogonalCell(3, 4, recurrent=held, rngs=rngs)
    assert cell.contraction_bound == 0.75
    assert make().contraction_bound == np.inf
    for activation_fn in (gs.nn.modrelu, jnp.sin):
        assert make(activation_fn, kind=gs.nn.Cayley).contraction_bound is None
    assert make(kind=gs.nn.Cayley, dtype=jnp.complex64).contraction_bound is None


def test_flax_twin():
    cell = make(jax.nn.relu, kind=gs.nn.Cayley)
    inputs = jax.random.normal(jax.random.key(0), (2, 6, 3))
    twin = cell.flax_twin()
    assert twin is not None
    np.testing.assert_allclose(
        nnx.RNN(twin)(inputs), gs.nn.RNN(cell)(inputs), atol=1e-6
    )
    assert make(gs.nn.modrelu).flax_twin() is None


@pytest.mark.error_text
def test_rejects_a_matrix_of_another_shape():
    recurrent = gs.nn.Unconstrained((3, 4), rngs=nnx.Rngs(0))
    message = r"`recurrent` must have shape \(4, 4\), got \(3, 4\)\."
    with pytest.raises(ValueError, match=message):
        gs.nn.OrthogonalCell(3, 4, recurrent=recurrent, rngs=nnx.Rngs(0))


@pytest.mark.error_text
def test_rejects_a_complex_matrix_in_a_real_cell():
    recurrent = gs.nn.Unconstrained((4, 4), param_dtype=jnp.complex64, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="`recurrent` must be real, as the cell is"):
        gs.nn.OrthogonalCell(3, 4, recurrent=recurrent, rngs=nnx.Rngs(0))


@pytest.mark.error_text
def test_rejects_what_would_lose_numbers_or_is_no_map():
    with pytest.raises(ValueError, match="`dtype` must be complex.* got float32"):
        gs.nn.OrthogonalCell(
            3, 4, dtype=jnp.float32, param_dtype=jnp.complex64, rngs=nnx.Rngs(0)
        )
    with pytest.raises(ValueError, match="`recurrent` must be a Parametrization"):
        gs.nn.OrthogonalCell(3, 4, recurrent=cast(Any, jnp.eye(4)), rngs=nnx.Rngs(0))


def test_a_built_cell_knows_no_bound():
    cell = gs.nn.OrthogonalCell(3, 4, rngs=nnx.Rngs(0))
    assert cell.contraction_bound == 1.0
    assert gs.nn.materialize(cell).contraction_bound is None
