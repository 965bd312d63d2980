import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from gradstab.dynamics import GradientFlow, NesterovFlow
from tests.helpers import check_grads, random_matrix

TIGHT: dict[str, Any] = {"rtol": 1e-9, "atol": 1e-11}


def quadratic(matrix, target):
    return lambda code: jnp.sum((target - matrix @ code) ** 2) / 2


def at_time(matrix, target, time):
    """z(t) of the flow down ½‖y - W z‖² from 0, by the eigenvectors of WᵀW."""
    values, vectors = jnp.linalg.eigh(matrix.mT @ matrix)
    grown = (1 - jnp.exp(-time * values)) / values
    return vectors @ (grown * (vectors.mT @ (matrix.mT @ target)))


def test_is_the_closed_form_of_a_linear_decoder(dtype):
    matrix, target = random_matrix(0, (6, 3), dtype), random_matrix(1, (6,), dtype)
    flow = GradientFlow(duration=0.6, rate=0.5)
    objective = quadratic(matrix, target)
    found = jax.jit(lambda z: flow(objective, z))(jnp.zeros(3, dtype))
    assert found.code.dtype == dtype
    assert found.is_converged
    np.testing.assert_allclose(found.code, at_time(matrix, target, 0.3), atol=1e-4)


def test_its_derivative_is_that_of_the_closed_form():
    with jax.enable_x64(True):
        matrix = random_matrix(0, (5, 2), jnp.float64)
        target = random_matrix(1, (5,), jnp.float64)
        flow = GradientFlow(duration=0.5, **TIGHT)

        @jax.jit
        def by_flow(matrix, target):
            found = flow.differentiable(quadratic(matrix, target), jnp.zeros(2))
            return jnp.sum(jnp.sin(found.code))

        def by_formula(matrix, target):
            return jnp.sum(jnp.sin(at_time(matrix, target, 0.5)))

        found = jax.jit(jax.grad(by_flow, (0, 1)))(matrix, target)
        expected = jax.grad(by_formula, (0, 1))(matrix, target)
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-8)


@pytest.mark.parametrize("rate", [1.0, 4.0])
def test_nesterovs_flow_of_a_parabola_is_a_bessel_function(rate):
    with jax.enable_x64(True):
        widths = jnp.asarray([0.5, 1.0, 3.0])
        start = jnp.asarray([1.0, -2.0, 0.7])
        flow = NesterovFlow(duration=5.0, rate=rate, **TIGHT)
        found = jax.jit(
            lambda z: flow(lambda code: jnp.sum((widths * code) ** 2) / 2, z)
        )(start)
        phase = 5.0 * rate**0.5 * np.asarray(widths)
        expected = 2 * np.asarray(start) * special.j1(phase) / phase
        np.testing.assert_allclose(found.code, expected, atol=1e-7)


def test_nesterovs_flow_has_the_derivative_of_central_differences():
    with jax.enable_x64(True):
        matrix = random_matrix(0, (3, 2), jnp.float64)
        flow = NesterovFlow(duration=1.0, rtol=1e-11, atol=1e-12)

        @jax.jit
        def last(matrix):
            found = flow.differentiable(quadratic(matrix, jnp.ones(3)), jnp.zeros(2))
            return jnp.sum(found.code)

        check_grads(last, (matrix,), order=1, modes=["rev"])


def test_says_when_it_has_not_arrived():
    flow = GradientFlow(duration=100.0, max_steps=5)
    found = jax.jit(lambda z: flow(lambda code: jnp.sum(code**2), z))(jnp.ones(2))
    assert not found.is_converged
    assert found.accepted + found.rejected == 5
    assert np.all(np.isfinite(found.code))


@pytest.mark.parametrize("kind", [GradientFlow, NesterovFlow])
def test_a_loss_that_is_not_finite_ends_it(kind):
    found = jax.jit(lambda z, y: kind()(lambda code: jnp.sum(y * code**2), z))(
        jnp.ones(2), jnp.nan
    )
    assert not found.is_converged
    assert found.accepted + found.rejected < 50


@pytest.mark.parametrize("kind", [GradientFlow, NesterovFlow])
def test_names_the_extra_that_it_needs(kind, monkeypatch):
    monkeypatch.setitem(sys.modules, "diffrax", None)
    with pytest.raises(ModuleNotFoundError, match=r"diffrax, .*\.\[dynamics\]"):
        kind()


@pytest.mark.parametrize("kind", [GradientFlow, NesterovFlow])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"duration": 0.0}, "`duration` must be above 0"),
        ({"rate": float("nan")}, "`rate` must be a finite number"),
        ({"rtol": -1e-3}, "`rtol` must be a finite number in"),
        ({"atol": 0.0}, "`atol` must be above 0"),
        ({"max_steps": 0}, "`max_steps` must be an integer >= 1"),
    ],
)
def test_rejects_bad_arguments(kind, options, message):
    with pytest.raises(ValueError, match=message):
        kind(**options)


def test_a_stiff_start_of_a_long_flow():
    """The authors' τ: the first steps are far shorter than its last digit."""
    flow = GradientFlow(duration=1e4)
    found = flow(lambda z: 500 * jnp.sum((z - 1) ** 2), jnp.zeros(1))
    assert found.accepted > 1000
    np.testing.assert_allclose(found.code, 1, rtol=1e-3)
