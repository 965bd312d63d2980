import math
import resource
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradstab.dynamics import fixed_points, grid_points
from tests.dynamics.flows import (
    HOMOCLINIC,
    HOPF,
    SQUARE,
    gru,
    homoclinic,
    plane,
    pseudo_line,
    rotation,
)

pytestmark = pytest.mark.usefixtures("double")


def kinds(field, resolution=15):
    return [p.kind for p in fixed_points(field, grid_points(SQUARE, resolution))]


@pytest.mark.parametrize(("weight", "fold"), [(3.0, 0.207546), (4.0, 0.532840)])
def test_one_unit_has_three_until_the_fold(weight, fold):
    height = math.sqrt(1 - 2 / weight)
    exact = abs(math.atanh(height) - weight / 2 * height)
    assert exact == pytest.approx(fold, abs=5e-7)
    starts = grid_points([[-1, 1]], 101)
    before, after = (
        [p.kind for p in fixed_points(gru([[weight]], bias=bias), starts)]
        for bias in (exact - 1e-6, exact + 1e-6)
    )
    assert before == ["stable node", "unstable node", "stable node"]
    assert after == ["stable node"]


def test_the_pitchfork_of_one_unit():
    starts = grid_points([[-1, 1]], 21)
    assert [p.kind for p in fixed_points(gru([[1.99]]), starts)] == ["stable node"]
    assert len(fixed_points(gru([[2.01]]), starts)) == 3
    (only,) = fixed_points(gru([[2.0]]), starts)
    assert only.kind == "degenerate"
    np.testing.assert_allclose(only.state, 0, atol=1e-4)


@pytest.mark.parametrize("make", [plane, lambda angle: gru(rotation(angle, 3.0))])
def test_saddles_and_nodes_leave_the_cycle_of_a_plane(make):
    """At θ_S = 0.147822 = π / 21.2525."""
    assert kinds(make(0.147822 + 2e-6)) == ["unstable focus"]
    below = kinds(make(0.147822 - 2e-6))
    assert (below.count("saddle"), below.count("stable node")) == (4, 4)


def test_the_origin_of_a_plane_stops_repelling():
    """At θ_H = arccos(1 / 1.5) = 0.841069 = π / 3.7352."""
    assert math.isclose(HOPF, 0.841069, abs_tol=5e-7)
    assert math.isclose(math.pi / HOPF, 3.7352, abs_tol=5e-5)
    assert kinds(plane(HOPF - 1e-4), 5) == ["unstable focus"]
    assert kinds(plane(HOPF), 5) == ["center"]
    assert kinds(plane(HOPF + 1e-4), 5) == ["stable focus"]


def test_the_period_at_the_birth_of_a_cycle():
    (point,) = fixed_points(plane(HOPF), grid_points(SQUARE, 5))
    period = 2 * math.pi / point.eigenvalues[0].imag
    assert period == pytest.approx(2 * math.pi / math.sqrt(1.5**2 - 1))
    assert period == pytest.approx(5.6199, abs=5e-5)


def test_fixed_points_beside_a_homoclinic_orbit():
    points = fixed_points(homoclinic(HOMOCLINIC), grid_points(SQUARE, 15))
    assert [p.kind for p in points] == ["stable node", "saddle", "unstable focus"]
    assert [p.kind for p in points] == kinds(homoclinic(HOMOCLINIC + 1e-2))
    expected = [(-0.9996, -0.8241), (-0.9251, -0.2424), (-0.0729, -0.0078)]
    np.testing.assert_allclose([p.state for p in points], expected, atol=5e-5)
    values = points[1].eigenvalues
    np.testing.assert_allclose(values, [0.55696, -0.57246], atol=5e-6)
    assert all(p.residual < 1e-14 and p.spread < 1e-12 for p in points)


def test_a_line_that_is_nearly_at_rest_has_one_fixed_point():
    field = pseudo_line()
    (point,) = fixed_points(field, grid_points(SQUARE, 15))
    assert point.kind == "degenerate"
    np.testing.assert_allclose(point.state, 0, atol=1e-3)
    assert 1e-5 < point.spread < 1e-2
    np.testing.assert_allclose(point.eigenvalues, [0, -0.5], atol=1e-9)


@pytest.mark.parametrize(
    ("reach", "speed"), [(0.2, 4.6e-5), (0.3, 3.5e-4), (0.5, 4.2e-3)]
)
def test_how_slow_the_line_is(reach, speed):
    along = jnp.linspace(-reach, reach, 201)
    velocities = jax.vmap(pseudo_line())(jnp.stack([along, -along], 1))
    fastest = np.max(np.linalg.norm(velocities, axis=1))
    assert fastest == pytest.approx(speed, rel=0.02)


def test_a_jacobian_at_a_fixed_point_is_the_closed_form():
    """diag(1 - z) [diag(1 - h²) U (diag(r) + diag(h r (1 - r)) U_r) - I]."""
    reset = np.array([[2.1, -0.7], [-1.3, 1.5]])
    candidate = np.array([[1.0, 7.6], [-3.5, 3.1]])
    for point in fixed_points(homoclinic(0.1), grid_points(SQUARE, 9)):
        h = point.state
        r = 1 / (1 + np.exp(-(reset @ h + np.array([0.0, 0.6]))))
        inner = np.diag(r) + np.diag(h * r * (1 - r)) @ reset
        jacobian = (np.diag(1 - h**2) @ candidate @ inner - np.eye(2)) / 2
        expected = np.sort_complex(np.linalg.eigvals(jacobian))
        found = np.sort_complex(point.eigenvalues)
        np.testing.assert_allclose(found, expected, atol=1e-10)


def test_points_of_a_map():
    def henon(h):
        return jnp.stack([1 - 1.4 * h[0] ** 2 + h[1], 0.3 * h[0]])

    found = fixed_points(lambda h: henon(h) - h, grid_points([[-2, 2]] * 2, 5))
    root = math.sqrt(0.7**2 + 4 * 1.4)
    expected = np.array([(-0.7 - root) / 2.8, (-0.7 + root) / 2.8])
    np.testing.assert_allclose([p.state[0] for p in found], expected, rtol=1e-12)
    np.testing.assert_allclose(np.prod(1 + found[0].eigenvalues), -0.3, rtol=1e-9)


def test_nothing_is_found_where_nothing_rests():
    assert fixed_points(lambda h: h * 0 + 1, grid_points(SQUARE, 3)) == []


def test_points_at_equal_distances_stay_apart():
    starts = grid_points([[-4, 4]], 33)
    found = fixed_points(lambda h: jnp.sin(2 * jnp.pi * h), starts)
    inner = [p.state[0] for p in found if abs(p.state[0]) < 3.2]
    np.testing.assert_allclose(inner, np.arange(-6, 7) / 2, atol=1e-12)


def test_single_precision_says_what_it_cannot_tell():
    with jax.enable_x64(False):
        starts = grid_points(SQUARE, 5)
        (point,) = fixed_points(lambda h: -h, starts)
        assert point.state.dtype == np.float32
        assert point.kind == "stable node"
        with pytest.warns(UserWarning, match="Single precision cannot tell slow"):
            fixed_points(lambda h: -(h**5), starts)


def test_rejects_bad_arguments():
    starts = grid_points(SQUARE, 3)
    for bad in (starts[0], starts[:0], starts * jnp.nan):
        with pytest.raises(ValueError, match="`starts` must"):
            fixed_points(lambda h: h, bad)
    with pytest.raises(ValueError, match="`field` must map"):
        fixed_points(lambda h: h[:1], starts)
    with pytest.raises(ValueError, match="`tolerance` must be above 0"):
        fixed_points(lambda h: h, starts, tolerance=0.0)
    with pytest.raises(ValueError, match="`max_steps` must"):
        fixed_points(lambda h: h, starts, max_steps=0)


def test_names_the_extra_that_it_needs(monkeypatch):
    monkeypatch.setitem(sys.modules, "optimistix", None)
    with pytest.raises(ModuleNotFoundError, match="optimistix, of the extra"):
        fixed_points(lambda h: h, grid_points(SQUARE, 3))


def cubic(h):
    return (0.3 - h) * (h + 0.5) * (h - 0.9)


@pytest.mark.parametrize("tolerance", [1e-10, 1e-6, 1e-3])
def test_a_tolerance_is_taken_at_its_word(tolerance):
    starts = grid_points(SQUARE, 3) + 0.1
    (point,) = fixed_points(lambda h: -h, starts, tolerance=tolerance)
    assert point.residual <= tolerance


@pytest.mark.parametrize(
    "field", [lambda h: jnp.log(h + 0.5), lambda h: 1 / (h + 0.5) - 1]
)
def test_starts_without_a_speed_do_not_hide_a_point(field):
    (point,) = fixed_points(field, grid_points([[-1, 1]], 5))
    np.testing.assert_allclose(point.state, 0.5, rtol=1e-12)


def test_the_unit_of_time_does_not_matter(dtype):
    starts = grid_points([[-1, 1]], 21)
    tiny = float(jnp.finfo(dtype).eps) ** 2
    for unit in (1.0, tiny, 1 / tiny):
        found = fixed_points(lambda h, unit=unit: unit * cubic(h), starts)
        kinds = [point.kind for point in found]
        assert kinds == ["stable node", "unstable node", "stable node"]
        states = [point.state[0] for point in found]
        np.testing.assert_allclose(states, [-0.5, 0.3, 0.9], rtol=1e-6)


def test_a_gate_nearly_shut_moves_no_point(dtype):
    """One unit of two, with 1 - z down to eps² and u = 3."""
    starts = grid_points(SQUARE, 5)
    states = []
    for share in (1.0, float(jnp.finfo(dtype).eps) ** 2):
        speeds = jnp.asarray([1.0, share], dtype)
        found = fixed_points(lambda h, s=speeds: s * (jnp.tanh(1.5 * h) - h), starts)
        assert len(found) == 9
        states.append([point.state for point in found])
    np.testing.assert_allclose(states[0], states[1], atol=1e-5)
    assert np.max(states) == pytest.approx(0.85856, abs=1e-5)


def test_a_slow_map_has_one_point():
    matrix = np.random.default_rng(0).normal(size=(8, 8)) * 0.3
    starts = jnp.asarray(np.random.default_rng(1).uniform(-1, 1, (20, 8)))

    def leak(h):
        return (1 - 1e-4) * h + 1e-4 * jnp.tanh(matrix @ h + 0.5)

    (point,) = fixed_points(lambda h: leak(h) - h, starts)
    assert point.spread < 1e-10


@pytest.mark.parametrize(
    "field",
    [lambda h: 1 / (1 + h**2), lambda h: 1 / jnp.cosh(3 * h), lambda h: 1 / h],
)
def test_what_decays_at_infinity_does_not_rest_there(field, dtype):
    assert fixed_points(field, grid_points([[-1, 1]], 5)) == []


@pytest.mark.parametrize("power", [1, 2])
def test_what_decays_fast_does_not_rest_before_it_underflows(power):
    starts = grid_points([[-1, 1]], 5)
    assert fixed_points(lambda h: jnp.exp(-(h**power)), starts) == []


@pytest.mark.parametrize("starts", [[[0.7, 0.3]], [[0.7, 0.3], [-0.7, -0.3]]])
def test_one_search_can_tell_a_degenerate_point(starts):
    def field(h):
        return jnp.stack([(h[0] - 0.1) ** 3, -h[1]])

    (point,) = fixed_points(field, jnp.asarray(starts))
    assert point.kind == "degenerate"


@pytest.mark.parametrize(
    ("distance", "kinds"),
    [(1e-12, ["stable node", "saddle"]), (1e-16, ["degenerate"])],
)
def test_a_saddle_and_a_node_that_are_one_to_rounding(distance, kinds):
    def field(h):
        return jnp.stack([h[0] ** 2 - h[0] + 0.25 - distance, 0.3 - h[1]])

    found = fixed_points(field, grid_points(SQUARE, 5))
    assert [point.kind for point in found] == kinds


def test_comparisons_grow_with_the_starts():
    """A table of all pairs of 20,000 would hold 400 million."""
    starts = grid_points([[-1, 1]], 20_001)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert len(fixed_points(cubic, starts)) == 3
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000


def test_warns_of_a_continuum_whatever_its_precision():
    with pytest.warns(UserWarning, match="at rest to rounding over 2") as caught:
        found = fixed_points(
            lambda h: jnp.stack([0 * h[0], -h[1]]), grid_points(SQUARE, 3)
        )
    assert [point.kind for point in found] == ["degenerate"]
    assert caught[0].filename == __file__


def test_a_stiff_saddle_in_single_precision():
    with jax.enable_x64(False):
        rates = jnp.asarray([-1e4, 1.0])
        (point,) = fixed_points(lambda h: rates * h, grid_points(SQUARE, 3))
    assert point.kind == "saddle"


def test_points_compare_by_identity():
    one, other = (
        fixed_points(lambda h: -h, grid_points(SQUARE, 2))[0] for _ in range(2)
    )
    assert one != other
    assert len({one, other}) == 2
