import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import gradstab as gs


def test_zero_carry_needs_no_key():
    cell = gs.nn.LSTMCell(3, 4, rngs=nnx.Rngs(0))
    memory, state = cell.initialize_carry((2, 5, 3))
    for part in (memory, state):
        np.testing.assert_array_equal(part, np.zeros((2, 5, 4)))


def test_carry_init_draws_every_part_anew():
    cell = gs.nn.LSTMCell(3, 4, rngs=nnx.Rngs(0))
    draw = nnx.initializers.normal()
    memory, state = cell.initialize_carry((2, 3), nnx.Rngs(0), draw)
    assert not np.array_equal(memory, state)
    from_stream, _ = cell.initialize_carry((2, 3), nnx.Rngs(0).carry, draw)
    np.testing.assert_array_equal(from_stream, memory)


@pytest.mark.parametrize(
    ("param_dtype", "state"),
    [
        (jnp.bfloat16, jnp.float32),
        (jnp.float32, jnp.float32),
        (jnp.complex64, jnp.complex64),
    ],
)
def test_state_is_at_least_float32(param_dtype, state):
    recurrent = gs.nn.Unconstrained((4, 4), param_dtype=param_dtype, rngs=nnx.Rngs(0))
    cell = gs.nn.OrthogonalCell(
        3, 4, recurrent=recurrent, param_dtype=param_dtype, rngs=nnx.Rngs(0)
    )
    assert cell.initialize_carry((2, 3)).dtype == state
    carry, output = cell(cell.initialize_carry((2, 3)), jnp.ones((2, 3)))
    assert carry.dtype == output.dtype == state


def test_token_by_token_is_the_sequence():
    cell = gs.nn.GRUCell(3, 4, candidate_bias=True, rngs=nnx.Rngs(0))
    inputs = jax.random.normal(jax.random.key(0), (5, 2, 3))
    built = gs.nn.materialize(cell)
    carry, outputs = built.initialize_carry((2, 3)), []
    for token in inputs:
        carry, output = built(carry, token)
        outputs.append(output)
    expected = gs.nn.RNN(cell, time_major=True)(inputs)
    np.testing.assert_allclose(jnp.stack(outputs), expected, atol=1e-6)


@pytest.mark.error_text
def test_rejects_carry_init_without_a_key():
    cell = gs.nn.GRUCell(3, 4, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="`rngs` is required when `carry_init` is"):
        cell.initialize_carry((2, 3), carry_init=nnx.initializers.normal())


@pytest.mark.error_text
@pytest.mark.parametrize(("sizes", "name"), [((0, 4), "in"), ((3, 0), "hidden")])
def test_rejects_sizes_below_one(sizes, name):
    message = rf"`{name}_features` must be an integer >= 1, got 0\."
    with pytest.raises(ValueError, match=message):
        gs.nn.GRUCell(*sizes, rngs=nnx.Rngs(0))


@pytest.mark.error_text
def test_rejects_other_features():
    cell = gs.nn.GRUCell(3, 4, rngs=nnx.Rngs(0))
    message = r"`inputs` must have 3 features on the last axis, got shape \(2, 5\)\."
    with pytest.raises(ValueError, match=message):
        cell(cell.initialize_carry((2, 3)), jnp.ones((2, 5)))
