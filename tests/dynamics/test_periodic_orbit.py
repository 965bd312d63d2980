import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradstab.dynamics import periodic_orbit
from tests.dynamics.flows import (
    HOMOCLINIC,
    HOPF,
    START,
    gru,
    homoclinic,
    orbit_of_homoclinic,
    orbit_of_plane,
    plane,
    rotation,
)

pytestmark = pytest.mark.usefixtures("double")


@pytest.mark.parametrize(
    ("angle", "period", "size"),
    [
        (math.radians(15), 28.7577, 0.889),
        (math.radians(30), 11.1456, 0.738),
        (math.radians(45), 6.28685, 0.330),
        (math.pi / 3.8, 5.7843, 0.169),
    ],
)
def test_cycles_of_a_plane(angle, period, size):
    orbit = orbit_of_plane(angle)
    assert orbit.period == pytest.approx(period, abs=5e-5)
    assert np.max(np.abs(orbit.states)) == pytest.approx(size, abs=5e-4)
    assert orbit.residual < 1e-12
    assert orbit.states.shape == (257, 2)
    assert orbit.times[-1] == orbit.period
    np.testing.assert_array_equal(orbit.states[0], orbit.state)
    np.testing.assert_allclose(orbit.states[-1], orbit.state, atol=1e-12)


def test_the_period_tends_to_that_of_the_hopf_bifurcation():
    field = plane(HOPF - 1e-3)
    orbit = periodic_orbit(field, jnp.asarray([0.05, 0.0]), settle=1000.0)
    assert orbit.period == pytest.approx(2 * math.pi / math.sqrt(1.25), abs=0.02)
    assert orbit.period > 5.6199


def test_a_gru_of_twice_the_gain_takes_twice_the_time():
    angle = math.radians(45)
    orbit = periodic_orbit(gru(rotation(angle, 3.0)), jnp.asarray(START), samples=8)
    assert orbit.period == pytest.approx(2 * orbit_of_plane(angle).period, rel=1e-10)


@pytest.mark.parametrize(("distance", "period"), [(1e-2, 11.204), (1e-6, 27.655)])
def test_the_period_grows_as_a_logarithm_towards_a_homoclinic_orbit(distance, period):
    """By ln(10) / 0.55696 = 4.13 for each power of ten."""
    found = orbit_of_homoclinic(distance)
    assert found.period == pytest.approx(period, abs=1e-3)
    assert found.residual < 1e-12


def test_beyond_the_homoclinic_orbit_all_falls_into_the_node():
    start = jnp.asarray([-0.0229, -0.0078])
    with pytest.raises(ValueError, match=r"came to rest at \[-0.9996, -0.824"):
        periodic_orbit(homoclinic(HOMOCLINIC + 1e-3), start)


def rings(h):
    """A stable cycle of radius 2 about an unstable one of radius 1, period 2π."""
    square = jnp.sum(h**2)
    return 0.05 * (square - 1) * (4 - square) * h + jnp.stack([-h[1], h[0]])


def test_an_unstable_cycle_is_found_from_nearby():
    start = jnp.asarray([1.0 + 1e-4, 0.0])
    found = periodic_orbit(rings, start, settle=0.0, max_period=7.0)
    np.testing.assert_allclose(np.linalg.norm(found.states, axis=1), 1, atol=1e-10)
    assert found.period == pytest.approx(2 * math.pi)


def test_single_precision():
    with jax.enable_x64(False):
        found = periodic_orbit(rings, jnp.asarray([1.5, 0.0]))
        assert found.states.dtype == np.float32
        assert found.period == pytest.approx(2 * math.pi, rel=1e-4)


@pytest.mark.parametrize(
    ("field", "message"),
    [
        (lambda h: -h, r"came to rest at \[0.0, 0.0\]"),
        (lambda h: h**2, "left for infinity"),
        (lambda h: 0 * h + 1, "does not come back"),
    ],
)
def test_says_why_there_is_none(field, message):
    with pytest.raises(ValueError, match=f"`start` settles on no .*{message}"):
        periodic_orbit(field, jnp.asarray([0.5, 0.7]), settle=50.0, max_period=20.0)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"start": jnp.zeros((1, 2))}, "start"),
        ({"field": 3}, "field"),
        ({"settle": -1.0}, "settle"),
        ({"max_period": 0.0}, "max_period"),
        ({"samples": 0}, "samples"),
    ],
)
def test_rejects_bad_arguments(options, name):
    with pytest.raises(ValueError, match=f"`{name}` must"):
        periodic_orbit(**{"field": rings, "start": jnp.zeros(2), **options})
