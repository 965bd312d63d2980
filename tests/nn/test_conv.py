import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import gradstab as gs
from tests.helpers import check_grads, random_matrix


def orthogonal(strides=1, seed=0, **options):
    rngs = nnx.Rngs(seed)
    return lambda shape: gs.nn.OrthogonalConvKernel(
        shape, strides=strides, rngs=rngs, **options
    )


def layer_of(features=3, outputs=3, size=(3, 2), strides=1, **options):
    options = {"kernel": orthogonal(strides), "rngs": nnx.Rngs(0)} | options
    return gs.nn.Conv(features, outputs, size, strides, **options)


def images(seed=1, shape=(2, 4, 6, 3), dtype=jnp.float32):
    return random_matrix(seed, shape, dtype)


@pytest.mark.usefixtures("nnx_mode")
@pytest.mark.parametrize("padding", ["CIRCULAR", "SAME", "VALID", ((1, 0), (2, 1))])
@pytest.mark.parametrize("use_bias", [True, False])
def test_it_is_the_layer_of_flax_with_its_kernel(padding, use_bias):
    layer = layer_of(
        padding=padding, use_bias=use_bias, bias_init=nnx.initializers.normal()
    )
    exported = gs.nn.export(layer)
    assert type(exported) is nnx.Conv
    assert type(exported.kernel) is nnx.Param
    np.testing.assert_array_equal(exported.kernel[...], layer.kernel())
    expected = layer(images())
    np.testing.assert_array_equal(exported(images()), expected)
    np.testing.assert_array_equal(gs.nn.materialize(layer)(images()), expected)
    compiled = jax.jit(lambda layer, x: layer(x))(layer, images())
    np.testing.assert_allclose(compiled, expected, atol=1e-6)


@pytest.mark.parametrize("batch", [(), (2,), (2, 3)])
def test_any_number_of_examples(batch):
    inputs = images(shape=(*batch, 4, 6, 3))
    found = layer_of()(inputs)
    assert found.shape == inputs.shape
    np.testing.assert_allclose(
        jnp.linalg.norm(found), jnp.linalg.norm(inputs), rtol=1e-5
    )


def gradient_ratio(padding, depth=50):
    """What 50 layers make of the norm of a random gradient."""
    layers = [
        layer_of(4, 4, (3, 3), kernel=orthogonal(seed=seed), padding=padding)
        for seed in range(5)
    ]
    layers = [gs.nn.materialize(layer) for layer in layers]

    def deep(x):
        for place in range(depth):
            x = layers[place % len(layers)](x)
        return x

    start, gradient = images(seed=0, shape=(2, 1, 6, 6, 4))
    found = jax.jit(lambda x, g: jax.vjp(deep, x)[1](g)[0])(start, gradient)
    return float(jnp.linalg.norm(found) / jnp.linalg.norm(gradient))


def test_fifty_layers_keep_the_norm_of_the_gradient():
    assert gradient_ratio("CIRCULAR") == pytest.approx(1.0, abs=1e-5)


def test_zero_padding_takes_a_part_of_it_away():
    # By rotations of random axes: what reaches the border is lost there.
    assert 1e-3 < gradient_ratio("SAME") < 0.9


@pytest.mark.parametrize(
    ("features", "outputs"), [(3, 12), (3, 13), (6, 4)], ids=["square", "wide", "tall"]
)
def test_strides_keep_norms_where_channels_make_up_for_them(features, outputs):
    layer = layer_of(features, outputs, (3, 3), 2, use_bias=False)
    x = images(shape=(2, 6, 4, features))
    y, back = jax.vjp(layer, x)
    gradient = random_matrix(3, y.shape, jnp.float32)
    norm = jnp.linalg.norm
    if outputs >= 4 * features:
        np.testing.assert_allclose(norm(y), norm(x), rtol=1e-5)
    if outputs <= 4 * features:
        np.testing.assert_allclose(norm(back(gradient)[0]), norm(gradient), rtol=1e-5)


@pytest.mark.parametrize(("strides", "dilation"), [(1, 2), (2, 3), ((2, 1), (1, 4))])
def test_dilations_without_a_common_divisor_keep_norms(strides, dilation):
    layer = layer_of(3, 4, (3, 2), strides, kernel_dilation=dilation, use_bias=False)
    y, back = jax.vjp(layer, images(shape=(2, 6, 6, 3)))
    gradient = random_matrix(3, y.shape, jnp.float32)
    if strides == 1:
        norm = jnp.linalg.norm
        np.testing.assert_allclose(norm(y), norm(images(shape=(2, 6, 6, 3))), rtol=1e-5)
    else:
        np.testing.assert_allclose(
            jnp.linalg.norm(back(gradient)[0]), jnp.linalg.norm(gradient), rtol=1e-5
        )


def test_a_matrix_is_taken_for_a_kernel():
    matrix = gs.nn.SpectralNormalized((18, 4), rngs=nnx.Rngs(0))
    layer = layer_of(3, 4, (3, 2), 2, kernel=matrix)
    assert isinstance(layer.kernel, gs.nn.MatrixConvKernel)
    np.testing.assert_array_equal(layer.kernel().reshape(18, 4), matrix())
    assert layer.kernel.singular_value_bounds[1] == pytest.approx(2**0.5)
    gs.nn.export(layer)(images())


@pytest.mark.usefixtures("nnx_mode")
def test_a_layer_of_flax_is_constrained_from_its_kernel():
    plain = nnx.Conv(3, 3, (3, 2), padding="CIRCULAR", rngs=nnx.Rngs(0))
    constrained = gs.nn.constrain(plain, nnx.PathContains("kernel"), orthogonal())
    built = gs.nn.materialize(constrained)
    x = images()
    np.testing.assert_allclose(jnp.linalg.norm(built(x)), jnp.linalg.norm(x), rtol=1e-5)
    exported = gs.nn.export(constrained)
    assert type(exported.kernel) is nnx.Param
    np.testing.assert_array_equal(exported(x), built(x))


def test_gradients_reach_coordinates_and_bias():
    with jax.enable_x64(True):
        layer = layer_of(kernel=orthogonal(param_dtype=jnp.float64))
        assert layer.bias is not None
        assert layer.bias[...].dtype == jnp.float64
        graph, params, fixed = nnx.split(layer, nnx.Param, ...)
        inputs = images(dtype=jnp.float64)

        @jax.jit
        def loss(params):
            return jnp.sum(jnp.sin(nnx.merge(graph, params, fixed)(inputs)))

        check_grads(loss, (params,), order=1, modes=["rev"])


def test_low_precision_is_that_of_the_product_alone():
    layer = layer_of(dtype=jnp.bfloat16)
    assert layer(images()).dtype == jnp.bfloat16
    assert layer.kernel().dtype == jnp.float32


def test_a_subclass_keeps_its_class():
    class Scaled(gs.nn.Conv):
        """A layer that is no twin of Flax's."""

    layer = Scaled(3, 3, (3, 2), kernel=orthogonal(), rngs=nnx.Rngs(0))
    with pytest.warns(UserWarning, match="Scaled keep their class"):
        exported = gs.nn.export(layer)
    assert type(exported) is Scaled
    np.testing.assert_array_equal(exported(images()), layer(images()))


@pytest.mark.error_text
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"features": 0}, "`in_features` must be an integer >= 1, got 0"),
        ({"size": (3, 0)}, "`kernel_size` must be an integer >= 1, got 0"),
        ({"strides": 0, "kernel": None}, "`strides` must be an integer >= 1, got 0"),
        ({"strides": 3}, r"pixels are left out; got \(3, 2\) and \(3, 3\)"),
        ({"strides": 2, "kernel_dilation": 2}, "no common divisor with `strides`"),
        ({"padding": "REFLECT"}, "`padding` must be one of CIRCULAR, SAME"),
        ({"padding": "CAUSAL"}, "the last for one axis.* got 'CAUSAL' for 2"),
        ({"padding": 1.5}, "`padding` must .* got 1.5"),
        ({"padding": None}, "`padding` must .* got None"),
        ({"padding": True}, "`padding` must .* got True"),
        ({"padding": (1, 2, 3)}, r"`padding` must .* got \(1, 2, 3\)"),
        ({"padding": ((1,), 2)}, r"`padding` must .* got \(\(1,\), 2\)"),
        ({"padding": ((1, 1.5), 2)}, r"`padding` must .* got \(\(1, 1.5\), 2\)"),
        ({"input_dilation": 2}, "`input_dilation` must be 1, got 2"),
        ({"feature_group_count": 3}, "`feature_group_count` must be 1, got 3"),
        ({"mask": jnp.ones((3, 2, 3, 3))}, "`mask` must be None"),
        ({"kernel": nnx.Param(jnp.zeros((3, 2, 3, 3)))}, "got Param; `nnx.Conv` has"),
        ({"kernel": lambda shape: jnp.zeros(shape)}, "must be a Parametrization or"),
        ({"kernel": orthogonal(2)}, r"and strides \(1, 1\), got .* and \(2, 2\)"),
        (
            {"kernel": lambda shape: gs.nn.SVD(shape, rngs=nnx.Rngs(0))},
            r"must have shape \(18, 3\), or \(3, 2, 3, 3\) if it is a ConvKernel, got "
            r"SVD of shape \(3, 2, 3, 3\)",
        ),
    ],
)
def test_what_has_no_certificate_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        layer_of(**options)


@pytest.mark.parametrize(
    ("size", "padding"),
    [((3,), "CAUSAL"), ((3, 2), 1), ((3, 2), (1, 2)), ((3, 2), [0, (1, 2)])],
)
def test_every_other_padding_of_flax_is_taken(size, padding):
    layer = layer_of(size=size, padding=padding)
    assert layer(images(shape=(2, *(4 for _ in size), 3))).shape[-1] == 3


def test_inputs_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"3 features on the last axis, got shape"):
        layer_of()(images(shape=(2, 4, 6, 2)))
    with pytest.raises(ValueError, match=r"must have 2 axes of pixels"):
        layer_of()(images(shape=(6, 3)))
    strided = layer_of(size=(3, 3), strides=2)
    with pytest.raises(ValueError, match=r"sizes that the strides divide .*\(5, 6\)"):
        strided(images(shape=(2, 5, 6, 3)))
    layer_of(size=(3, 3), strides=2, padding="SAME")(images(shape=(2, 5, 6, 3)))
