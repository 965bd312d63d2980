import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import gradstab as gs
from tests.helpers import RATIO_LIMIT, orthogonality_ratio

KEY = jax.random.key(0)


@pytest.mark.parametrize("gates", [1, 3, 4])
def test_every_block_is_orthogonal(gates, any_dtype):
    kernel = gs.nn.per_gate_orthogonal(gates)(KEY, (8, gates * 8), any_dtype)
    assert kernel.dtype == any_dtype
    for block in jnp.split(kernel, gates, axis=1):
        assert orthogonality_ratio(block) <= RATIO_LIMIT


@pytest.mark.parametrize("cell", [nnx.GRUCell, nnx.OptimizedLSTMCell])
def test_the_cells_of_flax_take_it(cell):
    def values(init):
        found = cell(3, 64, recurrent_kernel_init=init, rngs=nnx.Rngs(0))
        kernel = found.dense_h.kernel[...]
        blocks = jnp.split(kernel, kernel.shape[1] // 64, axis=1)
        return np.linalg.svd(np.stack(blocks), compute_uv=False)

    gates = 3 if cell is nnx.GRUCell else 4
    np.testing.assert_allclose(values(gs.nn.per_gate_orthogonal(gates)), 1, atol=1e-5)
    assert values(nnx.initializers.orthogonal()).min() < 0.1


def test_blocks_may_be_rectangular_scaled_stacked_and_of_low_precision():
    init = gs.nn.per_gate_orthogonal(2, scale=3.0)
    tall, wide = init(KEY, (6, 8)), init(KEY, (2, 8))
    np.testing.assert_allclose(tall[:, :4].T @ tall[:, :4], 9 * np.eye(4), atol=1e-5)
    np.testing.assert_allclose(wide[:, 4:] @ wide[:, 4:].T, 9 * np.eye(2), atol=1e-5)
    stack = init(KEY, (5, 4, 8))
    for kernel in stack:
        np.testing.assert_allclose(
            kernel[:, :4].T @ kernel[:, :4], 9 * np.eye(4), atol=1e-5
        )
    assert not np.allclose(stack[0], stack[1])
    low = gs.nn.per_gate_orthogonal(2)(KEY, (4, 8), jnp.bfloat16)
    assert low.dtype == jnp.bfloat16
    assert init(KEY, (0, 8)).shape == (0, 8)


@pytest.mark.parametrize("shape", [(8,), (8, 7)])
def test_refuses_shapes_without_so_many_blocks(shape):
    with pytest.raises(ValueError, match="`shape` must end in"):
        gs.nn.per_gate_orthogonal(2)(KEY, shape)
    with pytest.raises(ValueError, match="`gates` must"):
        gs.nn.per_gate_orthogonal(0)
