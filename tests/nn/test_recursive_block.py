from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import gradstab as gs
from tests.helpers import random_matrix

RECURSIONS = 3


def make(**options) -> Any:
    options = {"shared_features": 4, "private_features": 1, **options}
    return gs.nn.RecursiveBlock(5, recursions=RECURSIONS, rngs=nnx.Rngs(0), **options)


def images(seed=0, dtype="float32"):
    return random_matrix(seed, (2, 6, 6, 5), dtype)


def untied(block, kernels, inputs):
    """One convolution after the other, each with bases of its own."""
    graph, state = nnx.split(block.convolutions)
    for place in range(RECURSIONS):
        convs: Any = nnx.merge(graph, jax.tree.map(lambda x: x[place], state))  # noqa: B023
        given = kernels[place]
        if block.residual:
            change = convs[1](jax.nn.relu(convs[0](inputs, given[0])), given[-1])
            inputs = jax.nn.relu(inputs + change)
        else:
            inputs = jax.nn.relu(convs[0](inputs, given[0]))
    return inputs


def kernels_of(block):
    return [basis().reshape(block.kernel_shape) for basis in block.bases]


@pytest.mark.parametrize(("residual", "bases"), [(True, 1), (True, 2), (False, 1)])
def test_is_one_convolution_after_the_other(residual, bases, nnx_mode):
    del nnx_mode
    block = make(residual=residual, bases=bases)
    expected = untied(block, [kernels_of(block)] * RECURSIONS, images())
    np.testing.assert_allclose(block(images()), expected, atol=1e-5)


@pytest.mark.parametrize(("residual", "bases"), [(True, 1), (True, 2), (False, 1)])
def test_the_gradient_of_a_basis_is_the_sum_over_its_uses(residual, bases):
    with jax.enable_x64(True):
        block = make(residual=residual, bases=bases, param_dtype=jnp.float64)
        inputs = images(dtype="float64")
        gradients = nnx.grad(lambda block: jnp.sum(block(inputs) ** 2))(block)
        apart = jax.grad(lambda k: jnp.sum(untied(block, k, inputs) ** 2))(
            [kernels_of(block)] * RECURSIONS
        )
        for place in range(bases):
            total: Any = sum(one[place] for one in apart)
            found = gradients["bases"][place]["weight"][...]
            np.testing.assert_allclose(
                found, total.reshape(found.shape), rtol=1e-9, atol=1e-9
            )


def test_the_basis_is_there_once():
    shapes = [leaf.shape for leaf in jax.tree.leaves(nnx.state(make(), nnx.Param))]
    assert shapes.count((3 * 3 * 5, 4)) == 1
    assert sum(map(np.prod, shapes)) == 180 + RECURSIONS * 2 * (45 + 5 * 5)


def test_the_basis_starts_orthonormal_and_may_stay_so():
    assert gs.optim.orthogonality_penalty(make().bases[0]()) < 1e-12
    rngs = nnx.Rngs(1)
    block = make(basis=lambda shape: gs.nn.Householder(shape, rngs=rngs))
    np.testing.assert_allclose(
        gs.nn.materialize(block)(images()), block(images()), atol=1e-5
    )
    gradients = nnx.grad(lambda block: jnp.sum(block(images()) ** 2))(block)
    params = nnx.state(block, nnx.Param)
    nnx.update(block, jax.tree.map(lambda w, g: w - 0.1 * g, params, gradients))
    assert gs.linalg.orthogonality_error(block.bases[0]()) < 1e-5


def test_running_statistics_are_those_of_every_recursion():
    norm = partial(nnx.BatchNorm, momentum=0.0)
    block = make(norm=norm)
    block.train()
    trained = block(images())
    norms = block.convolutions[0].outer_norm
    assert norms.var.shape == (RECURSIONS, 5)
    assert len(np.unique(np.round(norms.var[...], 5), axis=0)) == RECURSIONS
    block.eval()
    before = jax.tree.map(np.asarray, nnx.state(block))
    # With all of the statistics of the one batch, evaluation is training.
    np.testing.assert_allclose(block(images()), trained, atol=1e-3)
    jax.tree.map(np.testing.assert_array_equal, before, nnx.state(block))


def test_evaluation_writes_nothing():
    block = make(norm=nnx.BatchNorm)
    block.eval()
    # Written to, a variable from outside of this trace would be refused.
    jax.jit(lambda x: block(x))(images())


@pytest.mark.parametrize("norm", [None, nnx.BatchNorm])
def test_the_dtype_of_the_images_stays(norm):
    with jax.numpy_dtype_promotion("standard"):
        assert make(norm=norm)(images().astype("bfloat16")).dtype == jnp.bfloat16


def test_a_cpu_convolves_outside_of_loops():
    graph, state = nnx.split(make())
    loss = jax.grad(lambda s, x: jnp.sum(nnx.merge(graph, s)(x) ** 2))
    program = jax.jit(loss).lower(state, images()).as_text()
    assert ("while" in program) == (jax.default_backend() != "cpu")


def test_compiles_once():
    block, traces = make(norm=nnx.BatchNorm), []

    @nnx.jit
    def step(block, inputs):
        traces.append(None)
        return block(inputs)

    for seed in (0, 1):
        step(block, images(seed))
    assert len(traces) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bases": 3}, "`bases` must"),
        ({"bases": 2, "residual": False}, "`bases` must"),
        ({"shared_features": 0}, "`shared_features` must"),
    ],
)
def test_refuses_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)
