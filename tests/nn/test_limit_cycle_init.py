import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import gradstab as gs

KEY = jax.random.key(0)


def planes(matrix):
    """The scale and the angle of each 2 x 2 block on the diagonal."""
    first = np.arange(0, matrix.shape[-1] - 1, 2)
    cosine, sine = matrix[..., first, first], matrix[..., first + 1, first]
    np.testing.assert_array_equal(matrix[..., first + 1, first + 1], cosine)
    np.testing.assert_array_equal(matrix[..., first, first + 1], -sine)
    return np.hypot(cosine, sine), np.arctan2(sine, cosine)


def test_every_plane_is_a_rotation_by_an_angle_of_the_interval(dtype):
    matrix = gs.nn.limit_cycle_init()(KEY, (64, 64), dtype)
    assert matrix.dtype == dtype
    assert np.count_nonzero(matrix) == 128
    scales, angles = planes(np.asarray(matrix))
    np.testing.assert_allclose(scales, 1.5, rtol=1e-6)
    assert np.all((angles > math.pi / 21) & (angles < math.pi / 3.8))
    assert np.ptp(angles) > 0.5


def test_the_interval_lies_inside_that_of_cycles():
    """The eigenvalues at the origin cross the axis at θ_H = arccos(1 / σ)."""
    high = math.acos(1 / 1.5)
    assert math.isclose(high, 0.841069, abs_tol=5e-7)
    drawn = planes(np.asarray(gs.nn.limit_cycle_init()(KEY, (2000, 2000))))[1]
    assert math.pi / 21.2525 < np.min(drawn)
    assert np.max(drawn) < high
    for angle, is_unstable in [(high - 1e-3, True), (high + 1e-3, False)]:
        init = gs.nn.limit_cycle_init(angles=(angle, angle))
        rates = np.linalg.eigvals(init(KEY, (2, 2))).real - 1
        assert np.all((rates > 0) == is_unstable)


def test_gain_scales_all_of_it_and_the_odd_unit_is_alone():
    plain, scaled = (gs.nn.limit_cycle_init(gain=gain) for gain in (1.0, 2.0))
    matrix = plain(KEY, (5, 5))
    np.testing.assert_allclose(scaled(KEY, (5, 5)), 2 * matrix, rtol=1e-6)
    np.testing.assert_array_equal(matrix[4], [0, 0, 0, 0, 1])
    np.testing.assert_array_equal(matrix[:, 4], [0, 0, 0, 0, 1])
    np.testing.assert_array_equal(plain(KEY, (1, 1)), [[1]])
    assert plain(KEY, (0, 0)).shape == (0, 0)


def test_stacks_are_drawn_apart_and_low_precision_is_cast():
    init = gs.nn.limit_cycle_init()
    _, angles = planes(np.asarray(init(KEY, (3, 4, 4))))
    assert len(np.unique(angles)) == 6
    low = init(KEY, (4, 4), jnp.bfloat16)
    np.testing.assert_array_equal(low, init(KEY, (4, 4)).astype(jnp.bfloat16))


def closed_gates(matrix):
    """Our GRU and Flax's, with gates at one half and a candidate of 2 W."""
    n = matrix.shape[0]
    zeros = nnx.initializers.zeros_init()

    def cycles(key, shape, dtype=jnp.float32, out_sharding=None):
        return jnp.asarray(2 * matrix.T, dtype)

    flax = nnx.GRUCell(
        3,
        n,
        recurrent_kernel_init=gs.nn.per_gate(zeros, zeros, cycles),
        rngs=nnx.Rngs(0),
    )
    ours = gs.nn.GRUCell(3, n, rngs=nnx.Rngs(0))
    for gate in (ours.reset, ours.update):
        gate.assign(jnp.zeros((n, n)))
    ours.candidate.assign(2 * matrix)
    return flax, ours


def test_a_gru_of_twice_the_gain_takes_half_a_step_of_the_flow():
    matrix = gs.nn.limit_cycle_init()(KEY, (6, 6))
    h, rest = jax.random.normal(jax.random.key(1), (6,)), jnp.zeros(3)
    expected = h + (jnp.tanh(matrix @ h) - h) / 2
    for cell in closed_gates(matrix):
        np.testing.assert_allclose(cell(h, rest)[0], expected, atol=1e-6)


@pytest.mark.parametrize("shape", [(4,), (4, 6), (3, 4, 2)])
def test_refuses_what_is_not_square(shape):
    with pytest.raises(ValueError, match="`shape` must"):
        gs.nn.limit_cycle_init()(KEY, shape)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"scale": math.inf}, "scale"),
        ({"gain": math.nan}, "gain"),
        ({"angles": (2.0, 1.0)}, "angles"),
    ],
)
def test_rejects_bad_arguments(options, name):
    with pytest.raises(ValueError, match=f"`{name}` must"):
        gs.nn.limit_cycle_init(**options)
