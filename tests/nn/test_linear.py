import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import gradstab as gs
from tests.helpers import check_grads

pytestmark = pytest.mark.usefixtures("nnx_mode")

KERNELS = {
    "SVD": gs.nn.SVD,
    "Householder": gs.nn.Householder,
    "SpectralNormalized": gs.nn.SpectralNormalized,
    "SpectralClipped": gs.nn.SpectralClipped,
    "Unconstrained": gs.nn.Unconstrained,
}


def layer_of(name, shape=(5, 3), **options):
    rngs = nnx.Rngs(0)
    kernel = KERNELS[name](shape, rngs=rngs)
    bias_init = nnx.initializers.normal(1.0)
    return gs.nn.Linear(
        *shape, kernel=kernel, bias_init=bias_init, rngs=rngs, **options
    )


def draw(shape=(4, 2, 5)):
    return jax.random.normal(jax.random.key(1), shape)


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("use_bias", [True, False])
def test_it_is_the_product_with_its_kernel(name, use_bias):
    layer = layer_of(name, use_bias=use_bias)
    expected = draw() @ layer.kernel()
    if layer.bias is not None:
        expected = expected + layer.bias[...][None, None]
    np.testing.assert_allclose(layer(draw()), expected, atol=1e-5)
    np.testing.assert_array_equal(gs.nn.materialize(layer)(draw()), layer(draw()))


@pytest.mark.parametrize("name", KERNELS)
def test_exported_it_is_the_layer_of_flax(name):
    layer = layer_of(name)
    exported = gs.nn.export(layer)
    assert type(exported) is nnx.Linear
    assert type(exported.kernel) is nnx.Param
    np.testing.assert_array_equal(exported(draw()), layer(draw()))


def test_the_norm_passes_through_a_deep_stack_of_rectangles():
    rngs = nnx.Rngs(0)
    sizes = [4, 6, 6, 9]  # none narrower than the one before
    layers = [
        gs.nn.Linear(
            *shape,
            kernel=gs.nn.SVD(shape, radius=0.0, rngs=rngs),
            use_bias=False,
            rngs=rngs,
        )
        for shape in zip(sizes, sizes[1:], strict=False)
    ]
    x = draw((7, 4))
    y = x
    for layer in layers:
        y = layer(y)
    np.testing.assert_allclose(
        jnp.linalg.norm(y, axis=-1), jnp.linalg.norm(x, axis=-1), rtol=1e-5
    )


def test_gradients_reach_coordinates_and_bias():
    with jax.enable_x64(True):
        rngs = nnx.Rngs(0)
        kernel = gs.nn.SVD((5, 3), param_dtype=jnp.float64, rngs=rngs)
        layer = gs.nn.Linear(5, 3, kernel=kernel, rngs=rngs)
        graph, params, fixed = nnx.split(layer, nnx.Param, ...)
        inputs = jnp.asarray(draw(), jnp.float64)

        def loss(params):
            return jnp.sum(jnp.sin(nnx.merge(graph, params, fixed)(inputs)))

        check_grads(loss, (params,), order=1, modes=["rev"])


def test_low_precision_is_that_of_the_product_alone():
    layer = layer_of("SVD", dtype=jnp.bfloat16)
    assert layer(draw()).dtype == jnp.bfloat16
    assert layer.kernel().dtype == jnp.float32


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        (nnx.Param(jnp.zeros((5, 3))), "must be a Parametrization, got Param"),
        (
            gs.nn.SVD((3, 5), rngs=nnx.Rngs(0)),
            r"must have shape \(5, 3\), got \(3, 5\)",
        ),
    ],
)
def test_what_is_no_kernel_is_refused(kernel, message):
    with pytest.raises(ValueError, match=message):
        gs.nn.Linear(5, 3, kernel=kernel, rngs=nnx.Rngs(0))


def test_inputs_of_another_length_are_refused():
    with pytest.raises(
        ValueError, match=r"5 features on the last axis, got shape \(4, 3"
    ):
        layer_of("SVD")(draw((4, 3)))
