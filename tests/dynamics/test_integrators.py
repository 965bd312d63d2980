import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradstab.dynamics import Euler, RungeKutta, Tsitouras
from tests.helpers import check_grads

TURN = np.array([[-0.1, -1.0], [1.0, -0.1]])


def spiral(h):
    return jnp.asarray(TURN, h.dtype) @ h


def turned(h, duration):
    cosine, sine = np.cos(duration), np.sin(duration)
    matrix = np.array([[cosine, -sine], [sine, cosine]])
    return np.exp(-0.1 * duration) * matrix @ h


@pytest.mark.parametrize(("integrator", "order"), [(Euler, 1), (RungeKutta, 4)])
@pytest.mark.usefixtures("double")
def test_the_error_falls_as_the_order_says(integrator, order):
    start = jnp.asarray([1.0, 0.5])
    errors = []
    for dt in (0.02, 0.01):
        found = integrator(dt)(spiral, start, 2.0)
        errors.append(np.max(np.abs(found - turned(start, 2.0))))
    assert errors[0] / errors[1] == pytest.approx(2**order, rel=0.05)


def test_adaptive_steps_keep_the_tolerance(dtype):
    start = jnp.asarray([1.0, 0.5], dtype)
    found = Tsitouras(rtol=1e-6, atol=1e-8)(spiral, start, 2.0)
    assert found.dtype == dtype
    np.testing.assert_allclose(found, turned(start, 2.0), atol=1e-5)


@pytest.mark.parametrize("duration", [0.3, 0.05, 0.35])
def test_a_duration_is_divided_evenly(duration):
    count = max(1, np.ceil(round(duration / 0.1, 9)))
    found = Euler(0.1)(lambda h: -h, jnp.ones(1), duration)
    np.testing.assert_allclose(found, (1 - duration / count) ** count, rtol=1e-6)


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("integrator", [Euler(), RungeKutta(0.1), Tsitouras()])
def test_has_derivatives(integrator):
    def end(h):
        return integrator(lambda h: jnp.sin(spiral(h)), h, 0.5)

    modes = ["rev"] if isinstance(integrator, Tsitouras) else ["fwd", "rev"]
    check_grads(end, (jnp.asarray([1.0, 0.5]),), order=1, modes=modes, atol=1e-4)


@pytest.mark.parametrize("integrator", [Euler(0.001), RungeKutta(0.1), Tsitouras()])
def test_time_runs_backward_too(integrator):
    found = integrator(lambda h: -h, jnp.ones(1), -1.0)
    np.testing.assert_allclose(found, np.e, rtol=2e-3)


@pytest.mark.parametrize("integrator", [Euler(), RungeKutta(), Tsitouras()])
def test_refuses_what_would_be_followed_wrongly(integrator):
    start = jnp.ones(2)
    with pytest.raises(ValueError, match=r"`start` must have dtype float32 or float64"):
        integrator(lambda h: -h, start.astype(jnp.bfloat16), 1.0)
    # These would broadcast.
    for field in (lambda h: h[:1], lambda h: h.sum()):
        with pytest.raises(ValueError, match="`field` must map shape"):
            integrator(field, start, 1.0)
    for duration in (np.nan, np.inf):
        with pytest.raises(ValueError, match="`duration` must be a finite number"):
            integrator(spiral, start, duration)


def test_a_traced_duration_is_for_adaptive_steps():
    end = jax.jit(lambda duration: Tsitouras()(lambda h: -h, jnp.ones(1), duration))
    np.testing.assert_allclose(end(1.0), np.exp(-1), rtol=1e-4)
    with pytest.raises(ValueError, match="`duration` must be a finite number"):
        jax.jit(lambda duration: Euler()(spiral, jnp.ones(2), duration))(1.0)


def test_what_cannot_be_followed_is_not_a_number():
    start = jnp.ones(1)
    assert np.isnan(Tsitouras(max_steps=3)(lambda h: -1e6 * h, start, 1.0))
    assert np.isnan(Tsitouras()(lambda h: h * jnp.nan, start, 1.0))


def test_equal_ones_do_not_compile_again():
    traces = []

    @jax.jit(static_argnums=0)
    def end(integrator, h):
        traces.append(1)
        return integrator(spiral, h, 0.1)

    for _ in range(2):
        end(Euler(0.05), jnp.ones(2))
        end(Tsitouras(rtol=jnp.float32(0.5)), jnp.ones(2))
        end(Tsitouras(rtol=0.5), jnp.ones(2))
    assert len(traces) == 2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Euler(0.0), "`dt` must be above 0"),
        (lambda: RungeKutta(np.nan), "`dt` must be a finite number"),
        (lambda: Tsitouras(rtol=-1.0), "`rtol` must be a finite number in"),
        (lambda: Tsitouras(atol=0.0), "`atol` must be above 0"),
        (lambda: Tsitouras(max_steps=0), "`max_steps` must be an integer >= 1"),
    ],
)
def test_rejects_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_names_the_extra_that_it_needs(monkeypatch):
    monkeypatch.setitem(sys.modules, "diffrax", None)
    with pytest.raises(ModuleNotFoundError, match="diffrax, of the extra `dynamics`"):
        Tsitouras()
