import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import gradstab as gs
from tests.nn.test_limit_cycle_init import planes

KEY = jax.random.key(0)


def test_every_plane_is_drawn_from_the_intervals(dtype):
    matrix = gs.nn.torus_init()(KEY, (200, 200), dtype)
    assert matrix.dtype == dtype
    scales, angles = planes(np.asarray(matrix))
    assert np.all((scales > 1.1256) & (scales < 1.2514))
    assert np.ptp(scales) > 0.1
    assert np.all((np.abs(angles) > 0.2 * math.pi) & (np.abs(angles) < 0.4 * math.pi))
    assert 30 < np.sum(angles > 0) < 70  # either sense


def test_gain_scales_all_of_it_and_the_odd_unit_is_alone():
    matrix = gs.nn.torus_init(gain=2.0)(KEY, (5, 5))
    np.testing.assert_allclose(matrix, 2 * gs.nn.torus_init()(KEY, (5, 5)), rtol=1e-6)
    np.testing.assert_array_equal(matrix[4], [0, 0, 0, 0, 2])


@jax.jit
@jax.vmap
def exponents(matrix):
    """The Lyapunov exponents of h' = tanh(W h) in a plane."""

    def advance(carry, _):
        h, frame = carry
        h = jnp.tanh(matrix @ h)
        frame, growth = jnp.linalg.qr((1 - h**2)[:, None] * (matrix @ frame))
        return (h, frame), jnp.log(jnp.abs(jnp.diagonal(growth)))

    start = jnp.asarray([0.1, 0.2]), jnp.eye(2)
    settled, _ = jax.lax.scan(advance, start, length=500)
    return jnp.mean(jax.lax.scan(advance, settled, length=2000)[1], 0)


def test_the_phase_of_a_plane_is_not_forgotten():
    matrix = gs.nn.torus_init()(KEY, (16, 16))
    blocks = [matrix[i : i + 2, i : i + 2] for i in range(0, 16, 2)]
    along, across = exponents(jnp.stack(blocks)).T
    np.testing.assert_allclose(along, 0, atol=2e-3)
    assert np.all(across < -0.1)


@pytest.mark.parametrize(("gain", "all_leave"), [(2.0, False), (2.6, True)])
def test_gain_at_which_every_plane_of_a_gru_leaves_the_origin(gain, all_leave):
    """|1 + κ exp(iθ)| / 2 > 1 with κ = g s / 2, as the docstring derives it."""
    matrix = gs.nn.torus_init(gain=gain)(KEY, (200, 200))
    cell = gs.nn.GRUCell(3, 200, rngs=nnx.Rngs(0))
    for gate in (cell.reset, cell.update):
        gate.assign(jnp.zeros((200, 200)))
    cell.candidate.assign(matrix)
    jacobian = jax.jacobian(lambda h: cell(h, jnp.zeros(3))[0])(jnp.zeros(200))
    found = np.abs(np.linalg.eigvals(jacobian))
    scales, angles = planes(np.asarray(matrix))
    expected = np.abs(1 + scales / 2 * np.exp(1j * angles)) / 2
    np.testing.assert_allclose(np.sort(found)[::2], np.sort(expected), atol=1e-5)
    assert np.all(found > 1) == all_leave


def test_refuses_what_is_not_square_and_bad_arguments():
    with pytest.raises(ValueError, match="`param_dtype` must be a floating-point"):
        gs.nn.torus_init()(KEY, (4, 4), jnp.int32)
    with pytest.raises(ValueError, match="needs double precision"):
        gs.nn.torus_init()(KEY, (4, 4), jnp.float64)
    with pytest.raises(ValueError, match="`shape` must be square"):
        gs.nn.torus_init()(KEY, (4, 6))
    with pytest.raises(ValueError, match="`scales` must"):
        gs.nn.torus_init(scales=(1.2, 1.1))
    with pytest.raises(ValueError, match="`gain` must"):
        gs.nn.torus_init(gain=math.nan)
