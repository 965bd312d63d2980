"""What reaches each layer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import gradstab as gs
from gradstab.diagnostics import depth_gradient_profile, diagnose
from tests.diagnostics.models import inputs, mean_square


class Deep(nnx.Module):
    """Three layers and an activation between."""

    def __init__(self, layers):
        self.layers = nnx.List(layers)

    def __call__(self, x):
        for layer in self.layers:
            x = jnp.tanh(layer(x))
        return x


def linears(count):
    return [nnx.Linear(4, 4, rngs=nnx.Rngs(i)) for i in range(count)]


def orthogonal_linears(count):
    return [
        gs.nn.Linear(4, 4, kernel=gs.nn.Cayley((4, 4), rngs=rngs), rngs=rngs)
        for rngs in map(nnx.Rngs, range(count))
    ]


def reference(model, batch):
    """Differentiates with respect to perturbations of every layer's output."""

    def loss(perturbations):
        x, outputs = batch, []
        for layer, perturbation in zip(model.layers, perturbations, strict=True):
            outputs.append(layer(x) + perturbation)
            x = jnp.tanh(outputs[-1])
        return jnp.mean(x**2), outputs

    still = [jnp.zeros_like(batch) for _ in model.layers]
    slopes, outputs = jax.grad(loss, has_aux=True)(still)
    norms = [np.linalg.norm(slope) for slope in slopes]
    return norms, [np.sqrt(np.mean(output**2)) for output in outputs]


@pytest.mark.parametrize("make", [linears, orthogonal_linears])
def test_equals_gradients_of_perturbations(make):
    model = Deep(make(3))
    batch = jax.random.normal(jax.random.key(0), (5, 4))
    found = jax.jit(lambda batch: depth_gradient_profile(model, batch, mean_square))(
        batch
    )
    norms, sizes = reference(model, batch)
    assert found.names == ("layers.0", "layers.1", "layers.2")
    np.testing.assert_allclose(found.gradients, norms, rtol=1e-5)
    np.testing.assert_allclose(found.activations, sizes, rtol=1e-5)


def test_layers_come_in_the_order_of_their_calls():
    class Backwards(nnx.Module):
        def __init__(self):
            self.a = nnx.Linear(4, 4, rngs=nnx.Rngs(0))
            self.b = nnx.Linear(4, 4, rngs=nnx.Rngs(1))

        def __call__(self, x):
            return self.a(self.b(self.a(x)))

    found = depth_gradient_profile(Backwards(), jnp.ones((2, 4)), mean_square)
    assert found.names == ("a (call 1)", "b", "a (call 2)")


def test_layers_of_a_scan_count_one_by_one():
    class Scanned(nnx.Module):
        def __init__(self):
            @nnx.vmap(in_axes=0)
            def create(rngs):
                return nnx.Linear(4, 4, rngs=rngs)

            self.layers = create(nnx.Rngs(0).split(3))

        def __call__(self, x):
            @nnx.scan(in_axes=(0, nnx.Carry), out_axes=nnx.Carry)
            def forward(layer, x):
                return jnp.tanh(layer(x))

            return forward(self.layers, x)

    model, batch = Scanned(), jax.random.normal(jax.random.key(0), (5, 4))
    found = depth_gradient_profile(model, batch, mean_square)
    layers = linears(3)
    for i, layer in enumerate(layers):
        layer.kernel[...] = model.layers.kernel[i]
        assert model.layers.bias is not None
        layer.bias = nnx.Param(model.layers.bias[i])
    norms, sizes = reference(Deep(layers), batch)
    assert found.names == ("layers[0]", "layers[1]", "layers[2]")
    np.testing.assert_allclose(found.gradients, norms, rtol=1e-5)
    np.testing.assert_allclose(found.activations, sizes, rtol=1e-5)


@pytest.mark.parametrize("transform", [nnx.jit, nnx.remat], ids=["jit", "remat"])
def test_within_a_transform_of_flax(transform):
    class Wrapped(Deep):
        def __call__(self, x):
            for layer in self.layers:
                x = jnp.tanh(transform(lambda layer, x: layer(x))(layer, x))
            return x

    layers, batch = linears(3), jnp.ones((2, 4))
    found = depth_gradient_profile(Wrapped(layers), batch, mean_square)
    expected = depth_gradient_profile(Deep(layers), batch, mean_square)
    np.testing.assert_allclose(found.gradients, expected.gradients, rtol=1e-6)


class Hidden(nnx.Module):
    """A layer that a loop of JAX runs, and one that it does not."""

    def __init__(self):
        self.seen = nnx.Linear(4, 4, rngs=nnx.Rngs(0))
        self.hidden = nnx.Linear(4, 4, rngs=nnx.Rngs(1))

    def __call__(self, x):
        x = self.seen(x)
        return jax.lax.scan(lambda x, _: (self.hidden(x), None), x, length=3)[0]


def test_what_a_loop_hides_is_named():
    found = depth_gradient_profile(Hidden(), jnp.ones((2, 4)), mean_square)
    assert found.names == ("seen",)
    report = diagnose(Hidden(), jnp.ones((2, 4)), mean_square)
    assert report.measurement.unseen == ("hidden",)
    assert "Not seen at work: hidden" in report.table()


def test_layers_within_a_recurrence_are_left_out():
    model = nnx.RNN(nnx.GRUCell(2, 3, rngs=nnx.Rngs(0)))
    found = depth_gradient_profile(model, inputs(4), mean_square)
    assert found.names == ()
    assert found.gradients.shape == (0,)


def test_statistics_of_a_layer_are_not_moved():
    model = nnx.BatchNorm(4, rngs=nnx.Rngs(0))
    batch = jax.random.normal(jax.random.key(0), (5, 4))
    found = depth_gradient_profile(model, batch, mean_square)
    assert found.names == ("model",)
    np.testing.assert_array_equal(model.mean[...], np.zeros(4))
