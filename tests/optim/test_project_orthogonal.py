from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradstab as gs
from tests.helpers import random_matrix

project_orthogonal = cast(Any, gs.optim.project_orthogonal)
LIMIT = 30  # of LAPACK's residual ratio


def residual_ratio(matrix):
    error = gs.linalg.orthogonality_error(matrix)
    return float(error) / (max(matrix.shape) * jnp.finfo(matrix.dtype).eps)


def orthonormal(seed, shape, dtype):
    return gs.linalg.polar(random_matrix(seed, shape, dtype))


@pytest.mark.parametrize("size", [1e-8, 1e-3, 0.1, 1.0, 1e6])
@pytest.mark.parametrize("shape", [(7, 7), (9, 4), (4, 9), (1, 1), (64, 64)])
def test_moves_to_the_polar_factor(any_dtype, shape, size):
    weight = orthonormal(0, shape, any_dtype)
    change = size * random_matrix(1, shape, any_dtype)
    project = project_orthogonal()
    found, state = project.update(change, project.init(weight), weight)
    moved = weight + found
    expected = gs.linalg.polar(weight + change)
    eps = jnp.finfo(any_dtype).eps
    # The factor of a nearly singular matrix is sensitive to rounding.
    sensitive = 1 / np.min(np.linalg.svd(np.asarray(weight + change))[1])
    tolerance = 100 * eps * shape[0] * (1 + float(sensitive) * max(size, 1))
    np.testing.assert_allclose(moved, expected, atol=tolerance)
    assert residual_ratio(moved) <= LIMIT
    distance = np.linalg.norm(weight + change - expected)
    assert state.distance == pytest.approx(
        distance, rel=1e-2, abs=20 * float(eps) * shape[0]
    )


@pytest.mark.parametrize("reach", [0.24, 0.26, 0.9])
def test_the_iteration_and_the_decomposition_meet(reach):
    # Singular values on both sides of 1, about where one takes over from the other.
    with jax.enable_x64(True):
        left, right = (orthonormal(seed, (6, 6), "float64") for seed in (0, 1))
        values = 1 + reach * jnp.asarray([0.9, -0.9, 0.1, 0.0, 0.0, 0.0])
        project = project_orthogonal()
        start = left * values[None, :] @ right
        found, _ = project.update(jnp.zeros_like(start), project.init(start), start)
        np.testing.assert_allclose(start + found, left @ right, atol=1e-14)


def test_a_kernel_gets_orthonormal_filters_and_vectors_pass():
    params = {"kernel": random_matrix(0, (3, 3, 4, 8), "float32"), "bias": jnp.ones(8)}
    updates = jax.tree.map(jnp.zeros_like, params)
    project = project_orthogonal()
    found, state = project.update(updates, project.init(params), params)
    filters = (params["kernel"] + found["kernel"]).reshape(-1, 8)
    assert residual_ratio(filters) <= LIMIT
    np.testing.assert_array_equal(found["bias"], 0)
    assert state.distance["bias"] == 0


@pytest.mark.parametrize("start", ["zeros", "ones"])
def test_a_weight_of_low_rank_still_gets_orthonormal_columns(start):
    weight = getattr(jnp, start)((6, 3))
    project = project_orthogonal()
    found, _ = project.update(jnp.zeros_like(weight), project.init(weight), weight)
    assert residual_ratio(weight + found) <= LIMIT


def test_under_vmap_a_weight_of_low_rank_ends_too():
    with jax.enable_x64(True):
        weights = jnp.stack([
            jnp.eye(3),
            jnp.diag(jnp.asarray([1.0, 1.0, 0.0])),
            jnp.zeros((3, 3)),
        ])
        project = project_orthogonal()
        found, _ = jax.jit(jax.vmap(project.update, (0, None, 0)))(
            jnp.zeros_like(weights), project.init(weights[0]), weights
        )
        for weight, change in zip(weights, found, strict=True):
            assert residual_ratio(weight + change) <= LIMIT


def test_an_orthogonal_weight_without_gradient_keeps_every_bit():
    for seed, dtype in enumerate(["float32"] * 5 + ["bfloat16"] * 2):
        weight = orthonormal(seed, (32, 32), "float32").astype(dtype)
        project, zero = project_orthogonal(), jnp.zeros((32, 32), dtype)
        found, state = project.update(zero, project.init(weight), weight)
        np.testing.assert_array_equal(found, 0)
        assert state.distance == 0


def test_stays_orthogonal_under_adamw():
    target = orthonormal(3, (12, 12), "float32")
    weight = orthonormal(0, (12, 12), "float32")
    optimizer: Any = optax.chain(
        optax.adamw(0.02, weight_decay=0.1), project_orthogonal()
    )

    def step(carry, _):
        weight, state = carry
        gradient = jax.grad(lambda w: jnp.sum((w - target) ** 2))(weight)
        updates, state = optimizer.update(gradient, state, weight)
        weight = cast(Any, optax.apply_updates(weight, updates))
        return (weight, state), gs.linalg.orthogonality_error(weight)

    carry = weight, optimizer.init(weight)
    (weight, _), errors = jax.lax.scan(step, carry, length=1000)
    assert jnp.max(errors) <= LIMIT * 12 * jnp.finfo("float32").eps
