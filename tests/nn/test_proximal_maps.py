import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradstab as gs

MAPS = {
    "ReLU": gs.nn.ReLU(),
    "ShiftedReLU": gs.nn.ShiftedReLU(0.3),
    "SoftThreshold": gs.nn.SoftThreshold(0.3),
    "HardThreshold": gs.nn.HardThreshold(0.3),
}


@pytest.fixture(params=MAPS, ids=str)
def proximal(request):
    return MAPS[request.param]


def test_it_solves_its_minimization(proximal):
    with jax.enable_x64(True):
        grid = (jnp.arange(-3000, 3001) / 1000)[:, None]
        for z in np.linspace(-2.5, 2.5, 101):
            values = (z - grid[:, 0]) ** 2 / 2 + proximal.penalty(grid)
            found = proximal(jnp.full(1, z))
            value = (z - found[0]) ** 2 / 2 + proximal.penalty(found)
            assert value <= jnp.min(values) + 1e-12
            assert value >= jnp.min(values) - 1e-6  # the grid is that fine


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ReLU", [0, 0, 0, 0, 0.5, 2]),
        ("ShiftedReLU", [0, 0, 0, 0, 0.2, 1.7]),
        ("SoftThreshold", [-1.7, -0.2, 0, 0, 0.2, 1.7]),
        ("HardThreshold", [-2, 0, 0, 0, 0, 2]),  # √0.6 = 0.77
    ],
)
def test_values(name, expected):
    z = jnp.array([-2, -0.5, -0.3, 0, 0.5, 2])
    np.testing.assert_allclose(MAPS[name](z), expected, atol=1e-7)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ReLU", [0, np.inf]),
        ("ShiftedReLU", [0.9, np.inf]),
        ("SoftThreshold", [0.9, 0.9]),
        ("HardThreshold", [0.6, 0.6]),
    ],
)
def test_penalties(name, expected):
    y = jnp.array([[1.0, 0.0, 2.0], [-1.0, 0.0, 2.0]])
    np.testing.assert_allclose(MAPS[name].penalty(y), expected, rtol=1e-6)


def test_the_slope_is_one_where_the_value_is_not_zero(proximal):
    kink = {gs.nn.ReLU: 0.0, gs.nn.HardThreshold: 0.6**0.5}
    # Of float32, since the comparison is made there.
    kink = float(np.float32(kink.get(type(proximal), 0.3)))
    z = jnp.array([-2.0, -kink, -0.0, 0.0, 0.1, kink, 2.0])
    slopes = jax.vmap(jax.grad(proximal))(z)
    np.testing.assert_array_equal(slopes, (proximal(z) != 0).astype(z.dtype))
    assert slopes[5] == 0


def test_only_the_proximal_map_of_a_convex_penalty_never_enlarges(proximal):
    z = jnp.linspace(-2, 2, 401)
    largest = jnp.max(jnp.abs(jnp.diff(proximal(z)) / jnp.diff(z)))
    assert bool(largest <= 1 + 1e-4) == proximal.is_convex


@pytest.mark.parametrize("low", [jnp.bfloat16, jnp.float16])
def test_dtype_is_kept(proximal, dtype, low):
    for kind in (dtype, low):
        y = proximal(jnp.ones((2, 3), kind))
        assert y.dtype == kind
        assert proximal.penalty(y).dtype == kind


def test_what_is_not_finite_is_not_laundered(proximal):
    z = jnp.array([jnp.nan, jnp.inf, 1.0])
    y = proximal(z)
    np.testing.assert_array_equal(jnp.isfinite(y), [False, False, True])


def test_no_strength_is_no_threshold():
    z = jnp.linspace(-2, 2, 9)
    np.testing.assert_array_equal(gs.nn.ShiftedReLU(0.0)(z), gs.nn.ReLU()(z))
    np.testing.assert_array_equal(gs.nn.SoftThreshold(0.0)(z), z)
    np.testing.assert_array_equal(gs.nn.HardThreshold(0.0)(z), z)


def test_equal_maps_are_one_constant():
    traces = []

    @jax.jit
    def apply(z):
        traces.append(1)
        return z

    chosen = jax.jit(lambda proximal, z: proximal(apply(z)), static_argnums=0)
    chosen(gs.nn.SoftThreshold(0.5), jnp.ones(2))
    chosen(gs.nn.SoftThreshold(0.5), jnp.ones(2))
    assert len(traces) == 1
    assert gs.nn.SoftThreshold(0.5) != gs.nn.HardThreshold(0.5)


@pytest.mark.parametrize("strength", [-0.1, np.nan, "strong"])
@pytest.mark.parametrize(
    "kind", [gs.nn.ShiftedReLU, gs.nn.SoftThreshold, gs.nn.HardThreshold]
)
@pytest.mark.error_text
def test_the_strength_must_be_a_number_not_below_zero(kind, strength):
    with pytest.raises(
        ValueError, match=r"`strength` must be a finite number in \[0\.0"
    ):
        kind(strength)
