from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import gradstab as gs
from tests.helpers import check_grads, random_matrix

MODES = ["full", "no_scale", "center", "bias", "identity"]


def make(features=3, **options):
    norm = gs.nn.ChannelNorm(features, rngs=nnx.Rngs(0), **options)
    for place, param in enumerate((norm.scale, norm.bias)):
        if param is not None:
            param[...] = 1 + 0.5 * jax.random.normal(
                jax.random.key(place), (features,), param.dtype
            )
    return norm


def naive(norm, inputs):
    """One example and channel after the other."""
    outputs = np.array(inputs, np.float64)
    for example in range(inputs.shape[0]):
        for channel in range(inputs.shape[-1]):
            x = np.asarray(inputs[example, ..., channel], np.float64)
            if norm.mode in ("full", "no_scale", "center"):
                x = x - x.mean()
            if norm.mode in ("full", "no_scale"):
                x = x / np.sqrt(x.var(ddof=int(norm.unbiased)) + norm.epsilon)
            if norm.mode == "full":
                x = x * norm.scale[channel]
            if norm.mode != "identity":
                x = x + norm.bias[channel]
            outputs[example, ..., channel] = x
    return outputs


@pytest.mark.parametrize("unbiased", [False, True])
@pytest.mark.parametrize("mode", MODES)
def test_is_what_is_written_down(mode, unbiased, nnx_mode):
    del nnx_mode
    for shape, spatial_axes in (
        ((2, 7, 3), 1),
        ((2, 4, 5, 3), 2),
        ((2, 2, 3, 2, 3), 3),
    ):
        norm = make(mode=mode, unbiased=unbiased, spatial_axes=spatial_axes)
        inputs = 3 + random_matrix(0, shape, "float32")
        np.testing.assert_allclose(norm(inputs), naive(norm, inputs), atol=1e-5)


def test_agrees_with_the_group_norm_of_flax_with_a_group_a_channel():
    inputs = random_matrix(0, (2, 4, 5, 3), "float32")
    theirs = nnx.GroupNorm(3, num_groups=3, epsilon=1e-5, rngs=nnx.Rngs(0))
    ours = gs.nn.ChannelNorm(3, rngs=nnx.Rngs(0))
    np.testing.assert_allclose(ours(inputs), theirs(inputs), atol=1e-5)


@pytest.mark.parametrize("mode", MODES)
def test_gradient(mode):
    with jax.enable_x64(True):
        norm = make(mode=mode, param_dtype=jnp.float64)
        graph, params = nnx.split(norm)
        inputs = random_matrix(0, (2, 3, 4, 3), "float64")
        check_grads(lambda p, x: nnx.merge(graph, p)(x), (params, inputs), order=2)


def network(mode, depth=4, **options) -> Any:
    rngs = nnx.Rngs(1)
    layers = []
    for _ in range(depth):
        layers.append(
            nnx.Conv(
                3,
                3,
                (3, 3),
                padding="CIRCULAR",
                use_bias=False,
                param_dtype=jnp.float64,
                rngs=rngs,
            )
        )
        layers.append(jax.nn.relu)
        layers.append(
            gs.nn.ChannelNorm(
                3, mode=mode, param_dtype=jnp.float64, rngs=rngs, **options
            )
        )
    return nnx.Sequential(*layers)


def loss(model, inputs):
    outputs = model(inputs)
    weights = jnp.cos(jnp.arange(outputs.size, dtype=outputs.dtype))
    return jnp.sum(weights.reshape(outputs.shape) * outputs)


def kernels_and_gradients(model, inputs):
    gradients = nnx.grad(loss)(model, inputs)
    return [
        (layer.kernel[...], gradients["layers"][place]["kernel"][...])
        for place, layer in enumerate(model.layers)
        if place % 3 == 0
    ]


@pytest.mark.parametrize("mode", ["full", "no_scale"])
def test_the_norm_of_weights_before_it_does_not_matter(mode):
    with jax.enable_x64(True):
        inputs = random_matrix(0, (2, 6, 6, 3), "float64")
        model = network(mode, epsilon=0.0)
        before = kernels_and_gradients(model, inputs)
        for kernel, gradient in before:
            product = jnp.sum(kernel * gradient)
            assert jnp.abs(product) < 1e-12 * jnp.linalg.norm(gradient)
        for place in (0, 3):
            model.layers[place].kernel[...] *= 5.0
        after = kernels_and_gradients(model, inputs)
        for place, factor in ((0, 5), (1, 5), (2, 1), (3, 1)):
            np.testing.assert_allclose(
                after[place][1] * factor, before[place][1], rtol=1e-9, atol=1e-12
            )


def test_without_it_the_layers_are_balanced():
    # ‖W_i‖² - ‖W_j‖² does not change under gradient flow: all ⟨W_i, ∂L/∂W_i⟩ are one.
    with jax.enable_x64(True):
        inputs = random_matrix(0, (2, 6, 6, 3), "float64")
        products = [
            float(jnp.sum(kernel * gradient))
            for kernel, gradient in kernels_and_gradients(network("identity"), inputs)
        ]
        np.testing.assert_allclose(products, products[0], rtol=1e-10)
        assert abs(products[0]) > 1e-6


def test_a_large_mean_costs_its_own_digits_alone():
    inputs = random_matrix(0, (2, 8, 8, 3), "float32")
    # Steps of 2^-10, which stay exact beside 2^10.
    inputs = jnp.round(inputs * 2**10) / 2**10
    norm = make()
    lost = 4 * 2.0**10 * float(jnp.finfo("float32").eps)
    np.testing.assert_allclose(norm(inputs + 2.0**10), norm(inputs), atol=lost)


@pytest.mark.parametrize("epsilon", [0.0, 1e-5])
@pytest.mark.parametrize("mode", MODES)
def test_a_constant_channel_gives_the_bias_and_a_finite_gradient(mode, epsilon):
    norm, inputs = make(mode=mode, epsilon=epsilon), jnp.full((2, 3, 4, 3), 7.0)
    outputs, pullback = jax.vjp(norm, inputs)
    expected = {"identity": 7.0, "bias": 7.0 + (norm.bias[...] if norm.bias else 0.0)}
    level = expected.get(mode, norm.bias[...] if norm.bias else 0.0)
    np.testing.assert_allclose(
        outputs, jnp.broadcast_to(level, (2, 3, 4, 3)), rtol=1e-6
    )
    (gradient,) = pullback(random_matrix(1, (2, 3, 4, 3), "float32"))
    assert np.all(np.isfinite(gradient))
    if epsilon == 0 and mode in ("full", "no_scale"):
        np.testing.assert_array_equal(gradient, 0)


@pytest.mark.parametrize("level", [0.1, 1000.1])
@pytest.mark.parametrize("epsilon", [0.0, 1e-5])
def test_a_constant_that_is_no_binary_fraction_is_constant_too(level, epsilon):
    inputs = jnp.full((1, 33, 31, 3), level)
    norm = gs.nn.ChannelNorm(3, epsilon=epsilon, rngs=nnx.Rngs(0))
    np.testing.assert_array_equal(norm(inputs), 0)


def test_with_relus_between_the_gradient_grows_toward_the_input():
    def sizes(depth):
        rngs = nnx.Rngs(0)
        kernels = 0.2 * jax.random.normal(rngs.params(), (depth, 5, 16, 16))
        norm = gs.nn.ChannelNorm(16, spatial_axes=1, rngs=rngs)

        def total(kernels):
            def layer(x, kernel):
                rolled = [jnp.roll(x, place, axis=0) for place in range(5)]
                x = sum(a @ b for a, b in zip(rolled, kernel, strict=True))
                return norm(jax.nn.relu(x)), None

            start = jax.random.normal(jax.random.key(1), (64, 16))
            outputs, _ = jax.lax.scan(layer, start, kernels)
            return jnp.sum(outputs * jnp.cos(jnp.arange(16.0))[None])

        gradients = jax.jit(jax.grad(total))(kernels)
        return jnp.linalg.norm(gradients.reshape(depth, -1), axis=1)

    assert sizes(40)[0] > 10 * sizes(40)[-1]


def test_nan_stays_in_its_own_example_and_channel():
    inputs = random_matrix(0, (2, 4, 4, 3), "float32").at[0, 0, 0, 1].set(jnp.nan)
    outputs = np.asarray(make()(inputs))
    assert np.all(np.isnan(outputs[0, ..., 1]))
    assert np.all(np.isfinite(outputs[1]))
    assert np.all(np.isfinite(outputs[0][..., [0, 2]]))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_dtypes_stay_and_sums_are_in_float32(dtype):
    inputs = (1 + random_matrix(0, (1, 64, 64, 3), "float32") / 16).astype(dtype)
    outputs = make()(inputs)
    assert outputs.dtype == dtype
    expected = make()(inputs.astype("float32"))
    atol = 4 * float(jnp.finfo(dtype).eps) + 1e-6
    np.testing.assert_allclose(outputs.astype("float32"), expected, atol=4 * atol)


@pytest.mark.parametrize(
    "shape", [(0, 4, 4, 3), (4, 4, 3), (2, 2, 4, 4, 3), (1, 1, 1, 3)]
)
def test_any_number_of_examples(shape):
    assert make()(jnp.ones(shape)).shape == shape


@pytest.mark.error_text
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"features": 0}, "`features` must"),
        ({"mode": "batch"}, "`mode` must be one of 'full'"),
        ({"spatial_axes": 0}, "`spatial_axes` must"),
        ({"epsilon": -1.0}, "`epsilon` must"),
        ({"param_dtype": jnp.complex64}, "`param_dtype` must"),
    ],
)
def test_refuses_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)


@pytest.mark.error_text
@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (jnp.ones((4, 3)), "2 axes of positions"),
        (jnp.ones((1, 4, 4, 2)), "3 features on the last one"),
        (jnp.ones((1, 4, 4, 3), int), "real dtype"),
    ],
    ids=["axes", "features", "dtype"],
)
def test_refuses_bad_inputs(inputs, message):
    with pytest.raises(ValueError, match=message):
        make()(inputs)
