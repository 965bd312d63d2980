from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import gradstab as gs
from tests.helpers import check_grads, random_matrix

# positions, in, out, image, strides
CONVOLUTIONS = [
    ((3,), 2, 3, (7,), (1,)),
    ((4,), 3, 2, (6,), (1,)),
    ((2, 3), 3, 1, (3, 6), (1, 1)),
    ((3, 3), 2, 3, (4, 6), (2, 2)),
    ((2, 4), 1, 4, (6, 4), (3, 2)),
    ((5, 4), 2, 2, (3, 2), (1, 1)),  # larger than the image
    ((2, 2, 3), 2, 2, (2, 4, 3), (1, 2, 1)),
]


def dense(kernel, image_shape, strides, padding: Any = "CIRCULAR"):
    """The matrix of Flax's layer, one column for each pixel and channel."""
    *positions, features, outputs = kernel.shape
    layer = nnx.Conv(
        features,
        outputs,
        tuple(positions),
        strides,
        padding=padding,
        use_bias=False,
        param_dtype=kernel.dtype,
        rngs=nnx.Rngs(0),
    )
    layer.kernel[...] = kernel
    pixels = int(np.prod(image_shape)) * features
    images = jnp.eye(pixels, dtype=kernel.dtype).reshape(pixels, *image_shape, features)
    return np.asarray(layer(images)).reshape(pixels, -1).T


@pytest.mark.parametrize(
    ("positions", "features", "outputs", "image", "strides"), CONVOLUTIONS
)
def test_they_are_those_of_the_layer_of_flax(
    positions, features, outputs, image, strides, dtype, atol
):
    kernel = random_matrix(0, (*positions, features, outputs), dtype)
    expected = np.linalg.svd(dense(kernel, image, strides), compute_uv=False)
    found = gs.linalg.conv_singular_values(kernel, image, strides=strides)
    assert found.dtype == dtype
    np.testing.assert_allclose(found, expected, atol=20 * atol)


def test_a_complex_kernel_has_no_opposite_frequencies():
    kernel = random_matrix(0, (3, 2, 2, 3), jnp.complex64)
    found = gs.linalg.conv_singular_values(kernel, (4, 5))
    # y is linear over the complex numbers: the identity is enough.
    matrix = dense(jnp.real(kernel), (4, 5), 1) + 1j * dense(
        jnp.imag(kernel), (4, 5), 1
    )
    expected = np.linalg.svd(matrix, compute_uv=False)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_one_position_has_those_of_its_matrix_at_every_pixel():
    matrix = random_matrix(0, (4, 3), jnp.float32)
    found = gs.linalg.conv_singular_values(matrix[None, None], (3, 3))
    values = np.linalg.svd(matrix, compute_uv=False)
    np.testing.assert_allclose(found, np.repeat(values, 9), atol=1e-5)


def test_gradients_agree_with_central_differences():
    with jax.enable_x64(True):
        kernel = random_matrix(0, (3, 3, 2, 3), jnp.float64)

        def loss(kernel):
            values = gs.linalg.conv_singular_values(kernel, (4, 6), strides=2)
            return jnp.sum(values**3)

        check_grads(loss, (kernel,), order=1, modes=["rev", "fwd"])


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_gradients_are_finite_where_values_vanish_or_repeat(value):
    kernel = jnp.zeros((3, 3, 2, 2)).at[1, 1].set(value * jnp.eye(2))
    gradient = jax.grad(
        lambda kernel: jnp.sum(gs.linalg.conv_singular_values(kernel, (4, 4)))
    )(kernel)
    assert np.all(np.isfinite(gradient))


@pytest.mark.parametrize("value", [jnp.nan, jnp.inf])
def test_what_is_not_finite_stays_so(value):
    kernel = jnp.ones((3, 2, 2)).at[0, 0, 0].set(value)
    assert np.all(np.isnan(gs.linalg.conv_singular_values(kernel, (5,))))


def test_large_and_small_entries_neither_overflow_nor_vanish():
    for scale in (2e38, 1e-30):
        found = gs.linalg.conv_singular_values(scale * jnp.eye(2)[None], (3,))
        np.testing.assert_allclose(found, np.full(6, scale), rtol=1e-6)


def test_vmap_is_a_loop():
    kernels = random_matrix(0, (3, 3, 2, 2), jnp.float32)
    found = jax.vmap(lambda k: gs.linalg.conv_singular_values(k, (5,)))(kernels)
    alone = [gs.linalg.conv_singular_values(k, (5,)) for k in kernels]
    np.testing.assert_allclose(found, jnp.stack(alone), atol=1e-6)


@pytest.mark.error_text
@pytest.mark.parametrize(
    ("kernel", "image", "strides", "message"),
    [
        (jnp.ones((3, 3)), (4,), 1, r"at least one axis .* got \(3, 3\)"),
        (jnp.ones((0, 3, 3)), (4,), 1, r"no size of 0, got \(0, 3, 3\)"),
        (jnp.ones((3, 2, 2), jnp.bfloat16), (4,), 1, "must have dtype"),
        (jnp.ones((3, 2, 2)), (4, 4), 1, r"`image_shape` must have 1 sizes.*\(4, 4\)"),
        (jnp.ones((3, 2, 2)), (0,), 1, "`image_shape` must be an integer >= 1"),
        (jnp.ones((3, 2, 2)), (4,), 0, "`strides` must be an integer >= 1"),
        (jnp.ones((3, 2, 2)), (4,), 3, r"must divide `image_shape`, got \(3,\)"),
    ],
)
def test_refuses_what_is_no_convolution(kernel, image, strides, message):
    with pytest.raises(ValueError, match=message):
        gs.linalg.conv_singular_values(kernel, image, strides=strides)
