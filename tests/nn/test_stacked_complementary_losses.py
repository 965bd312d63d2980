from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import gradstab as gs
from tests.helpers import check_grads, random_matrix

SIZES = 6, 5, 4
IS_TARGET = jnp.array([True, False, True])
WEIGHTS = [1.0, 0.15, 1.0]


def make(seed=0, stages=3, *, with_context=True, dtype=jnp.float32, **options) -> Any:
    rngs = nnx.Rngs(seed)

    def net(size, out):
        return nnx.Sequential(
            nnx.Linear(size, 8, param_dtype=dtype, rngs=rngs),
            jax.nn.softplus,
            nnx.Linear(8, out, param_dtype=dtype, rngs=rngs),
        )

    return gs.nn.StackedComplementaryLosses(
        [net(size, 1) for size in SIZES[:stages]],
        contexts=[net(size, 2) for size in SIZES[:stages]] if with_context else (),
        **options,
    )


def features(seed=0, dtype="float32"):
    return [random_matrix(seed + k, (3, size), dtype) for k, size in enumerate(SIZES)]


def task(answers):
    return jnp.sum(jnp.sin(answers))


def test_the_losses_are_those_of_the_paper():
    model = make()
    losses = model(features(), IS_TARGET).losses
    kinds = [
        gs.nn.least_squares_domain_loss,
        gs.nn.cross_entropy_domain_loss,
        gs.nn.focal_domain_loss,
    ]
    expected = [
        weight * kind(head(one), IS_TARGET)
        for weight, kind, head, one in zip(
            WEIGHTS, kinds, model.heads, features(), strict=True
        )
    ]
    np.testing.assert_allclose(losses, expected, rtol=1e-6)


@pytest.mark.parametrize("stages", [1, 2])
def test_the_last_stage_is_focal(stages):
    found = make(stages=stages)(features()[:stages], IS_TARGET).losses
    model = make(stages=stages)
    last = gs.nn.focal_domain_loss(model.heads[-1](features()[stages - 1]), IS_TARGET)
    np.testing.assert_allclose(found[-1], last, rtol=1e-6)
    assert found.shape == (stages,)


def test_the_last_stage_comes_first_in_the_context():
    model = make()
    parts = [net(one) for net, one in zip(model.contexts, features(), strict=True)]
    expected = jnp.concatenate(parts[::-1], axis=-1)
    np.testing.assert_allclose(model.context(features()), expected, rtol=1e-6)
    np.testing.assert_allclose(
        model(features(), IS_TARGET).context, expected, rtol=1e-6
    )


def test_the_stages_see_a_constant_context():
    model = make()

    def through(features):
        return task(model.context(features))

    for gradient in jax.grad(through)(features()):
        np.testing.assert_array_equal(gradient, np.zeros_like(gradient))
    learned = nnx.grad(lambda model: task(model.context(features())))(model)
    sizes = [float(jnp.linalg.norm(x)) for x in jax.tree.leaves(learned["contexts"])]
    assert min(sizes) > 0


def test_detaching_removes_that_branch_and_nothing_else():
    def loss(features, model):
        found = model(features, IS_TARGET, 0.7)
        return task(jnp.concatenate([found.context, features[-1]], axis=-1)) + jnp.sum(
            found.losses
        )

    with jax.enable_x64(True):
        inputs = features(dtype="float64")
        attached = make(detaches=False, dtype=jnp.float64)
        kept, whole = (
            jax.grad(loss)(inputs, make(detaches=detaches, dtype=jnp.float64))
            for detaches in (True, False)
        )
        branch = jax.grad(lambda features: task(attached.context(features)))(inputs)
    for one, both, removed in zip(kept, whole, branch, strict=True):
        np.testing.assert_allclose(both - one, removed, atol=1e-14)
        assert np.linalg.norm(removed) > 1e-3


@pytest.mark.parametrize("strength", [0.0, 0.1, 2.0])
def test_the_stages_get_the_reversed_gradient(strength):
    model = make(with_context=False)

    def losses(features, strength):
        return jnp.sum(model(features, IS_TARGET, strength).losses)

    def plain(features):
        heads = zip(WEIGHTS, model.heads, features, strict=True)
        kinds = (
            gs.nn.least_squares_domain_loss,
            gs.nn.cross_entropy_domain_loss,
            gs.nn.focal_domain_loss,
        )
        return sum(
            weight * kind(head(one), IS_TARGET)
            for kind, (weight, head, one) in zip(kinds, heads, strict=True)
        )

    found = jax.jit(jax.grad(losses))(features(), strength)
    for one, expected in zip(found, jax.grad(plain)(features()), strict=True):
        np.testing.assert_allclose(one, -strength * expected, atol=1e-6)


def test_the_heads_learn_alike_at_any_strength():
    weak, strong = (
        nnx.grad(lambda m, s=strength: jnp.sum(m(features(), IS_TARGET, s).losses))(
            make(with_context=False)
        )
        for strength in (0.0, 3.0)
    )
    jax.tree.map(np.testing.assert_array_equal, weak, strong)


def test_derivatives_of_every_network():
    with jax.enable_x64(True):
        graph, params = nnx.split(make(dtype=jnp.float64), nnx.Param)

        def loss(params):
            found = nnx.merge(graph, params)(features(dtype="float64"), IS_TARGET)
            return task(found.context) + jnp.sum(found.losses)

        check_grads(loss, (params,), 1, modes=["rev"])


def test_without_context():
    found = make(with_context=False)(features(), IS_TARGET)
    assert found.context.shape == (3, 0)


def test_losses_and_weights_of_your_own():
    model = make(losses=[gs.nn.cross_entropy_domain_loss] * 3, weights=[1.0, 2.0, 3.0])
    expected = [
        weight * gs.nn.cross_entropy_domain_loss(head(one), IS_TARGET)
        for weight, head, one in zip(
            [1.0, 2.0, 3.0], model.heads, features(), strict=True
        )
    ]
    found = model(features(), IS_TARGET).losses
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    unweighted = make(losses=[gs.nn.cross_entropy_domain_loss] * 3)
    np.testing.assert_allclose(
        unweighted(features(), IS_TARGET).losses, found / jnp.arange(1.0, 4.0)
    )


@pytest.mark.parametrize(
    "options",
    [
        {"losses": [jnp.sum]},
        {"weights": [1.0]},
        {"weights": []},
        {"weights": [1.0, -1.0, 1.0]},
        {"contexts": [jnp.sum]},
    ],
)
def test_refuses_other_numbers_of_stages_and_weights(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        gs.nn.StackedComplementaryLosses([jnp.ravel] * 3, **options)


def test_refuses_no_stages_and_other_features():
    with pytest.raises(ValueError, match="heads"):
        gs.nn.StackedComplementaryLosses([])
    with pytest.raises(ValueError, match="features"):
        make()(features()[:2], IS_TARGET)
    with pytest.raises(ValueError, match="features"):
        make().context(features()[:2])


def test_compiles_once():
    model, traces = make(), []

    @nnx.jit
    def losses(model, features, is_target, strength):
        traces.append(1)
        return model(features, is_target, strength).losses

    for strength in (0.1, 0.2):
        losses(model, features(), IS_TARGET, jnp.asarray(strength))
    assert len(traces) == 1
