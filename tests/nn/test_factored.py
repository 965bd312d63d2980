from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import gradstab as gs
from gradstab.nn._factored import Factored, factored
from tests.helpers import random_matrix

SIZE = 128


def make(kind: Any = gs.nn.SVD, reflectors=3, dtype: Any = jnp.float64, **options):
    shape = (SIZE, SIZE)
    matrix = kind(
        shape, reflectors=reflectors, param_dtype=dtype, rngs=nnx.Rngs(0), **options
    )
    if kind is gs.nn.SVD:
        matrix.spectrum[...] = random_matrix(1, (SIZE,), matrix.spectrum[...].dtype)
    matrix.signs[...] = matrix.signs[...].at[3].set(-1)
    return matrix


def cell_of(matrix, activation_fn=jnp.tanh, **options):
    return gs.nn.OrthogonalCell(
        3,
        SIZE,
        recurrent=matrix,
        activation_fn=activation_fn,
        bias_init=nnx.initializers.normal(0.1),
        param_dtype=matrix.param_dtype,
        rngs=nnx.Rngs(1),
        **options,
    )


KINDS = pytest.mark.parametrize("kind", [gs.nn.SVD, gs.nn.Householder])


@KINDS
@pytest.mark.parametrize("name", ["float32", "float64", "complex128"])
def test_multiplied_out_it_is_the_matrix(kind, name):
    with jax.enable_x64(name != "float32"):
        matrix = make(kind, dtype=jnp.dtype(name))
        parts = factored(matrix)
        assert isinstance(parts, Factored)
        assert parts().dtype == matrix().dtype
        limit = 100 * float(jnp.finfo(matrix().dtype).eps)
        np.testing.assert_allclose(parts(), matrix(), atol=limit)


@KINDS
@pytest.mark.parametrize(
    "activation_fn",
    [jnp.tanh, jax.nn.leaky_relu, gs.nn.modrelu],
    ids=["tanh", "leaky_relu", "modrelu"],
)
@pytest.mark.parametrize("checkpoint_every", [None, 3])
def test_values_and_gradients_are_those_of_the_built_matrix(
    kind, activation_fn, checkpoint_every
):
    with jax.enable_x64(True):
        cell = cell_of(make(kind), activation_fn)
        inputs = random_matrix(2, (2, 7, 3), "float64")
        start = random_matrix(3, (2, SIZE), "float64")

        def loss(layer, inputs, start):
            lengths = jnp.array([7, 4])
            return jnp.sum(layer(inputs, initial_carry=start, seq_lengths=lengths) ** 3)

        slope = jax.jit(jax.value_and_grad(loss, (0, 1, 2)))
        ours = slope(gs.nn.RNN(cell, checkpoint_every=checkpoint_every), inputs, start)
        # Materialized ahead, the matrix comes built, and no factor is made.
        dense = slope_of_the_dense(cell, inputs, start)
        for one, other in zip(*map(jax.tree.leaves, (ours, dense)), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9)


@jax.jit
def slope_of_the_dense(cell, inputs, start):
    def loss(cell, inputs, start):
        layer = gs.nn.RNN(gs.nn.materialize(cell))
        lengths = jnp.array([7, 4])
        return jnp.sum(layer(inputs, initial_carry=start, seq_lengths=lengths) ** 3)

    return jax.value_and_grad(loss, (0, 1, 2))(cell, inputs, start)


@pytest.mark.usefixtures("nnx_mode")
def test_few_reflectors_make_no_square_matrix():
    def squares(reflectors, *, gradient):
        rnn = gs.nn.RNN(cell_of(make(reflectors=reflectors, dtype=jnp.float32)))

        def loss(rnn, inputs):
            return jnp.sum(rnn(inputs))

        function = jax.grad(loss) if gradient else loss
        return f"f32[{SIZE},{SIZE}]" in str(
            jax.make_jaxpr(function)(rnn, jnp.ones((2, 4, 3)))
        )

    for gradient in (False, True):
        assert not squares(8, gradient=gradient)
        assert squares(9, gradient=gradient)


def test_what_has_no_few_reflectors_stays():
    rngs = nnx.Rngs(0)
    for matrix in (
        gs.nn.Cayley((SIZE, SIZE), rngs=rngs),
        make(gs.nn.Householder, reflectors=17, dtype=jnp.float32),
        gs.nn.SVD((64, 64), reflectors=1, rngs=rngs),
        gs.nn.Materialized(jnp.eye(SIZE)),
    ):
        assert factored(matrix) is matrix


def test_a_cell_with_a_kernel_of_its_own_gets_the_built_matrix():
    class Turned(gs.nn.OrthogonalCell):
        def recurrent_kernels(self):
            return (self.recurrent().astype(self.dtype),)

    matrix = make(dtype=jnp.float32)
    turned = Turned(3, SIZE, recurrent=matrix, rngs=nnx.Rngs(1))
    assert isinstance(turned._built().recurrent, gs.nn.Materialized)
    assert isinstance(cell_of(matrix)._built().recurrent, Factored)


def test_can_be_tabulated():
    rnn = gs.nn.RNN(cell_of(make(dtype=jnp.float32)))
    table = nnx.tabulate(
        rnn, jnp.ones((2, 4, 3)), console_kwargs={"force_terminal": False}
    )
    assert "Total Parameters: 1,536 " in str(table)


def test_low_precision_products_keep_the_state_in_float32():
    matrix, inputs = make(dtype=jnp.float32), random_matrix(2, (2, 7, 3), "float32")
    exact, low = (
        gs.nn.RNN(cell_of(matrix, dtype=dtype))(inputs)
        for dtype in (None, jnp.bfloat16)
    )
    assert low.dtype == jnp.float32
    np.testing.assert_allclose(low, exact, atol=0.1)


def test_coordinates_of_another_number_of_reflectors_are_refused():
    matrix = make(dtype=jnp.float32)
    nnx.update(matrix, nnx.state(make(reflectors=1, dtype=jnp.float32), nnx.Param))
    with pytest.raises(ValueError, match="3 reflectors holds"):
        gs.nn.RNN(cell_of(matrix))(jnp.ones((2, 4, 3)))
