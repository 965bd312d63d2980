from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import gradstab as gs
from tests.helpers import random_matrix


def make(kernel_size=(3, 3), **options) -> Any:
    options = {"shared_features": 4, "private_features": 2, **options}
    return gs.nn.SharedBasisConv(5, 6, kernel_size, rngs=nnx.Rngs(0), **options)


def basis_for(conv, seed=0, dtype="float32"):
    return random_matrix(seed, conv.basis_shape, dtype)


@pytest.mark.parametrize("kernel_size", [(3,), (3, 3), (1, 1), (3, 2, 2)])
@pytest.mark.parametrize("private_features", [0, 2])
@pytest.mark.parametrize(("strides", "padding"), [(1, "SAME"), (2, "VALID")])
def test_without_norms_it_is_one_convolution(
    kernel_size, private_features, strides, padding, nnx_mode
):
    del nnx_mode
    conv = make(
        kernel_size, private_features=private_features, strides=strides, padding=padding
    )
    basis = basis_for(conv)
    inputs = random_matrix(1, (2, *(6,) * len(kernel_size), 5), "float32")
    dense = nnx.Conv(
        5, 6, kernel_size, strides, padding=padding, use_bias=False, rngs=nnx.Rngs(0)
    )
    dense.kernel[...] = conv.dense_kernel(basis)
    np.testing.assert_allclose(conv(inputs, basis), dense(inputs), atol=2e-4)


def test_private_filters_come_first():
    conv = make()
    basis = basis_for(conv)
    filters = conv.filters(basis)
    np.testing.assert_array_equal(filters[..., :2], conv.private[...])
    np.testing.assert_array_equal(filters[..., 2:], basis)


def test_both_normalizations_are_where_they_belong():
    norm = partial(nnx.BatchNorm, use_running_average=False)
    conv = make(norm=norm)
    basis, inputs = basis_for(conv), random_matrix(1, (3, 4, 4, 5), "float32")

    def normalized(x):
        return (x - x.mean((0, 1, 2))) / np.sqrt(x.var((0, 1, 2)) + 1e-5)

    conv_of = nnx.Conv(5, 6, (3, 3), use_bias=False, rngs=nnx.Rngs(0))
    conv_of.kernel[...] = conv.filters(basis)
    inner = normalized(np.asarray(conv_of(inputs)))
    outer = normalized(inner @ np.asarray(conv.combinations[0, 0]))
    np.testing.assert_allclose(conv(inputs, basis), outer, atol=1e-4)


@pytest.mark.parametrize("size", [3, 2])
def test_an_orthonormal_basis_bounds_the_operator_by_its_positions(size):
    conv = make((size, size), shared_features=9)
    basis = jax.nn.initializers.orthogonal()(jax.random.key(0), conv.basis_shape)
    bare = gs.nn.SharedBasisConv(
        5, 9, (size, size), shared_features=9, private_features=0, rngs=nnx.Rngs(0)
    )
    bare.combinations[...] = jnp.eye(9)[None, None]
    operator = jax.jacobian(lambda x: bare(x[None], basis))(jnp.zeros((6, 6, 5)))
    matrix = operator.reshape(6 * 6 * 9, -1)
    assert 1 < jnp.linalg.norm(matrix, 2) <= size + 1e-5


def test_dtypes():
    conv = make()
    inputs = jnp.ones((1, 4, 4, 5), "bfloat16")
    assert conv(inputs, basis_for(conv).astype("bfloat16")).dtype == jnp.bfloat16


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shared_features": 0}, "`shared_features` must"),
        ({"private_features": -1}, "`private_features` must"),
        ({"kernel_size": (0, 3)}, "`kernel_size` must"),
        ({"kernel_size": 3}, "`kernel_size` must be a tuple"),
        ({"padding": "CIRCULAR"}, "`padding` must be 'SAME' or 'VALID'"),
        ({"param_dtype": jnp.complex64}, "`param_dtype` must"),
    ],
)
def test_refuses_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)


def test_refuses_bad_shapes():
    conv = make()
    with pytest.raises(ValueError, match=r"`basis` must have shape \(3, 3, 5, 4\)"):
        conv(jnp.ones((1, 4, 4, 5)), jnp.ones((3, 3, 5, 3)))
    with pytest.raises(ValueError, match="real dtype"):
        conv(jnp.ones((1, 4, 4, 5), int), basis_for(conv))
    with pytest.raises(ValueError, match="5 features on the last"):
        conv(jnp.ones((1, 4, 4, 6)), basis_for(conv))
