from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.test_util import check_grads

import gradstab as gs
from gradstab.optim import orthogonality_penalty
from tests.helpers import random_matrix

add_orthogonality_penalty = cast(Any, gs.optim.add_orthogonality_penalty)
SHAPES = [(5, 3), (3, 5), (4, 4), (1, 1), (3, 3, 2, 4), (1, 1, 2, 12)]


def naive(leaves, reduction):
    """The penalty as it is written down, filter by filter."""
    total, entries = 0.0, 0
    for leaf in leaves:
        matrix = np.asarray(leaf, np.complex128).reshape(-1, leaf.shape[-1])
        vectors = matrix.T if matrix.shape[1] <= matrix.shape[0] else matrix
        for i, left in enumerate(vectors):
            for j, right in enumerate(vectors):
                total += abs(np.vdot(left, right) - (i == j)) ** 2
                entries += 1
    return total / entries if reduction == "mean" else total


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_is_what_is_written_down(any_dtype, reduction):
    leaves = [
        random_matrix(seed, shape, any_dtype) for seed, shape in enumerate(SHAPES)
    ]
    found = orthogonality_penalty(dict(enumerate(leaves)), reduction=reduction)
    assert found.dtype == jnp.finfo(any_dtype).dtype
    assert found == pytest.approx(naive(leaves, reduction), rel=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
def test_gradient(shape):
    with jax.enable_x64(True):
        for dtype in ("float64", "complex128"):
            matrix = random_matrix(0, shape, dtype)
            check_grads(jax.jit(orthogonality_penalty), (matrix,), order=2)


def test_gradient_is_four_times_the_weight_times_the_defect():
    with jax.enable_x64(True):
        wide, tall = (
            random_matrix(0, (3, 7), "float64"),
            random_matrix(1, (9, 4), "float64"),
        )
        found = jax.grad(orthogonality_penalty)([wide, tall])
        entries = 9 + 16
        expected = [
            4 * (wide @ wide.mT - jnp.eye(3)) @ wide / entries,
            4 * tall @ (tall.mT @ tall - jnp.eye(4)) / entries,
        ]
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-14)


@pytest.mark.parametrize("shape", SHAPES)
def test_is_zero_with_its_gradient_where_columns_or_rows_are_orthonormal(shape):
    matrix = jax.nn.initializers.orthogonal()(jax.random.key(0), shape)
    value, gradient = jax.value_and_grad(orthogonality_penalty)(matrix)
    assert value < 1e-12
    np.testing.assert_allclose(gradient, np.zeros(shape), atol=1e-6)


def test_the_gradient_takes_one_product_more_than_the_value():
    def products(function):
        return str(jax.make_jaxpr(function)(jnp.ones((6, 4)))).count("dot_general")

    assert products(orthogonality_penalty) == 1
    assert products(jax.value_and_grad(orthogonality_penalty)) == 2


def test_what_is_no_matrix_adds_nothing():
    others = {
        "bias": jnp.ones(3),
        "count": jnp.ones((2, 2), int),
        "none": jnp.ones((0, 3)),
    }
    assert orthogonality_penalty(others) == 0
    matrix = random_matrix(0, (4, 3), "float32")
    assert orthogonality_penalty(others | {"w": matrix}) == orthogonality_penalty(
        matrix
    )


def test_low_precision_is_computed_in_float32():
    matrix = random_matrix(0, (32, 32), "float32").astype("bfloat16")
    found = orthogonality_penalty(matrix)
    assert found == orthogonality_penalty(matrix.astype("float32"))


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_adds_the_gradient_and_notes_the_penalty(reduction):
    params = {"w": random_matrix(0, (5, 4), "float32"), "b": jnp.ones(4)}
    updates = {"w": random_matrix(1, (5, 4), "float32"), "b": jnp.ones(4)}
    add = add_orthogonality_penalty(0.3, reduction=reduction)
    found, state = add.update(updates, add.init(params), params)
    value, gradient = jax.value_and_grad(orthogonality_penalty)(
        params, reduction=reduction
    )
    np.testing.assert_allclose(
        found["w"], updates["w"] + 0.3 * gradient["w"], rtol=1e-6
    )
    np.testing.assert_array_equal(found["b"], updates["b"])
    assert state.penalty == pytest.approx(float(value))


def test_pulls_a_kernel_to_orthonormal_filters():
    kernel = random_matrix(0, (3, 3, 4, 8), "float32") / 3
    optimizer: Any = optax.chain(add_orthogonality_penalty(10.0), optax.sgd(0.1))

    def step(carry, _):
        kernel, state = carry
        updates, state = optimizer.update(jnp.zeros_like(kernel), state, kernel)
        return (kernel + updates, state), None

    (kernel, _), _ = jax.lax.scan(step, (kernel, optimizer.init(kernel)), length=300)
    filters = kernel.reshape(-1, 8)
    np.testing.assert_allclose(filters.T @ filters, np.eye(8), atol=1e-5)


def test_complex_weights_descend():
    weight = random_matrix(0, (6, 4), "complex64") / 2
    optimizer: Any = optax.chain(add_orthogonality_penalty(10.0), optax.sgd(0.05))

    def step(weight, _):
        zero = jnp.zeros_like(weight)
        return weight + optimizer.update(zero, optimizer.init(weight), weight)[0], None

    weight, _ = jax.lax.scan(step, weight, length=300)
    assert orthogonality_penalty(weight) < 1e-10


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weight": -1.0}, "`weight` must"),
        ({"weight": float("nan")}, "`weight` must"),
        ({"weight": 1.0, "reduction": "max"}, "`reduction` must be 'mean' or 'sum'"),
    ],
)
def test_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        add_orthogonality_penalty(**arguments)
