from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import gradstab as gs
from tests.helpers import random_matrix


def make(hidden=4, **options) -> Any:
    return gs.nn.NCGRUCell(3, hidden, rngs=nnx.Rngs(0), **options)


def test_step_is_the_documented_equation():
    cell = make()
    state, inputs = random_matrix(1, (4,), "float32"), random_matrix(2, (3,), "float32")
    drive = {name: getattr(cell, f"dense_{name}")(inputs) for name in cell.gates}
    reset, update = (
        jax.nn.sigmoid(drive[name] + getattr(cell, name)() @ state)
        for name in ("reset", "update")
    )
    inner = drive["candidate"] + cell.candidate() @ (reset * state)
    new = gs.nn.modrelu(inner, cell.modulus_bias[...])
    carry, _ = cell(state, inputs)
    np.testing.assert_allclose(carry, (1 - update) * new + update * state, atol=1e-6)


def test_starts_as_the_paper_does():
    cell = make(hidden=64)
    assert isinstance(cell.candidate, gs.nn.NeumannCayley)
    assert cell.dense_candidate.bias is None
    bias = cell.modulus_bias[...]
    assert jnp.all(jnp.abs(bias) <= 0.1)
    assert jnp.std(bias) > 0.03


@pytest.mark.parametrize("orthogonal_reset", [False, True])
def test_the_jacobian_of_a_step_keeps_its_bound(orthogonal_reset):
    with jax.enable_x64(True):
        dtype, rngs = jnp.float64, nnx.Rngs(3)
        reset = None
        if orthogonal_reset:
            reset = gs.nn.NeumannCayley((6, 6), param_dtype=dtype, rngs=rngs)
        cell: Any = gs.nn.NCGRUCell(3, 6, reset=reset, param_dtype=dtype, rngs=rngs)
        cell.update.assign(random_matrix(7, (6, 6), dtype))
        norm = gs.linalg.spectral_norm
        sizes = {name: norm(getattr(cell, name)()) for name in cell.gates}
        built = gs.nn.materialize(cell)

        @jax.jit
        def both(state, inputs):
            jacobian = jax.jacobian(lambda h: built(h, inputs)[0])(state)
            gates = {
                name: jax.nn.sigmoid(
                    getattr(built, f"dense_{name}")(inputs)
                    + getattr(built, name)() @ state
                )
                for name in ("reset", "update")
            }
            r, z = gates["reset"], gates["update"]
            inner = built.dense_candidate(inputs) + built.candidate() @ (r * state)
            new = gs.nn.modrelu(inner, built.modulus_bias[...])
            inside = jnp.max(r) + jnp.max(jnp.abs(state) * r * (1 - r)) * sizes["reset"]
            bound = (
                jnp.max(z)
                + jnp.max(jnp.abs(state - new) * z * (1 - z)) * sizes["update"]
                + jnp.max(1 - z) * sizes["candidate"] * inside
            )
            return norm(jacobian), bound

        for seed in range(50):
            state = 2 * random_matrix(seed, (6,), dtype)
            found, bound = both(state, random_matrix(100 + seed, (3,), dtype))
            assert found <= bound * (1 + 1e-12)


def test_with_open_reset_and_shut_update_it_is_scornn():
    cell = make()
    cell.dense_reset.bias = nnx.Param(jnp.full(4, 1e3))
    cell.dense_update.bias = nnx.Param(jnp.full(4, -1e3))
    cell.modulus_bias[...] = jnp.zeros(4)
    state, inputs = random_matrix(1, (4,), "float32"), random_matrix(2, (3,), "float32")
    moved, _ = cell(state, inputs)
    expected = cell.candidate() @ state + cell.dense_candidate(inputs)
    np.testing.assert_allclose(moved, expected, atol=1e-6)
    moved, _ = cell(state, jnp.zeros(3))
    np.testing.assert_allclose(
        jnp.linalg.norm(moved), jnp.linalg.norm(state), rtol=1e-6
    )


def test_a_free_candidate_makes_it_a_plain_unit_with_modrelu():
    matrix = gs.nn.Unconstrained((4, 4), rngs=nnx.Rngs(5))
    cell = make(candidate=matrix)
    plain = gs.nn.GRUCell(
        3,
        4,
        candidate=matrix,
        reset=cell.reset,
        update=cell.update,
        reset_after=False,
        activation_fn=gs.nn.modrelu,
        rngs=nnx.Rngs(9),
    )
    for name in cell.gates:
        setattr(plain, f"dense_{name}", getattr(cell, f"dense_{name}"))
    plain.modulus_bias = cell.modulus_bias
    inputs = random_matrix(2, (2, 5, 3), "float32")
    np.testing.assert_array_equal(gs.nn.RNN(cell)(inputs), gs.nn.RNN(plain)(inputs))
