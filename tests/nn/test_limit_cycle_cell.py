import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import gradstab as gs
from tests.helpers import check_sequence_gradient, random_matrix


def make(dtype=jnp.float32, **options):
    rngs = nnx.Rngs(0)
    return gs.nn.LimitCycleCell(
        3,
        4,
        bias_init=nnx.initializers.normal(),
        param_dtype=dtype,
        rngs=rngs,
        **options,
    )


@pytest.mark.parametrize("dt", [0.0, 0.1, 1.0])
def test_step_is_the_documented_equation(dt, dtype, atol):
    recurrent = gs.nn.Unconstrained((4, 4), param_dtype=dtype, rngs=nnx.Rngs(1))
    cell = make(dtype, dt=dt, recurrent=recurrent)
    assert cell.dense.bias is not None
    h, x = random_matrix(1, (4,), dtype), random_matrix(2, (3,), dtype)
    drive = recurrent() @ h + cell.dense.kernel[...].T @ x + cell.dense.bias[...]
    carry, output = cell(h, x)
    np.testing.assert_allclose(carry, (1 - dt) * h + dt * jnp.tanh(drive), atol=atol)
    assert carry.dtype == dtype
    assert output is carry


def test_sequence_gradient_is_that_of_stock_rnn():
    cell = make()
    inputs = jax.random.normal(jax.random.key(0), (2, 6, 3))
    check_sequence_gradient(cell, inputs, atol=1e-5)


def gradient_norms(matrix, key):
    """How long a random unit cotangent is after 10, 50, 100, 200, 500 time units."""
    n = matrix.shape[0]
    recurrent = gs.nn.Unconstrained((n, n), rngs=nnx.Rngs(0))
    recurrent.assign(matrix)
    cell = gs.nn.LimitCycleCell(1, n, recurrent=recurrent, rngs=nnx.Rngs(0))
    cell = gs.nn.materialize(cell)
    rest = jnp.zeros(n)  # of W x + b

    @jax.jit
    def norms(start, cotangent):
        def forward(h, _):
            return cell.step(h, rest)[0], h

        def backward(cotangent, h):
            _, pull = jax.vjp(lambda h: cell.step(h, rest)[0], h)
            (cotangent,) = pull(cotangent)
            return cotangent, jnp.linalg.norm(cotangent)

        settled, _ = jax.lax.scan(forward, start, length=3000)
        _, states = jax.lax.scan(forward, settled, length=5000)
        return jax.lax.scan(backward, cotangent, states, reverse=True)[1][::-1]

    by_start, by_cotangent = jax.random.split(key)
    cotangent = jax.random.normal(by_cotangent, (n,))
    start = jax.random.uniform(by_start, (n,), minval=-1, maxval=1)
    found = norms(start, cotangent / jnp.linalg.norm(cotangent))
    return np.asarray(found)[[99, 499, 999, 1999, 4999]]


def test_gradients_last_on_limit_cycles_and_nowhere_else():
    """About 1 throughout; 1e-3 after 50 units in a rotation scaled by 0.9."""
    key = jax.random.key(0)
    lasting = gradient_norms(gs.nn.limit_cycle_init()(key, (64, 64)), key)
    assert np.all((lasting > 0.5) & (lasting < 1.5))
    assert lasting.max() / lasting.min() < 1.2
    rotation = nnx.initializers.orthogonal(0.9)(key, (64, 64))
    fading = gradient_norms(rotation, key)
    assert fading[1] < 1e-2
    assert fading[4] < 1e-15
    key = jax.random.key(3)
    chaotic = 3 / 8 * jax.random.normal(key, (64, 64))
    assert gradient_norms(chaotic, key)[4] > 1e4


@pytest.mark.parametrize(("degrees", "wider"), [(30, 1.04), (45, 1.36)])
def test_steps_widen_the_cycles(degrees, wider):
    angle = math.radians(degrees)
    matrix = gs.nn.limit_cycle_init(angles=(angle, angle))(jax.random.key(0), (2, 2))

    def radius(dt):
        def advance(h, _):
            return h + dt * (jnp.tanh(matrix @ h) - h), jnp.linalg.norm(h)

        norms = jax.lax.scan(advance, jnp.ones(2), length=int(600 / dt))[1]
        return norms[-int(100 / dt) :].max()

    assert float(radius(0.1) / radius(0.002)) == pytest.approx(wider, abs=0.01)


def test_contraction_bound():
    held = gs.nn.SpectralClipped((4, 4), maximum=1.5, rngs=nnx.Rngs(0))
    bound = make(recurrent=held, dt=0.2).contraction_bound
    assert bound == pytest.approx(0.8 + 0.2 * 1.5)
    assert make().contraction_bound == np.inf
    assert make(dt=0.0).contraction_bound == 1
    assert gs.nn.materialize(make()).contraction_bound is None


@pytest.mark.parametrize("dt", [-0.1, 1.1, np.nan])
def test_rejects_steps_outside_the_unit_interval(dt):
    with pytest.raises(ValueError, match=r"`dt` must be a finite number in \[0.0, 1.0"):
        make(dt=dt)


@pytest.mark.error_text
def test_rejects_what_does_not_fit():
    recurrent = gs.nn.Unconstrained((3, 4), rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match=r"`recurrent` must have shape \(4, 4\)"):
        make(recurrent=recurrent)
    with pytest.raises(ValueError, match="`param_dtype` must be real here"):
        make(jnp.complex64)
