import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gradstab as gs
from tests.helpers import check_grads, random_matrix

LOSSES = {
    "least_squares": gs.nn.least_squares_domain_loss,
    "cross_entropy": gs.nn.cross_entropy_domain_loss,
    "focal": gs.nn.focal_domain_loss,
}
IS_TARGET = jnp.array([True, False, False, True, False])

every = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)


def by_hand(name, logit, is_target):
    """The loss of one position, from the probability of its own domain."""
    probability = 1 / (1 + np.exp(-logit if is_target else logit))
    return {
        "least_squares": (1 - probability) ** 2,
        "cross_entropy": -np.log(probability),
        "focal": -((1 - probability) ** 5) * np.log(probability),
    }[name]


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("positions", [(), (3,), (2, 3)])
def test_averages_each_domain_apart(name, positions):
    logits = random_matrix(0, (5, *positions), "float32")
    apart: dict[bool, list[float]] = {True: [], False: []}
    for example, is_target in zip(np.asarray(logits), IS_TARGET.tolist(), strict=True):
        each = [by_hand(name, logit, is_target) for logit in np.ravel(example)]
        apart[is_target].append(float(np.mean(each)))
    expected = (np.mean(apart[True]) + np.mean(apart[False])) / 2
    found = jax.jit(LOSSES[name])(logits, IS_TARGET)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@every
def test_a_domain_without_examples_adds_nothing(loss):
    logits = random_matrix(0, (5,), "float32")
    one = loss(logits, jnp.ones(5, bool))
    both = loss(jnp.concatenate([logits, jnp.full(2, -jnp.inf)]), jnp.arange(7) < 5)
    assert one > 0
    np.testing.assert_allclose(both, one, rtol=1e-6)


@every
def test_derivatives(loss):
    with jax.enable_x64(True):
        logits = random_matrix(1, (5, 3), "float64")
        check_grads(lambda x: loss(x, IS_TARGET), (logits,), 2)


@every
@pytest.mark.parametrize("logit", [-1e4, -100.0, 0.0, 100.0, 1e4])
def test_is_finite_with_its_gradient_for_every_logit(loss, logit):
    value, slope = jax.value_and_grad(lambda x: loss(x, IS_TARGET[:2]))(
        jnp.full(2, logit)
    )
    assert np.isfinite(value)
    assert np.all(np.isfinite(slope))


def test_the_focal_loss_is_that_of_optax():
    logits = random_matrix(2, (5,), "float32")
    each = optax.losses.sigmoid_focal_loss(
        logits, IS_TARGET.astype("float32"), gamma=2.0
    )
    expected = (jnp.mean(each[IS_TARGET]) + jnp.mean(each[~IS_TARGET])) / 2
    found = gs.nn.focal_domain_loss(logits, IS_TARGET, gamma=2.0)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("gamma", [0.0, 0.5])
def test_small_powers(gamma):
    def loss(logits):
        return gs.nn.focal_domain_loss(logits, IS_TARGET, gamma)

    logits = jnp.array([200.0, -200.0, 1.0, -1.0, 0.0])  # the first two are certain
    assert np.all(np.isfinite(jax.grad(loss)(logits)))
    if gamma == 0:
        expected = gs.nn.cross_entropy_domain_loss(logits, IS_TARGET)
        np.testing.assert_allclose(loss(logits), expected, rtol=1e-6)


@every
def test_hides_no_nan(loss):
    logits = jnp.zeros(5).at[3].set(jnp.nan)
    assert np.isnan(loss(logits, IS_TARGET))


@every
@pytest.mark.parametrize(
    ("logits", "is_target"),
    [
        (jnp.zeros(4), IS_TARGET),
        (jnp.zeros(0), IS_TARGET[:0]),
        (jnp.zeros((5, 0)), IS_TARGET),
        (jnp.zeros(5), IS_TARGET.astype("int32")),
        (jnp.zeros(5, int), IS_TARGET),
    ],
)
@pytest.mark.error_text
def test_refuses_other_shapes_and_dtypes(loss, logits, is_target):
    with pytest.raises(ValueError, match="is_target"):
        loss(logits, is_target)


@every
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_many_examples_stay_in_range(loss, dtype):
    logits = jnp.full(70_000, -1.0, dtype)
    found = loss(logits, jnp.ones(70_000, bool))
    expected = loss(logits[:1].astype("float32"), jnp.ones(1, bool))
    assert found.dtype == dtype
    np.testing.assert_allclose(found.astype("float32"), expected, rtol=2e-2)


@pytest.mark.parametrize("gamma", [-1.0, float("nan"), float("inf")])
def test_refuses_powers(gamma):
    with pytest.raises(ValueError, match="gamma"):
        gs.nn.focal_domain_loss(jnp.zeros(5), IS_TARGET, gamma)
