import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import gradstab as gs
from tests.helpers import random_matrix


def make(*sizes, **options):
    return gs.nn.DeepDecoder(*(sizes or (3, 4, 2)), rngs=nnx.Rngs(0), **options)


def interpolation(size):
    """Doubles a line: halves of pixels lie a quarter of a pixel off its centers."""
    matrix = np.zeros((2 * size, size))
    for place in range(2 * size):
        center = np.clip((place + 0.5) / 2 - 0.5, 0, size - 1)
        low = int(center)
        high = min(low + 1, size - 1)
        matrix[place, low] += 1 - (center - low)
        matrix[place, high] += center - low
    return matrix


@pytest.mark.parametrize("upsample", [False, True])
def test_is_what_is_written_down(upsample, nnx_mode):
    del nnx_mode
    decoder = make(layers=2, upsample=upsample)
    x = np.asarray(random_matrix(0, (5, 6, 3), "float32"))
    found = decoder(jnp.asarray(x))
    for convolution in decoder.convolutions:
        x = x @ np.asarray(convolution.kernel[0, 0])
        if upsample:
            rows, columns = map(interpolation, x.shape[:2])
            x = np.einsum("ai,bj,ijc->abc", rows, columns, x)
        x = np.maximum(x, 0)
        x = (x - x.mean((0, 1))) / np.sqrt(x.var((0, 1)) + 1e-5)
    x = x @ np.asarray(decoder.readout.kernel[0, 0]) + np.asarray(decoder.readout.bias)
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-x)), atol=1e-5)


@pytest.mark.parametrize("kernel_size", [(3,), (3, 3), (1, 1), (5, 3, 3)])
def test_shapes(kernel_size):
    axes = len(kernel_size)
    for upsample, size in ((True, 16), (False, 4)):
        decoder = make(layers=2, kernel_size=kernel_size, upsample=upsample)
        for examples in ((), (2,), (2, 1)):
            found = decoder(jnp.ones((*examples, *(4,) * axes, 3)))
            assert found.shape == (*examples, *(size,) * axes, 2)
            assert jnp.all((found > 0) & (found < 1))


def test_parameters_are_those_of_the_layers():
    decoder = make(layers=3, kernel_size=(3, 3), norm="no_scale")
    sizes = sum(leaf.size for leaf in jax.tree.leaves(nnx.state(decoder, nnx.Param)))
    assert sizes == 9 * 4 * (3 + 4 + 4) + 3 * 4 + (4 + 1) * 2


def test_fits_an_image():
    decoder = make(8, 16, 1, layers=3)
    line = jnp.linspace(0, 1, 32)
    image = (line[:, None] * line[None])[..., None]
    inputs = jax.random.uniform(jax.random.key(0), (4, 4, 8))
    graph, params = nnx.split(decoder)
    optimizer = optax.adam(0.01)

    @jax.jit
    def step(params, state):
        def loss(params):
            return jnp.mean((nnx.merge(graph, params)(inputs) - image) ** 2)

        value, gradient = jax.value_and_grad(loss)(params)
        updates, state = optimizer.update(gradient, state)
        return optax.apply_updates(params, updates), state, value

    with jax.numpy_dtype_promotion("standard"):
        state = optimizer.init(params)
        for _ in range(300):
            params, state, _ = step(params, state)
        assert step(params, state)[2] < 1e-3


@pytest.mark.error_text
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": 0}, "`layers` must"),
        ({"kernel_size": (0, 1)}, "`kernel_size` must"),
        ({"norm": "batch"}, "`norm` must be one of"),
        ({"kernel_size": 3}, "`kernel_size` must be a tuple"),
        ({"kernel_size": ()}, "`kernel_size` must be a tuple"),
    ],
)
def test_refuses_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)


def test_refuses_inputs_of_other_shapes():
    with pytest.raises(ValueError, match="2 axes of positions and 3 features"):
        make()(jnp.ones((4, 4, 2)))
