import gzip
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from experiments.__main__ import main
from experiments.digit_code_training import Trained, train
from experiments.digit_codes import (
    WAYS,
    GradientFlowEncodingSettings,
    Mlp,
    entropy,
    flow_of,
    least,
    load_images,
    make,
)
from experiments.gradient_flow_encoding import gradient_flow_encoding_checks

SMALL = GradientFlowEncodingSettings(
    code_features=2, width=4, tries=4, batch=3, steps=4, measure_every=2, seeds=(0, 3)
)


def test_images_are_rows_of_gray():
    images, tests = load_images(SMALL)
    assert images.shape == (1077, 64)
    assert tests.shape == (360, 64)
    for part in (images, tests):
        assert float(part.min()) == 0
        assert float(part.max()) == 1


@pytest.mark.real_data
def test_mnist_is_halved(published):
    pytest.importorskip("tensorflow_datasets")
    settings = GradientFlowEncodingSettings(
        data_dir=published / "mnist", train_images=(3, 5), test_images=7
    )
    images, tests = load_images(settings)
    assert images.shape == (5, 196)
    assert tests.shape == (7, 196)
    content = (published / "mnist" / "train-images-idx3-ubyte.gz").read_bytes()
    pixels = np.frombuffer(gzip.decompress(content), np.uint8, 784, offset=16)
    square = pixels.reshape(28, 28)
    corner = square[10:12, 14:16].astype(float).mean() / 255
    assert images[0].reshape(14, 14)[5, 7] == pytest.approx(corner)


def test_the_entropy_of_the_images_is_the_least():
    image = jnp.asarray([0.0, 0.25, 0.5, 1.0])
    logits = jnp.asarray([-50.0, np.log(1 / 3), 0.0, 50.0])
    assert least(image[None]) == pytest.approx(float(entropy(logits, image)), abs=1e-6)
    assert float(entropy(logits + 0.1, image)) > least(image[None])


def test_all_ways_start_from_the_same_decoder():
    models = [make(way, 6, SMALL, nnx.Rngs(5)) for way in WAYS]
    kernels = [np.asarray(model.decoder.first.kernel[...]) for model in models]
    for kernel in kernels[1:]:
        np.testing.assert_array_equal(kernel, kernels[0])
    assert models[0].encoder.first.kernel[...].shape == (6, 4)
    assert models[0](jnp.ones((3, 6))).shape == (3, 2)


def test_a_hidden_layer_of_elus():
    mlp, x = Mlp((3, 4, 2), rngs=nnx.Rngs(0)), jnp.asarray([1.0, -2.0, 3.0])
    h = mlp.first(x)
    expected = mlp.second(jnp.where(h > 0, h, jnp.expm1(jnp.minimum(h, 0))))
    np.testing.assert_allclose(mlp(x), expected, rtol=1e-5)


@pytest.mark.parametrize("way", WAYS)
def test_trains_as_a_plain_loop_does(way):
    images, tests = (part[:10] for part in load_images(SMALL))
    found = train(way, images, tests, SMALL)
    optimizer = optax.rmsprop(SMALL.rate, decay=0.9, eps=1e-6)
    # The second seed, by itself.
    model_key, batch_key = jax.random.split(jax.random.key(SMALL.seeds[1]))
    model = make(way, 64, SMALL, nnx.Rngs(model_key))
    graph, params = nnx.split(model, nnx.Param)
    state, curve = optimizer.init(params), []

    @jax.jit
    def losses(params, images):
        return jnp.mean(nnx.merge(graph, params).loss(images))

    gradient = jax.jit(jax.grad(losses))
    for count, key in enumerate(jax.random.split(batch_key, 4)):
        chosen = jax.random.randint(key, (3,), 0, 10)
        updates, state = optimizer.update(gradient(params, images[chosen]), state)
        params = optax.apply_updates(params, updates)
        if count % 2:
            curve.append(losses(params, tests))
    np.testing.assert_allclose(found.curve[1], curve, rtol=1e-4)
    np.testing.assert_allclose(found.train[1], losses(params, images), rtol=1e-4)
    flow = flow_of(nnx.merge(graph, params).decoder, SMALL)
    by_flow = jnp.mean(jax.jit(flow.loss)(tests))
    np.testing.assert_allclose(found.by_flow[1], by_flow, rtol=1e-4)
    assert found.shown.shape == (2, 8, 64)
    assert 0 < found.shown.min() < found.shown.max() < 1
    if way != "autoencoder":
        np.testing.assert_allclose(found.by_flow, found.test, rtol=1e-5)


@pytest.mark.parametrize(
    ("few", "full", "met"),
    [
        ([0.3, 0.3], 0.29, [True, True]),
        ([0.3, 0.5], 0.31, [False, False]),
        ([0.2, 0.2], 0.25, [True, False]),
    ],
)
def test_judges(few, full, met):
    losses: Any = {"autoencoder": [0.4, 0.45], "truncated": few, "full": [full] * 2}
    found: Any = {
        (count, way): Trained(
            np.array(losses[way] if count == 5 else [1.0, 1.0])[:, None],
            *[np.zeros(0)] * 3,
        )
        for count in (50, 5)
        for way in WAYS
    }
    checks = gradient_flow_encoding_checks(found, 0.1)
    assert [check.met for check in checks] == met
    apart = abs((few[0] + few[1] - 0.2) / (2 * full - 0.2) - 1)
    assert f"{apart:.1%} with 5" in checks[1].why


@pytest.mark.slow
def test_prints_a_table_and_draws_a_figure(tmp_path, capsys):
    figure = tmp_path / "new" / "codes"
    # Those of `SMALL` and of the plain loop, for the same programs.
    options = "--train-images 10 --test-images 10 --code-features 2 --width 4"
    options += " --tries 4 --batch 3 --steps 4 --measure-every 2 --seeds 0 3 --figure"
    assert main(["gradient_flow_encoding", *options.split(), str(figure)]) == 0
    printed = capsys.readouterr().out
    assert "8×8 digits, codes of 2 numbers" in printed
    assert printed.count("flow, full adjoint") == 1
    assert figure.with_suffix(".png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--steps", "0"], "--steps must be at least 1"),
        (["--steps", "300"], "--steps must be a multiple of --measure-every"),
        (["--measure-every", "0"], "--measure-every must be at least 1"),
        (["--train-images", "2000"], "--train-images must lie between 1 and 1,077"),
        (["--train-images"], "one or more"),
        (["--rate", "0"], "--rate must be positive"),
        (["--seeds"], "--seeds must be at least one, none negative"),
    ],
)
def test_says_what_cannot_be_run(capsys, options, message):
    assert main(["gradient_flow_encoding", *options]) == 2
    assert message in capsys.readouterr().err
