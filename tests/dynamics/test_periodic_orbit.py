import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradstab.dynamics import PeriodicOrbit, periodic_orbit
from tests.dynamics.flows import (
    HOMOCLINIC,
    HOPF,
    START,
    gru,
    homoclinic,
    orbit_of_homoclinic,
    orbit_of_plane,
    orbit_of_rossler,
    plane,
    rossler,
    rotation,
)

pytestmark = pytest.mark.usefixtures("double")


def peak(states):
    """The largest |h|, of the parabola through the largest sample and those beside."""
    rows = np.abs(states[:-1]).T
    row = rows[np.argmax(np.max(rows, axis=1))]
    before, top, after = np.roll(row, 1 - np.argmax(row))[:3]
    return top - (after - before) ** 2 / (8 * (before - 2 * top + after))


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
    assert peak(np.asarray(orbit.states)) == pytest.approx(size, abs=5e-4)
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


def relaxation(h):
    """Van der Pol's, which jumps."""
    return jnp.stack([h[1], 10 * (1 - h[0] ** 2) * h[1] - h[0]])


def fast(h):
    """A circle of period 2π / 52."""
    inwards = 0.3 * (1 - jnp.sum(h**2))
    return 52 * (inwards * h + jnp.stack([-h[1], h[0]]))


@pytest.mark.parametrize(
    ("field", "max_period", "period"),
    [(fast, 100.0, 2 * math.pi / 52), (relaxation, 1000.0, 19.07837)],
)
def test_the_shortest_period_far_below_the_longest(field, max_period, period):
    with jax.enable_x64(False):
        start = jnp.asarray([1.0, 0.2])
        found = periodic_orbit(field, start, settle=20.0, max_period=max_period)
        assert found.period == pytest.approx(period, rel=1e-5)


def test_a_period_that_was_doubled():
    found = orbit_of_rossler()
    assert found.period == pytest.approx(11.545218, abs=1e-6)
    middle = np.asarray(found.states[128])
    assert np.linalg.norm(middle - found.state) > 0.1
    assert found.residual < 1e-12


def test_a_chaotic_attractor_is_no_orbit():
    with pytest.raises(ValueError, match="does not stay near the one of period"):
        periodic_orbit(lambda h: rossler(h, 5.7), jnp.asarray([1.0, 1.0, 0.0]))


def test_nothing_settles_on_an_unstable_cycle():
    with pytest.raises(ValueError, match=r"whose largest multiplier is 6.586; .*=0`"):
        periodic_orbit(rings, jnp.asarray([1.0, 0.0]), settle=1.0, max_period=7.0)


def test_a_spiral_is_no_orbit():
    def spiral(h):
        return jnp.stack([-h[1], h[0]]) - 1e-6 * h

    with pytest.raises(ValueError, match="Newton's method finds one far"):
        periodic_orbit(spiral, jnp.asarray([1.0, 0.0]), max_period=20.0)


def test_of_a_family_the_orbit_of_the_start_is_found():
    def hunt(h):
        return jnp.stack([h[0] * (1 - h[1]), h[1] * (h[0] - 1)])

    def energy(h):
        return np.sum(np.asarray(h) - np.log(np.asarray(h)))

    start = jnp.asarray([0.01, 1.0])
    found = periodic_orbit(hunt, start, settle=0.0, max_period=20.0)
    assert energy(found.state) == pytest.approx(energy(start), abs=1e-8)


def test_an_orbit_in_a_small_unit():
    def small(h):
        return 1e-9 * rings(h * 1e9)

    found = periodic_orbit(small, jnp.asarray([2e-9, 1e-10]), max_period=20.0)
    np.testing.assert_allclose(np.linalg.norm(found.states, axis=1), 2e-9, rtol=1e-9)


def test_says_that_settling_takes_too_many_steps(monkeypatch):
    monkeypatch.setattr("gradstab.dynamics._periodic_orbit._SETTLE_STEPS", 1)
    with pytest.raises(ValueError, match="a smaller `settle` may do"):
        periodic_orbit(rings, jnp.asarray([1.5, 0.0]), settle=2000.0)


def test_a_longest_period_below_the_period():
    with pytest.raises(ValueError, match="does not come back"):
        periodic_orbit(rings, jnp.asarray([2.0, 0.0]), settle=0.0, max_period=6.0)


def test_an_orbit_is_a_pytree_and_has_no_equal():
    states = jnp.zeros((3, 2))
    orbit = PeriodicOrbit(states[0], 1.0, 0.0, jnp.arange(3.0), states)
    passed = jax.jit(lambda orbit: orbit)(orbit)
    assert passed != orbit
    assert len({passed, orbit}) == 2
    np.testing.assert_array_equal(passed.times, orbit.times)


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
