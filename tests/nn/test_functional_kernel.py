import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import gradstab as gs
from tests.helpers import random_matrix


def test_is_the_product_of_codes():
    block = gs.nn.ProximalBlock(6, 10, rngs=nnx.Rngs(0))
    x, other = random_matrix(1, (4, 6), "float32"), random_matrix(2, (3, 6), "float32")
    kernel = gs.nn.functional_kernel(block, x, other)
    expected = [[jnp.sum(block(a) * block(b)) for b in other] for a in x]
    np.testing.assert_allclose(kernel, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("steps", [1, 8])
def test_is_symmetric_and_positive(steps):
    with jax.enable_x64(True):
        block = gs.nn.ProximalBlock(
            6, 10, steps=steps, param_dtype=jnp.float64, rngs=nnx.Rngs(0)
        )
        x = random_matrix(1, (30, 6), "float64")
        gram = gs.nn.functional_kernel(block, x, x)
        np.testing.assert_allclose(gram, gram.mT, atol=1e-13)
        assert jnp.min(jnp.linalg.eigvalsh(gram)) >= -1e-13


def arc_cosine(x):
    """E[relu(w·x) relu(w·x')] over standard normal w, in closed form."""
    length = np.linalg.norm(x, axis=1)
    lengths = length[:, None] * length[None]
    angle = np.arccos(np.clip(x @ x.mT / lengths, -1, 1))
    turned = np.sin(angle) + (np.pi - angle) * np.cos(angle)
    return lengths * turned / (2 * np.pi)


def error_of_one_step(block, x):
    expected = arc_cosine(x)
    kernel = gs.nn.functional_kernel(block, x, x)
    return np.linalg.norm(kernel - expected) / np.linalg.norm(expected)


def test_one_step_is_the_arc_cosine_kernel_and_structured_columns_are_nearer():
    rngs = nnx.Rngs(0)
    matrix = gs.nn.Householder(
        (64, 1024), matrix_init=nnx.initializers.orthogonal(), rngs=rngs
    )
    x = random_matrix(1, (20, 64), "float32")
    random = gs.nn.ProximalBlock(64, 1024, steps=1, matrix=matrix, rngs=rngs)
    structured = gs.nn.ProximalBlock(64, 1024, steps=1, rngs=rngs)
    assert error_of_one_step(random, x) < 0.1
    assert error_of_one_step(structured, x) < 0.05


def test_gradients_reach_the_rotation():
    block = gs.nn.ProximalBlock(6, 10, steps=3, rngs=nnx.Rngs(0))
    x = random_matrix(1, (4, 6), "float32")

    def loss(block):
        return jnp.sum(gs.nn.functional_kernel(block, x, x) ** 2)

    gradient = jax.grad(loss)(block)
    assert jnp.max(jnp.abs(gradient.rotation.skew[...])) > 1e-3
