from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import gradstab as gs
from tests.helpers import random_matrix

project_conv_norm = cast(Any, gs.optim.project_conv_norm)


def norm(kernel, size, strides=1):
    axes = kernel.ndim - 2
    return float(
        gs.linalg.conv_singular_values(kernel, (size,) * axes, strides=strides)[0]
    )


@pytest.mark.parametrize(
    ("shape", "strides"),
    [((3, 3, 2, 4), 1), ((4, 4, 2, 4), 2), ((2, 2, 3, 3), (2, 1))],
)
def test_the_operator_keeps_the_limit_at_every_size_and_its_direction(shape, strides):
    start, change = random_matrix(0, (2, *shape), "float32")
    project = project_conv_norm(0.7, strides=strides)
    found, state = jax.jit(project.update)(change, project.init(start), start)
    moved = start + found
    norms = [norm(moved, size, strides) for size in (2, 4, 6, 48)]
    assert max(norms) <= 0.7 * (1 + 1e-6)
    assert norms[-1] >= 0.7 / 1.045
    expected = 0.7 / state.bounds * (start + change)
    np.testing.assert_allclose(moved, expected, atol=1e-6)


def test_the_matrix_of_a_kernel_within_the_limit_may_exceed_it_as_an_operator():
    # Equal filters at all nine positions: a constant image is enlarged by 3.
    start = jnp.full((3, 3, 1, 1), 1 / 3)
    spectral = cast(Any, gs.optim.project_spectral_norm(1.0))
    zero = jnp.zeros_like(start)
    found, _ = spectral.update(zero, spectral.init(start), start)
    np.testing.assert_allclose(norm(start + found, 6), 3.0, rtol=1e-5)
    project = project_conv_norm(1.0)
    found, state = project.update(zero, project.init(start), start)
    assert norm(start + found, 6) == pytest.approx(1.0, rel=0.045)
    assert 3.0 <= state.bounds <= 3.0 * 1.045


def test_an_update_within_the_limit_keeps_every_bit():
    start, change = random_matrix(0, (2, 3, 3, 2, 2), "float32") / 30
    project = project_conv_norm(1.0)
    found, _ = project.update(change, project.init(start), start)
    np.testing.assert_array_equal(found, change)


def test_a_limit_of_zero_gives_zero_and_zero_stays():
    kernel = random_matrix(0, (3, 2, 2), "float32")
    project = project_conv_norm(0.0)
    for start in (kernel, jnp.zeros_like(kernel)):
        zero = jnp.zeros_like(start)
        found, _ = project.update(zero, project.init(start), start)
        np.testing.assert_array_equal(start + found, zero)


def test_what_is_not_finite_stays_so_in_its_own_leaf():
    params = {"a": jnp.ones((3, 2, 2)), "b": jnp.ones((3, 2, 2))}
    updates = {"a": jnp.full((3, 2, 2), jnp.inf), "b": jnp.ones((3, 2, 2))}
    project = project_conv_norm(1.0)
    found, _ = project.update(updates, project.init(params), params)
    assert not np.any(np.isfinite(found["a"]))
    assert norm(params["b"] + found["b"], 4) <= 1 + 1e-6


def test_large_weights_whose_bound_overflows_are_scaled():
    start = jnp.ones((3, 3, 2, 2))
    project = project_conv_norm(1.0)
    found, state = project.update(1e38 * start, project.init(start), start)
    assert np.isinf(state.bounds)
    # Equal filters: what is left is the kernel of the same direction on the limit.
    expected = start / gs.linalg.conv_norm_bound(start)
    np.testing.assert_allclose(start + found, expected, rtol=1e-5)


@pytest.mark.parametrize("value", [jnp.nan, jnp.inf])
def test_one_entry_that_is_not_finite_spoils_its_kernel(value):
    start = jnp.ones((3, 3, 2, 2)).at[0, 0, 0, 0].set(value)
    project = project_conv_norm(1.0)
    found, _ = project.update(jnp.ones_like(start), project.init(start), start)
    assert np.all(np.isnan(found))


def test_matrices_and_vectors_pass():
    params = {"matrix": 9 * jnp.eye(3), "bias": 9 * jnp.ones(3)}
    project = project_conv_norm(1.0)
    updates = jax.tree.map(jnp.ones_like, params)
    found, _ = project.update(updates, project.init(params), params)
    jax.tree.map(np.testing.assert_array_equal, found, updates)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "complex64"])
def test_dtypes_stay(dtype):
    kernel = random_matrix(
        0, (3, 2, 2), "complex64" if dtype == "complex64" else "float32"
    ).astype(dtype)
    project = project_conv_norm(1.0)
    found, _ = project.update(jnp.zeros_like(kernel), project.init(kernel), kernel)
    assert found.dtype == kernel.dtype
    wide = "complex64" if dtype == "complex64" else "float32"
    assert norm((kernel + found).astype(wide), 8) <= 1 + 0.02


def test_it_holds_the_layer_of_flax_under_adamw():
    model = nnx.Conv(2, 3, (3, 3), rngs=nnx.Rngs(0))
    rule = optax.chain(optax.adamw(0.1), project_conv_norm(0.5))
    optimizer = nnx.Optimizer(model, rule, wrt=nnx.Param)
    images, targets = random_matrix(0, (2, 4, 6, 6, 3), "float32")

    @nnx.jit
    def step(model, optimizer):
        def loss(model):
            return jnp.mean((model(images[..., :2]) - targets) ** 2)

        optimizer.update(model, nnx.grad(loss)(model))

    for _ in range(20):
        step(model, optimizer)
        assert norm(model.kernel[...], 6) <= 0.5 * (1 + 1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"maximum": -1.0}, "`maximum` must"),
        ({"maximum": float("nan")}, "`maximum` must"),
        ({"maximum": 1.0, "strides": 0}, "`strides` must"),
        ({"maximum": 1.0, "strides": (0, 1)}, "`strides` must .* got 0"),
        ({"maximum": 1.0, "strides": "11"}, "`strides` must .* got '1'"),
        ({"maximum": 1.0, "oversampling": 1}, "`oversampling` must"),
    ],
)
def test_refuses_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        project_conv_norm(**options)


def test_refuses_strides_for_another_number_of_axes():
    project, kernel = project_conv_norm(1.0, strides=(2, 2)), jnp.ones((3, 2, 2))
    with pytest.raises(ValueError, match=r"`strides` must have 1 sizes"):
        project.update(kernel, project.init(kernel), kernel)
