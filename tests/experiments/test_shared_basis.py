from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from experiments.shared_basis import (
    PUBLISHED,
    DenseNet,
    MobileNetV2,
    ResNet,
    count_parameters,
)
from experiments.shared_basis.densenet import DenseBlock
from experiments.shared_basis.mobilenet import InvertedResidual, SharedStage
from tests.helpers import random_matrix

COUNTS = {
    ("ResNet34", "CIFAR-100"): 21_328_292,
    ("ResNet34-S32U1", "CIFAR-100"): 7_726_676,
    ("ResNet34-S16U1", "CIFAR-100"): 6_485_844,
    ("ResNet34-S48U1*", "ImageNet"): 11_786_968,
    ("MobileNetV2", "ImageNet"): 3_504_872,  # as torchvision's
    ("MobileNetV2-S++", "ImageNet"): 2_976_488,
    ("DenseNet121-S64U4", "CIFAR-100"): 5_606_708,  # 5.08 million, its authors print
}


@pytest.mark.parametrize(("name", "data"), COUNTS)
def test_counts(name, data):
    (published,) = (one for one in PUBLISHED if (one.name, one.data) == (name, data))
    found = count_parameters(published.make)
    assert found == COUNTS[name, data]
    if published.parameters and name != "DenseNet121-S64U4":
        assert found / 1e6 == pytest.approx(published.parameters, abs=0.005)


def test_counts_of_a_dense_network():
    """A smaller one, by the formula; DenseNet121 takes long to trace."""
    count = partial(count_parameters, partial(DenseNet, (2, 3), growth=4))
    shared = partial(DenseNet, (2, 3), growth=4, shared_features=6, private_features=2)
    inside, r = 16, 6 + 2
    change = 9 * inside * 2 + r * 4 + 2 * r - 9 * inside * 4
    assert count_parameters(shared) - count() == 5 * change + 2 * 9 * inside * 6


@pytest.mark.parametrize(("shared", "private", "bases"), [(8, 1, 1), (4, 2, 2)])
def test_a_stage_has_as_many_parameters_as_the_formula_says(shared, private, bases):
    def count(blocks):
        return count_parameters(
            partial(
                ResNet,
                (1, blocks),
                features=6,
                shared_features=shared,
                private_features=private,
                bases=bases,
            )
        )

    channels, s, u = 12, 2 * shared, 2 * private
    r, convolutions = s + u, 2 * 3
    own = 9 * channels * u + r * channels + 2 * r + 2 * channels
    expected = bases * 9 * channels * s + convolutions * own
    assert count(4) - count(1) == expected


@pytest.mark.parametrize(
    "make",
    [
        partial(ResNet, (2, 2, 2, 2), shared_features=8),
        partial(DenseNet, (2, 2, 2, 2), shared_features=8),
        partial(MobileNetV2, bases=2),
    ],
)
def test_shapes_of_images(make):
    for imagenet, side in ((True, 224), (False, 32)):

        def answers(imagenet=imagenet, side=side):
            model = make(imagenet=imagenet, rngs=nnx.Rngs(0))
            return model(jnp.zeros((2, side, side, 3)))

        assert nnx.eval_shape(answers).shape == (2, 10)


def bases_in(model):
    state = nnx.state(model, nnx.All(nnx.Param, nnx.PathContains("bases")))
    return [leaf.shape for leaf in jax.tree.leaves(state)]


def test_the_first_block_of_a_stage_shares_nothing():
    def bases_of(blocks, bases=1):
        make = partial(ResNet, features=4, shared_features=3, bases=bases)
        return bases_in(nnx.eval_shape(lambda: make(blocks, rngs=nnx.Rngs(0))))

    assert bases_of((1, 1)) == []
    assert bases_of((2, 3)) == [(36, 3), (72, 6)]
    assert bases_of((2, 3), bases=2) == [(36, 3)] * 2 + [(72, 6)] * 2


def test_trains_on_statistics_of_the_batch_and_tests_on_running_ones():
    model = ResNet((2,), features=2, shared_features=2, rngs=nnx.Rngs(0))
    answer = nnx.jit(lambda model, x: model(x))
    images = random_matrix(0, (4, 6, 6, 3), "float32")
    first = answer(model, images)
    model.eval()
    before = jax.tree.map(np.asarray, nnx.state(model))
    answer(model, images)
    jax.tree.map(np.testing.assert_array_equal, before, nnx.state(model))
    assert first.shape == (4, 10)


def test_layers_of_a_dense_block_read_all_before_them():
    block = DenseBlock(4, 2, 2, 3, 1, rngs=nnx.Rngs(0))
    images = random_matrix(0, (2, 4, 4, 4), "float32")
    basis = block.bases[0]().reshape(block.kernel_shape)
    first, second = block.layers
    h = first(images, basis)
    np.testing.assert_array_equal(h[..., :4], images)
    np.testing.assert_allclose(block(images), second(h, basis), rtol=1e-6)
    assert block(images).shape == (2, 4, 4, 8)
    plain = DenseBlock(4, 2, 2, None, 1, rngs=nnx.Rngs(0))
    assert plain(images).shape == (2, 4, 4, 8)
    assert bases_in(plain) == []


@pytest.mark.parametrize("shared", [1, 2])
def test_a_shared_stage_is_blocks_with_equal_convolutions(shared):
    stage = SharedStage(3, 6, 2, shared, rngs=nnx.Rngs(0))
    images: Any = random_matrix(0, (2, 4, 4, 3), "float32")
    expected = images
    for block in stage.blocks:
        own: Any = InvertedResidual(3, 3, 6, 1, rngs=nnx.Rngs(1))
        own.depthwise.kernel[...] = block.depthwise.kernel[...]
        own.expand.kernel[...] = stage.bases[0]()[None, None]
        if shared == 2:
            own.project.kernel[...] = stage.bases[1]()[None, None]
        else:
            own.project = block.project
        expected = own(expected)
    np.testing.assert_allclose(stage(images), expected, atol=1e-5)


def test_refuses_other_numbers_of_bases():
    with pytest.raises(ValueError, match="bases"):
        MobileNetV2(bases=3, rngs=nnx.Rngs(0))
