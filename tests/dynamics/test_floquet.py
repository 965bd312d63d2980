import math
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradstab.dynamics import PeriodicOrbit, floquet_multipliers
from tests.dynamics.flows import (
    HOMOCLINIC,
    homoclinic,
    orbit_of_homoclinic,
    orbit_of_plane,
    orbit_of_rossler,
    plane,
    rossler,
)

pytestmark = pytest.mark.usefixtures("double")


def by_liouville(field, orbit):
    """exp ∫ tr J dt, by the trapezoidal rule, which is exact to rounding on a loop."""
    jacobians = jax.vmap(jax.jacfwd(field))(orbit.states[:-1])
    return np.exp(orbit.period * np.mean(np.trace(jacobians, axis1=1, axis2=2)))


@pytest.mark.parametrize(
    ("angle", "multiplier", "atol"),
    [
        (math.radians(15), 0.0, 1e-5),
        (math.radians(30), 9.42e-3, 5e-6),
        (math.radians(45), 0.49425, 5e-6),
        (math.pi / 3.8, 0.83498, 5e-6),
    ],
)
def test_multipliers_of_cycles_of_a_plane(angle, multiplier, atol):
    field, orbit = plane(angle), orbit_of_plane(angle)
    along, across = floquet_multipliers(field, orbit)
    assert along == pytest.approx(1, abs=1e-10)
    assert across == pytest.approx(multiplier, abs=atol)
    # Liouville's formula, to the last digits of a multiplier of 1e-7.
    np.testing.assert_allclose(along * across, by_liouville(field, orbit), rtol=1e-9)


def test_multipliers_beside_a_homoclinic_orbit():
    field, orbit = homoclinic(HOMOCLINIC - 1e-6), orbit_of_homoclinic(1e-6)
    along, across = floquet_multipliers(field, orbit)
    assert along == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(along * across, by_liouville(field, orbit), rtol=1e-5)


def ring(h):
    """A circle of period 2π, with rates of -2, -5 and a spiral of -1 ± 0.3i."""
    x, y, z, u, v = h
    inwards = 1 - x**2 - y**2
    spiral = -u - 0.3 * v, -v + 0.3 * u
    return jnp.stack([inwards * x - y, inwards * y + x, -5 * z, *spiral])


def test_multipliers_far_below_rounding():
    turn = 2 * math.pi
    rates = np.array([0, -1 + 0.3j, -1 - 0.3j, -2, -5])
    expected = np.exp(turn * rates)
    found = floquet_multipliers(ring, circle())
    np.testing.assert_allclose(np.abs(found), np.abs(expected), rtol=1e-8)
    np.testing.assert_allclose(
        np.sort(np.imag(found)), np.sort(np.imag(expected)), atol=1e-9
    )


def circle(dtype=jnp.float64, period=2 * math.pi):
    times = jnp.linspace(0, period, 65, dtype=dtype)
    angles = 2 * math.pi * times / period
    rest = jnp.zeros_like(times)
    states = jnp.stack([jnp.cos(angles), jnp.sin(angles), rest, rest, rest], axis=1)
    return PeriodicOrbit(states[0], period, 0.0, times, states)


def test_multipliers_in_single_precision():
    with jax.enable_x64(False):
        found = floquet_multipliers(ring, circle(jnp.float32))
    rates = np.array([0, -1, -1, -2, -5])
    np.testing.assert_allclose(np.abs(found), np.exp(2 * math.pi * rates), rtol=1e-3)


def test_a_negative_multiplier():
    orbit = orbit_of_rossler()
    along, across, _ = floquet_multipliers(rossler, orbit)
    assert along == pytest.approx(1, abs=1e-9)
    assert across == pytest.approx(-0.418735, abs=1e-6)


def test_rejects_an_orbit_of_another_field():
    for field, orbit in (
        (lambda h: 2 * ring(h), circle()),
        (ring, circle(period=4 * math.pi)),
    ):
        with pytest.raises(ValueError, match="`orbit` must be an orbit of `field`"):
            floquet_multipliers(field, orbit)


def test_rejects_bad_arguments():
    orbit = orbit_of_plane(math.radians(45))
    field = plane(math.radians(45))
    with pytest.raises(ValueError, match="`orbit` must be a PeriodicOrbit"):
        floquet_multipliers(field, cast(Any, orbit.state))
    with pytest.raises(ValueError, match="`field` must map"):
        floquet_multipliers(lambda h: h[:1], orbit)
    for segments in (0, 257):
        with pytest.raises(
            ValueError, match=r"`segments` must be an integer in \[1, 256"
        ):
            floquet_multipliers(field, orbit, segments=segments)
    with pytest.raises(FloatingPointError, match="could not be followed"):
        floquet_multipliers(lambda h: h / jnp.zeros(()), orbit)
