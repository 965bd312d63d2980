import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import gradstab as gs
from tests.helpers import random_matrix


def make(hidden=4, **options):
    return gs.nn.SpectralGRUCell(3, hidden, rngs=nnx.Rngs(0), **options)


def test_starts_as_the_paper_does():
    cell = make(hidden=64)
    matrix = cell.candidate()
    np.testing.assert_allclose(matrix @ matrix.mT, np.eye(64), atol=1e-5)
    for weight in (cell.reset(), cell.update(), cell.dense_candidate.kernel[...]):
        assert float(jnp.std(weight)) == pytest.approx(1 / 64, rel=0.2)
    assert cell.dense_reset.bias is None
    assert not cell.reset_after


def test_the_jacobian_at_the_origin_is_that_of_the_paper():
    cell = make()
    expected = np.eye(4) / 2 + cell.candidate() / 4
    np.testing.assert_allclose(cell.origin_jacobian(), expected, atol=1e-6)


@pytest.mark.parametrize("reset_after", [False, True])
def test_the_jacobian_at_the_origin_knows_biases(reset_after):
    cell = make(use_bias=True, reset_after=reset_after)
    cell.dense_reset.bias = nnx.Param(jnp.full(4, 3.0))
    cell.dense_update.bias = nnx.Param(jnp.full(4, -1.0))
    reset, update = jax.nn.sigmoid(3.0), jax.nn.sigmoid(-1.0)
    expected = update * np.eye(4) + (1 - update) * reset * cell.candidate()
    np.testing.assert_allclose(cell.origin_jacobian(), expected, atol=1e-6)


@pytest.mark.parametrize("maximum", [1.8, 0.6])
def test_below_two_the_origin_attracts(maximum):
    matrix = gs.nn.SpectralClipped((4, 4), maximum=maximum, rngs=nnx.Rngs(1))
    matrix.weight[...] = 5 * random_matrix(0, (4, 4), "float32")
    cell = make(candidate=matrix)
    delta = 2 - maximum
    norm = gs.linalg.spectral_norm(cell.origin_jacobian())
    assert norm <= 1 - delta / 4 + 1e-6
    state = jnp.full(4, 1e-3)
    for _ in range(10):
        before = jnp.linalg.norm(state)
        state, _ = cell(state, jnp.zeros(3))
        assert jnp.linalg.norm(state) < before


def test_one_unit_splits_its_fixed_point_above_two():
    with jax.enable_x64(True):

        def settle(weight):
            cell = gs.nn.SpectralGRUCell(
                1, 1, param_dtype=jnp.float64, rngs=nnx.Rngs(0)
            )
            for gate in (cell.reset, cell.update):
                gate.assign(jnp.zeros((1, 1)))
            cell.candidate.assign(jnp.full((1, 1), weight))
            outputs = gs.nn.RNN(cell)(jnp.zeros((2000, 1)), initial_carry=jnp.ones(1))
            return float(outputs[-1, 0])

        # h' = h / 2 + tanh(w h / 2) / 2 settles where tanh(w h / 2) = h.
        assert settle(1.8) < 1e-12
        above = settle(2.2)
        assert above == pytest.approx(0.50294, abs=1e-5)
        assert np.tanh(1.1 * above) == pytest.approx(above, abs=1e-12)
