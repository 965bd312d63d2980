import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import gradstab as gs
from tests.helpers import check_grads, random_matrix
from tests.linalg.test_conv_singular_values import dense


def kernel_of(matrix, shape=(3, 2, 2, 4), **options):
    columns = shape[-1]
    held = matrix((math.prod(shape) // columns, columns), rngs=nnx.Rngs(0))
    return gs.nn.MatrixConvKernel(shape, matrix=held, **options)


def test_it_is_the_matrix_in_the_shape_of_a_kernel():
    kernel = kernel_of(gs.nn.SVD)
    np.testing.assert_array_equal(kernel().reshape(12, 4), kernel.matrix())
    assert kernel.free_parameters == kernel.matrix.free_parameters
    assert kernel.param_dtype == jnp.float32


@pytest.mark.parametrize(
    ("positions", "strides", "factor"),
    [
        ((3, 2), 1, math.sqrt(6)),
        ((3, 2), (2, 1), math.sqrt(4)),
        ((5, 4), (2, 3), math.sqrt(6)),
        ((3, 2), (3, 2), 1.0),
    ],
)
def test_the_bound_is_kept_and_reached(positions, strides, factor):
    shape = (*positions, 2, 4)
    kernel = kernel_of(gs.nn.Householder, shape, strides=strides)
    low, high = kernel.singular_value_bounds
    assert high == pytest.approx(factor)
    assert low == (1.0 if positions == strides else 0.0)
    image = tuple(2 * s for s in kernel.strides)
    values = gs.linalg.conv_singular_values(kernel(), image, strides=strides)
    assert values[0] <= high + 1e-5
    assert values[-1] >= low - 1e-5
    padded = dense(kernel(), (4, 5), kernel.strides, "SAME")
    assert np.linalg.norm(padded, 2) <= high + 1e-5
    # Equal entries that overlap reach it where the strides divide the positions.
    if all(k % s == 0 for k, s in zip(positions, kernel.strides, strict=True)):
        equal = jnp.full((*positions, 1, 1), math.prod(positions) ** -0.5)
        found = gs.linalg.conv_singular_values(equal, image, strides=strides)
        np.testing.assert_allclose(found[0], high, rtol=1e-5)


def test_assign_is_that_of_the_matrix():
    kernel = kernel_of(gs.nn.Householder)
    given = random_matrix(0, kernel.shape, jnp.float32)
    with pytest.raises(ValueError, match="outside the set of MatrixConvKernel"):
        kernel.assign(given)
    kernel.assign(given, project=True)
    expected = gs.linalg.polar(given.reshape(12, 4))
    np.testing.assert_allclose(kernel().reshape(12, 4), expected, atol=1e-5)
    kernel.assign(kernel())


@pytest.mark.usefixtures("nnx_mode")
def test_the_verbs_on_models_know_it():
    kernel = kernel_of(gs.nn.SVD)
    built = kernel()
    np.testing.assert_array_equal(gs.nn.materialize(kernel)(), built)
    np.testing.assert_array_equal(gs.nn.export(kernel)(), built)
    np.testing.assert_array_equal(gs.nn.refresh(kernel)(), built)
    assert all(jax.tree.leaves(gs.nn.unconstrained_mask(kernel)))


def test_low_precision_is_that_of_the_matrix():
    matrix = gs.nn.SVD((12, 4), param_dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
    kernel = gs.nn.MatrixConvKernel((3, 2, 2, 4), matrix=matrix)
    assert kernel().dtype == jnp.bfloat16
    kernel.assign(kernel())
    np.testing.assert_allclose(
        kernel().astype(jnp.float32), matrix().astype(jnp.float32).reshape(kernel.shape)
    )


def test_gradient_agrees_with_central_differences():
    with jax.enable_x64(True):
        matrix = gs.nn.SVD((6, 3), param_dtype=jnp.float64, rngs=nnx.Rngs(0))
        kernel = gs.nn.MatrixConvKernel((3, 2, 3), matrix=matrix)
        graph, params, rest = nnx.split(kernel, nnx.Param, ...)

        @jax.jit
        def loss(params):
            return jnp.sum(nnx.merge(graph, params, rest)() ** 3)

        check_grads(loss, (params,), order=1, modes=["rev"])


@pytest.mark.error_text
@pytest.mark.parametrize(
    ("shape", "matrix", "message"),
    [
        ((3, 2, 4), jnp.ones((6, 4)), "must be a Parametrization, got"),
        ((3, 2, 4), (4, 6), r"must have shape \(6, 4\), got \(4, 6\)"),
        ((6, 4), (6, 4), "at least one axis of positions"),
    ],
)
def test_refuses_what_is_no_kernel(shape, matrix, message):
    if isinstance(matrix, tuple):
        matrix = gs.nn.SVD(matrix, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match=message):
        gs.nn.MatrixConvKernel(shape, matrix=matrix)
