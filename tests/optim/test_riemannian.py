from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradstab as gs
from tests.helpers import random_matrix

riemannian = cast(Any, gs.optim.riemannian)
LIMIT = 30  # of LAPACK's residual ratio


def residual_ratio(matrix):
    error = gs.linalg.orthogonality_error(matrix)
    return float(error) / (max(matrix.shape) * jnp.finfo(matrix.dtype).eps)


def orthonormal(seed, shape, dtype="float32"):
    return gs.linalg.polar(random_matrix(seed, shape, dtype))


def tangent_defect(vector, point):
    """The part of a matrix that is normal to the manifold."""
    if point.shape[0] < point.shape[1]:
        return tangent_defect(vector.mT.conj(), point.mT.conj())
    inner = point.mT.conj() @ vector
    return float(jnp.max(jnp.abs(inner + inner.mT.conj())))


@pytest.mark.parametrize("shape", [(6, 6), (9, 4), (4, 9), (1, 1)])
def test_descends_along_the_projected_gradient(any_dtype, shape):
    weight = orthonormal(0, shape, any_dtype)
    gradient = random_matrix(1, shape, any_dtype)
    rate, rule = 1e-3, riemannian(optax.sgd(1e-3))
    found, _ = rule.update(gradient, rule.init(weight), weight)
    tall = shape[0] >= shape[1]
    w, g = (weight, gradient) if tall else (weight.mT.conj(), gradient.mT.conj())
    step = g - w @ (w.mT.conj() @ g + g.mT.conj() @ w) / 2
    expected = gs.linalg.polar(w - rate * step) - w
    atol = 50 * float(jnp.finfo(any_dtype).eps)
    np.testing.assert_allclose(
        found, expected if tall else expected.mT.conj(), atol=atol
    )
    assert tangent_defect(step, w) < 100 * atol


@pytest.mark.parametrize("shape", [(8, 8), (16, 4), (4, 16)])
@pytest.mark.parametrize(
    "optimizer",
    [
        optax.sgd(0.1, momentum=0.9),
        optax.adamw(0.03, weight_decay=0.1),
        optax.lion(0.01),
        optax.rmsprop(0.01),
    ],
    ids=["momentum", "adamw", "lion", "rmsprop"],
)
def test_stays_on_the_manifold_and_finds_the_nearest_point(shape, optimizer):
    target = random_matrix(3, shape, "float32")
    rule = optax.chain(riemannian(optimizer))

    def loss(weight):
        return -jnp.sum(weight * target)

    def step(carry, _):
        weight, state = carry
        updates, state = rule.update(jax.grad(loss)(weight), state, weight)
        weight = cast(Any, optax.apply_updates(weight, updates))
        return (weight, state), gs.linalg.orthogonality_error(weight)

    # Of the same determinant as the solution, if square.
    best = gs.linalg.polar(target)
    start = gs.linalg.polar(best + random_matrix(1, shape, "float32") / 4)
    carry = start, rule.init(start)
    (weight, _), errors = jax.lax.scan(step, carry, length=1000)
    assert jnp.max(errors) <= LIMIT * max(shape) * jnp.finfo("float32").eps
    assert loss(weight) <= 0.97 * loss(best)


def test_moments_are_moved_to_the_new_tangent_space():
    weight, rule = orthonormal(0, (7, 3)), riemannian(optax.adam(0.5))
    state: Any = rule.init(weight)
    for seed in range(3):
        gradient = random_matrix(seed, (7, 3), "float32")
        change, state = rule.update(gradient, state, weight)
        weight = weight + change
        moment = state.inner[0].mu
        assert tangent_defect(moment, weight) < 1e-6
        assert np.any(moment != 0)
        assert np.all(state.inner[0].nu >= 0)  # squares are no vectors


@pytest.mark.parametrize("kind", ["masked", "partition"])
def test_moments_of_a_masked_optimizer_are_moved_too(kind):
    params = {"w": orthonormal(0, (7, 3)), "b": jnp.ones(3)}
    inner: Any = (
        optax.masked(optax.adam(0.5), {"w": True, "b": False})
        if kind == "masked"
        else optax.partition(
            {"adam": optax.adam(0.5), "none": optax.set_to_zero()},
            {"w": "adam", "b": "none"},
        )
    )
    rule = riemannian(inner)
    state: Any = rule.init(params)
    for seed in range(3):
        gradient = {"w": random_matrix(seed, (7, 3), "float32"), "b": jnp.ones(3)}
        change, state = rule.update(gradient, state, params)
        params = jax.tree.map(jnp.add, params, change)
    moments = [
        leaf
        for path, leaf in jax.tree.leaves_with_path(state)
        if ".mu" in jax.tree_util.keystr(path) and leaf.ndim == 2
    ]
    assert len(moments) == 1
    assert np.any(moments[0] != 0)
    assert tangent_defect(moments[0], params["w"]) < 1e-6


def test_complex_weights_descend():
    target = orthonormal(3, (5, 5), "complex64")
    weight = orthonormal(4, (5, 5), "complex64")
    rule = riemannian(optax.sgd(0.1))

    def loss(weight):
        return jnp.sum(jnp.abs(weight - target) ** 2)

    def step(weight, _):
        gradient = jax.grad(loss)(weight).conj()
        return weight + rule.update(gradient, rule.init(weight), weight)[0], None

    weight, _ = jax.lax.scan(step, weight, length=500)
    assert loss(weight) < 1e-6
    assert residual_ratio(weight) <= LIMIT


def test_refuses_a_name_in_the_place_of_names():
    with pytest.raises(ValueError, match="`moments` must be a collection of names"):
        riemannian(optax.sgd(0.1), moments="mu")


def test_other_names_of_moments():
    weight, gradient = orthonormal(0, (7, 3)), random_matrix(1, (7, 3), "float32")
    for moments, is_moved in ((("trace",), True), ((), False)):
        rule = riemannian(optax.sgd(0.5, momentum=0.9), moments=moments)
        change, state = rule.update(gradient, rule.init(weight), weight)
        trace: Any = state
        defect = tangent_defect(trace.inner[0].trace, weight + change)
        assert (defect < 1e-5) == is_moved


@pytest.mark.parametrize("rate", [1e3, 1e6, 1e20])
def test_a_huge_step_ends_on_the_manifold(rate):
    weight, rule = orthonormal(0, (8, 5)), riemannian(optax.sgd(rate))
    gradient = random_matrix(1, (8, 5), "float32")
    change, _ = rule.update(gradient, rule.init(weight), weight)
    assert residual_ratio(weight + change) <= LIMIT


def test_a_weight_off_the_manifold_is_moved_to_it():
    weight, rule = random_matrix(0, (8, 5), "float32"), riemannian(optax.sgd(1e-3))
    gradient = random_matrix(1, (8, 5), "float32")
    change, _ = rule.update(gradient, rule.init(weight), weight)
    assert residual_ratio(weight + change) <= LIMIT


def test_weight_decay_has_no_effect():
    weight, gradient = orthonormal(0, (8, 5)), random_matrix(1, (8, 5), "float32")
    found = []
    for decay in (0.0, 0.5):
        rule = riemannian(optax.adamw(0.1, weight_decay=decay))
        found.append(rule.update(gradient, rule.init(weight), weight)[0])
    np.testing.assert_allclose(found[0], found[1], atol=1e-6)


def test_vectors_are_the_optimizers_own():
    params = {"w": orthonormal(0, (4, 4)), "b": jnp.ones(4)}
    updates = {"w": random_matrix(1, (4, 4), "float32"), "b": jnp.ones(4)}
    rule = riemannian(optax.sgd(0.1))
    found, _ = rule.update(updates, rule.init(params), params)
    np.testing.assert_allclose(found["b"], -0.1 * np.ones(4))


def test_extra_arguments_reach_the_optimizer():
    seen = []

    def update(updates, state, params=None, *, value):
        seen.append(value)
        return updates, state

    make: Any = optax.GradientTransformationExtraArgs
    inner = make(lambda _: optax.EmptyState(), update)
    weight = orthonormal(0, (3, 3))
    riemannian(inner).update(weight, riemannian(inner).init(weight), weight, value=7)
    assert seen == [7]
