from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax.flatten_util import ravel_pytree

from gradstab.reversible import Schedules, hypergradient, train
from tests.reversible.problems import (
    hyper,
    loss,
    objective,
    schedules,
    unrolled,
    weights,
)

STEPS = 80


def relative(found, expected):
    pairs = zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True)
    pairs = [
        (np.ravel(a), np.ravel(b)) for a, b in pairs if a.dtype != jax.dtypes.float0
    ]
    found, expected = (np.concatenate(side) for side in zip(*pairs, strict=True))
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


@pytest.fixture(scope="module")
def reference():
    """By automatic differentiation through the unrolled training, in float64."""
    with jax.enable_x64(True):
        kind = jnp.float64

        def achieved(params, rates, theta):
            return objective(unrolled(loss, params, rates, theta, STEPS), theta)

        both = jax.value_and_grad(achieved, argnums=(0, 1, 2), allow_int=True)
        return both(weights(kind), schedules(STEPS, kind), hyper(kind))


@pytest.mark.parametrize("options", [{}, {"checkpoint_every": 9}])
def test_is_the_derivative_of_the_whole_training(dtype, options, reference):
    value, (params, rates, theta) = reference
    found = hypergradient(
        objective,
        loss,
        weights(dtype),
        schedules(STEPS, dtype),
        hyper(dtype),
        STEPS,
        **options,
    )
    limit = 1e-3 if dtype == jnp.float32 else 1e-11
    assert abs(float(found.value) - float(value)) < limit
    assert relative(found.params, params) < limit
    assert relative(found.schedules.step_size, rates.step_size) < limit
    assert relative(found.schedules.momentum, rates.momentum) < limit
    assert relative(found.theta, theta) < limit
    assert found.theta["batch"].dtype == jax.dtypes.float0


def test_is_the_central_difference():
    """In each of twenty of all coordinates, from the first weight to the penalty."""
    with jax.enable_x64(True):
        kind = jnp.float64
        theta = hyper(kind)
        batch = theta.pop("batch")
        flat, unravel = ravel_pytree((weights(kind), schedules(STEPS, kind), theta))

        @jax.jit
        def achieved(flat):
            params, rates, theta = unravel(flat)
            theta = {**theta, "batch": batch}
            return objective(train(loss, params, rates, theta, STEPS), theta)

        def slope(k, h=1e-6):
            ahead, behind = flat.at[k].add(h), flat.at[k].add(-h)
            return float(achieved(ahead) - achieved(behind)) / (2 * h)

        params, rates, theta = unravel(flat)
        found = hypergradient(
            objective, loss, params, rates, {**theta, "batch": batch}, STEPS
        )
        found.theta.pop("batch")
        mine, _ = ravel_pytree((found.params, found.schedules, found.theta))
        for k in np.linspace(0, flat.size - 1, 20, dtype=int):
            assert float(mine[k]) == pytest.approx(slope(k), rel=1e-4, abs=1e-9)


def test_scales_of_an_initializer_and_training_data():
    """Whatever parameters and data are made from: `train` composes."""
    with jax.enable_x64(True):
        noise = jax.random.normal(jax.random.key(0), (3,))
        rates = Schedules(0.2, 0.8)

        def fit(x, data, step):
            return jnp.sum((jnp.tanh(x) - data[step % 2]) ** 2)

        def achieved(scale, data, descend):
            trained = descend(fit, scale * noise, rates, data, 12)
            return jnp.sum(jnp.cos(trained))

        data = jax.random.normal(jax.random.key(1), (2, 3))
        found, expected = (
            jax.grad(achieved, argnums=(0, 1))(jnp.asarray(0.5), data, descend)
            for descend in (train, unrolled)
        )
        for mine, its in zip(found, expected, strict=True):
            np.testing.assert_allclose(mine, its, rtol=1e-10)


def test_a_module_and_an_outer_loop_of_optax():
    x = jax.random.normal(jax.random.key(0), (16, 2))
    y = jnp.sum(jnp.sin(x), axis=1, keepdims=True)

    def fit(model, penalty, step):
        squares = sum(
            jnp.sum(w**2) for w in jax.tree.leaves(nnx.state(model, nnx.Param))
        )
        return jnp.mean((model(x[:8]) - y[:8]) ** 2) + jnp.exp(penalty) * squares

    def error(model, penalty):
        return jnp.mean((model(x[8:]) - y[8:]) ** 2)

    model = nnx.Linear(2, 1, rngs=nnx.Rngs(0))
    outer, penalty = optax.adam(0.5), jnp.zeros(())
    state, values = outer.init(penalty), []
    found = None
    with jax.numpy_dtype_promotion("standard"):
        for _ in range(8):
            found = hypergradient(error, fit, model, Schedules(0.3, 0.5), penalty, 20)
            updates, state = outer.update(found.theta, state)
            penalty = optax.apply_updates(penalty, updates)
            values.append(float(found.value))
    assert values[-1] < values[0] / 2
    assert found is not None
    assert isinstance(found.trained, nnx.Linear)
    assert isinstance(found.params, nnx.State)
    assert found.params["kernel"][...].shape == (2, 1)
    assert found.schedules.step_size.shape == ()


def bowl(x, curvature, step):
    return curvature * jnp.sum(x**2) / 2


@pytest.mark.parametrize("scale", [1e-3, 1e-5, 1e-7])
def test_small_losses_and_long_steps_are_as_good_as_others(scale):
    """A loss times a number, with steps divided by it, is the same training."""

    def found(scale):
        return hypergradient(
            lambda x, _: jnp.sum(x**2),
            bowl,
            jnp.asarray([1.0, -2.0]),
            Schedules(0.1 / scale, 0.9),
            jnp.asarray(scale),
            30,
        )

    mine, its = found(scale), found(1.0)
    np.testing.assert_allclose(mine.value, its.value, rtol=1e-4)
    np.testing.assert_allclose(mine.params, its.params, rtol=1e-4)
    rates, expected = mine.schedules, its.schedules
    np.testing.assert_allclose(rates.step_size / scale, expected.step_size, rtol=1e-4)
    np.testing.assert_allclose(rates.momentum, expected.momentum, rtol=1e-4)
    np.testing.assert_allclose(mine.theta * scale, its.theta, rtol=1e-4)


@pytest.mark.parametrize(("momentum", "size"), [(0.9, 0.3), (0.99, 3.0), (0.999, 3.0)])
def test_500_steps_in_single_precision(momentum, size):
    """Within 1e-3 of automatic differentiation in double precision."""

    def arguments(dtype):
        rates = Schedules(jnp.full(500, size, dtype), jnp.full(500, momentum, dtype))
        return weights(dtype), rates, hyper(dtype)

    found = hypergradient(objective, loss, *arguments(jnp.float32), 500)
    with jax.enable_x64(True):

        def achieved(params, rates, theta):
            return objective(unrolled(loss, params, rates, theta, 500), theta)

        expected = jax.grad(achieved, argnums=(0, 1, 2), allow_int=True)(
            *arguments(jnp.float64)
        )
    for mine, its in zip(
        (found.params, found.schedules.step_size, found.schedules.momentum),
        (expected[0], expected[1].step_size, expected[1].momentum),
        strict=True,
    ):
        assert relative(mine, its) < 1e-3


def test_runs_under_jit_if_it_knows_the_least_momentum():
    def value(rates):
        return hypergradient(
            lambda x, _: jnp.sum(x**2),
            bowl,
            jnp.ones(2),
            rates,
            1.0,
            20,
            least_momentum=0.5,
        )

    rates = Schedules(jnp.asarray(0.1), jnp.asarray(0.6))
    found, expected = jax.jit(value)(rates), value(rates)
    np.testing.assert_allclose(found.params, expected.params, rtol=1e-5)


def test_shared_parameters_stay_shared():
    class Twice(nnx.Module):
        def __init__(self, rngs):
            self.first = nnx.Linear(2, 2, use_bias=False, rngs=rngs)
            self.second = nnx.Linear(2, 2, use_bias=False, rngs=rngs)
            self.second.kernel = self.first.kernel

    def fit(model, theta, step):
        return jnp.sum((model.second(model.first(jnp.eye(2))) - jnp.eye(2)) ** 2)

    rates = Schedules(0.1, 0.5)
    model = Twice(nnx.Rngs(0))
    found = hypergradient(lambda m, _: fit(m, None, 0), fit, model, rates, None, 5)
    assert found.trained.first.kernel is found.trained.second.kernel


class Counted:
    """An objective that knows how often it was traced."""

    traces = 0

    def error(self, x, _):
        self.traces += 1
        return jnp.sum(x**2)


def test_methods_are_compiled_once():
    counted, rates = Counted(), Schedules(0.1, 0.9)
    for start in (1.0, 2.0, 3.0):
        hypergradient(counted.error, bowl, jnp.full(2, start), rates, 1.0, 2)
    # Each call looks for traced values; one compiles.
    assert counted.traces == 4


class Weighted:
    """An objective that reads what somebody else writes."""

    weight = 1.0

    def objective(self, x, theta):
        return self.weight * jnp.sum(x**2)


def test_an_objective_may_close_over_what_is_traced():
    weighted, rates = Weighted(), Schedules(0.1, 0.9)

    def final(weight):
        weighted.weight = weight
        return hypergradient(
            weighted.objective, bowl, jnp.ones(2), rates, 1.0, 3, least_momentum=0.9
        ).value

    expected = final(1.0)
    assert expected > 0
    for weight in (2.0, 3.0):
        np.testing.assert_allclose(jax.jit(final)(weight), weight * expected, rtol=1e-5)


def test_a_module_need_not_be_a_tree():
    class Plain(nnx.Module, pytree=False):
        def __init__(self):
            self.x = nnx.Param(jnp.ones(2))

    def loss(model, theta, step):
        return bowl(model.x[...], theta, step)

    found = hypergradient(
        lambda model, theta: loss(model, theta, 0),
        loss,
        Plain(),
        Schedules(0.1, 0.9),
        1.0,
        3,
    )
    expected = hypergradient(
        lambda x, theta: bowl(x, theta, 0),
        bowl,
        jnp.ones(2),
        Schedules(0.1, 0.9),
        1.0,
        3,
    )
    np.testing.assert_allclose(found.params["x"][...], expected.params, rtol=1e-6)


def test_a_step_size_may_be_an_integer():
    def slope(size):
        found = hypergradient(
            lambda x, _: jnp.sum(x**2),
            bowl,
            jnp.ones(2),
            Schedules(size, 0.9),
            1.0,
            3,
        )
        return found.schedules.step_size

    assert slope(1) == slope(1.0) != 0


@pytest.mark.parametrize(
    ("rates", "theta", "message"),
    [
        (Schedules("a", 0.9), 1.0, "`step_size` must be a number or an array of real"),
        (Schedules(0.1, {"x": "a"}), 1.0, r"`momentum\['x'\]` must be a number or"),
        (Schedules(0.1, 0.9), {"a": "b"}, r"`theta\['a'\]` must be a number or an"),
    ],
)
def test_names_what_is_no_number(rates, theta, message):
    with pytest.raises(ValueError, match=message):
        hypergradient(lambda x, _: jnp.sum(x), bowl, jnp.ones(2), rates, theta, 2)


def test_an_objective_is_one_number():
    wrongs: list[Any] = [lambda x, _: x, lambda x, _: (x[0], x)]
    for wrong in wrongs:
        with pytest.raises(ValueError, match="`objective` must return a real scalar"):
            hypergradient(wrong, bowl, jnp.ones(2), Schedules(0.1, 0.9), 1.0, 2)


def test_a_run_that_is_lost_raises():
    def grows(x, theta, step):
        return -theta * jnp.sum(x**2)

    with pytest.raises(OverflowError, match="moves too fast or too far at step"):
        hypergradient(
            lambda x, theta: jnp.sum(x),
            grows,
            jnp.ones(2),
            Schedules(0.5, 0.9),
            jnp.ones(()),
            200,
        )
