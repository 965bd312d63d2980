import math
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradstab as gs
from gradstab.dynamics import (
    Euler,
    RungeKutta,
    Tsitouras,
    adjoint_trace,
    time_step,
)
from tests.dynamics.flows import START, orbit_of_plane, plane

pytestmark = pytest.mark.usefixtures("double")
COTANGENT = (0.6, -0.8)


def trace(field, start=START, duration=20.0, **options):
    run = jax.jit(
        lambda start, cotangent: adjoint_trace(
            field, start, duration, cotangent, **options
        )
    )
    return run(jnp.asarray(start), jnp.asarray(COTANGENT))


@pytest.mark.parametrize(
    "integrator", [Euler(0.1), RungeKutta(0.1), Tsitouras(rtol=1e-8, atol=1e-10)]
)
def test_is_the_gradient_of_the_end(integrator):
    field = plane(0.6)
    found = trace(field, duration=3.0, integrator=integrator, intervals=2)
    advance = time_step(field, 1.5, integrator=integrator)
    for place in (0, 2):
        state = found.states[place]

        def end(state, place=place):
            for _ in range(2 - place):
                state = advance(state)
            return jnp.dot(jnp.asarray(COTANGENT), state)

        gradient = jax.jit(jax.grad(end))(state)
        np.testing.assert_allclose(found.adjoints[place], gradient, atol=1e-12)
        assert found.norms[place] == pytest.approx(np.linalg.norm(gradient))
    np.testing.assert_allclose(found.times, np.linspace(0, 3, 3))


@pytest.mark.parametrize(
    ("integrator", "drift"),
    [(RungeKutta(0.01), 1e-10), (Tsitouras(rtol=1e-10, atol=1e-12), 1e-8)],
)
def test_the_adjoint_times_the_velocity_is_conserved(integrator, drift):
    found = trace(plane(0.3), duration=50.0, integrator=integrator)
    scale = np.max(np.abs(found.conserved))
    assert scale > 1e-3
    assert np.ptp(found.conserved) < drift


def test_the_drift_falls_as_the_order_of_the_steps():
    drifts = [
        np.ptp(trace(plane(0.6), integrator=RungeKutta(dt), intervals=10).conserved)
        for dt in (0.1, 0.05)
    ]
    assert 10 < drifts[0] / drifts[1] < 40


def test_on_a_cycle_it_tends_to_the_phase_response():
    """λ → c Z(t), of the period of the orbit, with Z · f = 1 and c = λ(T) · f(h(T))."""
    angle = math.radians(45)
    orbit = orbit_of_plane(angle)
    found = trace(plane(angle), orbit.state, 40 * orbit.period, intervals=160)
    np.testing.assert_allclose(found.adjoints[0], found.adjoints[4], rtol=1e-6)
    assert 0.1 < found.norms[0] < 10


def test_towards_a_fixed_point_it_vanishes():
    found = trace(plane(1.2), duration=100.0, integrator=RungeKutta(0.05))
    assert found.norms[0] < 1e-10


def test_a_gradient_over_500_units_of_a_network_on_cycles():
    """Sixty-four units: of the order of 1 throughout, however far back."""
    matrix = gs.nn.limit_cycle_init()(jax.random.key(0), (64, 64), jnp.float64)
    start, cotangent = jax.random.normal(jax.random.key(1), (2, 64))

    @jax.jit
    def norms(start):
        return adjoint_trace(
            lambda h: -h + jnp.tanh(matrix @ h),
            start,
            500.0,
            cotangent / jnp.linalg.norm(cotangent),
            integrator=Euler(0.1),
            intervals=50,
        ).norms

    settled = norms(jnp.tanh(start))[:41]
    assert settled.max() / settled.min() < 1.5
    assert 0.2 < settled.min() < settled.max() < 3


def test_can_be_mapped():
    starts = jnp.asarray([START, (0.1, -0.4)])
    cotangent = jnp.asarray(COTANGENT)

    def one(start):
        return adjoint_trace(plane(0.6), start, 1.0, cotangent, intervals=3)

    mapped = jax.vmap(one)(starts)
    np.testing.assert_allclose(mapped.norms[1], one(starts[1]).norms, rtol=1e-12)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"start": jnp.zeros((1, 2))}, "start"),
        ({"field": lambda h: h[:1]}, "field"),
        ({"duration": 0.0}, "duration"),
        ({"cotangent": jnp.ones(3)}, "cotangent"),
        ({"intervals": 0}, "intervals"),
        ({"integrator": cast(Any, "euler")}, "integrator"),
    ],
)
def test_rejects_bad_arguments(options, name):
    given: dict[str, Any] = {
        "field": lambda h: -h,
        "start": jnp.ones(2),
        "duration": 1.0,
        "cotangent": jnp.ones(2),
    }
    with pytest.raises(ValueError, match=f"`{name}` must"):
        adjoint_trace(**(given | options))
