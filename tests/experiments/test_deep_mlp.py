import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from experiments.__main__ import main
from experiments.deep_mlp import DeepMlp, DeepMlpSettings, deep_mlp_checks, kernels


def gradient_ratio(way, layers=200):
    """‖∂L/∂x‖ over ‖∂L/∂answers of the last layer‖, for a random untrained network."""
    settings = DeepMlpSettings(width=8)
    rngs = nnx.Rngs(0)
    model = DeepMlp(kernels(settings)[way], 8, layers, settings, rngs=rngs)
    model.readout.kernel[...] = jax.random.normal(rngs.params(), (8, 10)) / 4
    inputs = 0.01 * jax.random.normal(rngs.params(), (3, 8))
    gradient = jax.grad(lambda x: jnp.sum(model(x)))(inputs)
    direct = jnp.sum(model.readout.kernel[...], axis=1)
    return float(jnp.linalg.norm(gradient[0]) / jnp.linalg.norm(direct))


def test_the_svd_alone_passes_the_gradient_through_many_layers():
    assert gradient_ratio("SVD") == pytest.approx(1, rel=0.1)
    assert gradient_ratio("plain") < 0.1


@pytest.mark.parametrize("activation", ["tanh", "leaky_relu"])
def test_every_layer_is_applied_once(activation):
    settings = DeepMlpSettings(width=4, activation=activation)
    rngs = nnx.Rngs(1)
    model = DeepMlp(kernels(settings)["SVD"], 6, 3, settings, rngs=rngs)
    model.readout.kernel[...] = jax.random.normal(rngs.params(), (4, 10))
    model.biases[...] = jax.random.normal(rngs.params(), (2, 4))
    h = model.activation(model.first(jnp.ones((2, 6))))
    for kernel, bias in zip(model.kernels(), model.biases[...], strict=True):
        h = model.activation(h @ kernel + bias[None])
    np.testing.assert_allclose(
        model(jnp.ones((2, 6))), model.readout(h), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize(
    ("svd", "plain", "met"),
    [(0.95, 0.1, (True, True)), (0.5, 0.8, (False, False))],
)
def test_judges_the_deepest(svd, plain, met):
    found = {
        ("SVD", 9): np.array([svd, 0.97]),
        ("plain", 9): np.array([plain, plain, 0.9]),
        ("plain", 2): np.array([0.9]),
    }
    assert tuple(check.met for check in deep_mlp_checks(found, 9)) == met


@pytest.mark.slow
def test_prints_a_table(capsys):
    options = ["--layers", "2", "--width", "5", "--steps", "3", "--seeds", "0"]
    assert main(["deep_mlp", *options]) == 0
    assert "plain, He" in capsys.readouterr().out
    assert main(["deep_mlp", "--layers", "1"]) == 2
    assert "--layers must be at least one number" in capsys.readouterr().err
