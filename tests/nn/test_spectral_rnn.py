import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import gradstab as gs
from tests.helpers import RATIO_LIMIT, orthogonality_ratio


def test_starts_orthogonal_and_bounds_its_growth():
    cell = gs.nn.SpectralRNNCell(3, 16, reflectors=4, radius=0.02, rngs=nnx.Rngs(0))
    assert orthogonality_ratio(cell.recurrent()) <= RATIO_LIMIT
    assert cell.contraction_bound == 1.02
    assert isinstance(cell.recurrent, gs.nn.SVD)
    assert cell.recurrent.reflectors == 4


def test_step_is_the_documented_equation():
    cell = gs.nn.SpectralRNNCell(3, 4, rngs=nnx.Rngs(0))
    state, inputs = jnp.arange(4.0) - 2, jnp.arange(3.0)
    drive = cell.dense(inputs) + cell.recurrent() @ state
    carry, _ = cell(state, inputs)
    expected = np.where(np.asarray(drive) < 0, 0.01 * drive, drive)
    np.testing.assert_allclose(carry, expected, atol=1e-6)


def test_singular_values_stay_in_the_interval_wherever_the_spectrum_goes():
    cell = gs.nn.SpectralRNNCell(3, 6, radius=0.01, center=0.9, rngs=nnx.Rngs(0))
    assert isinstance(cell.recurrent, gs.nn.SVD)
    cell.recurrent.spectrum[...] = 100 * jax.random.normal(jax.random.key(0), (6,))
    values = np.linalg.svd(cell.recurrent(), compute_uv=False)
    assert np.all(np.abs(values - 0.9) <= 0.01 + 1e-6)
