import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import gradstab as gs

KEY = jax.random.key(0)


def test_every_block_is_drawn_by_its_own_initializer(dtype):
    normal, ones = nnx.initializers.normal(), nnx.initializers.ones_init()
    kernel = gs.nn.per_gate(normal, ones, normal)(KEY, (2, 3, 6), dtype)
    assert kernel.shape == (2, 3, 6)
    assert kernel.dtype == dtype
    first, second, third = jnp.split(kernel, 3, axis=-1)
    np.testing.assert_array_equal(second, 1)
    assert not np.any(first == third)


def test_the_cells_of_flax_take_it():
    zeros, eye = nnx.initializers.zeros_init(), gs.nn.limit_cycle_init(scale=0.0)
    init = gs.nn.per_gate(zeros, zeros, zeros, eye)
    cell = nnx.OptimizedLSTMCell(3, 5, recurrent_kernel_init=init, rngs=nnx.Rngs(0))
    assert np.count_nonzero(cell.dense_h.kernel[...]) == 1


def test_refuses_what_it_cannot_fill():
    with pytest.raises(ValueError, match="`inits` must be initializers"):
        gs.nn.per_gate()
    ones = nnx.initializers.ones_init()
    for shape in [(6,), (3, 7)]:
        with pytest.raises(ValueError, match="`shape` must end in"):
            gs.nn.per_gate(ones, ones)(KEY, shape)


def test_refuses_blocks_of_another_shape_or_dtype():
    ones = nnx.initializers.ones_init()

    def wide(key, shape, dtype):
        return jnp.ones((*shape[:-1], shape[-1] + 1), dtype)

    def single(key, shape, dtype):
        return jnp.ones(shape, jnp.float32)

    with pytest.raises(ValueError, match=r"Initializer 1 must give shape \(4, 4\)"):
        gs.nn.per_gate(ones, wide)(KEY, (4, 8))
    with pytest.raises(ValueError, match="dtype bfloat16, got .* float32"):
        gs.nn.per_gate(single, ones)(KEY, (4, 8), jnp.bfloat16)
