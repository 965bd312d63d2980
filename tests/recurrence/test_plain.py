import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradstab.recurrence import scan

INPUTS = jnp.arange(1.0, 11.0).reshape(5, 2)


def step(params, carry, inputs):
    carry = params * carry + inputs
    return carry, 2 * carry


def by_hand(inputs, carry, params, mask):
    outputs = []
    for x, keep in zip(inputs, mask, strict=True):
        new = params * carry + x
        carry = np.where(keep, new, carry)
        outputs.append(np.where(keep, 2 * new, 0))
    return carry, np.stack(outputs)


@pytest.mark.parametrize("every", [None, 1, 2, 5, 9])
@pytest.mark.parametrize("reverse", [False, True])
def test_is_a_loop(every, reverse):
    mask = np.array([[1, 1], [1, 1], [1, 0], [1, 0], [1, 0]], bool)
    noise = jnp.where(mask, INPUTS, jnp.nan)
    start, rate = jnp.array([1.0, -1.0]), jnp.float32(0.5)
    run = functools.partial(scan, step, rate, start, noise, mask=jnp.array(mask))
    carry, outputs = run(reverse=reverse, checkpoint_every=every)
    order = slice(None, None, -1 if reverse else 1)
    expected, series = by_hand(INPUTS[order], start, rate, mask[order])
    np.testing.assert_allclose(carry, expected)
    np.testing.assert_allclose(outputs, series[order])


@pytest.mark.parametrize("ahead", [False, True])
def test_projection_may_be_ahead_of_the_loop_or_inside(monkeypatch, ahead):
    lengths = []

    def project(params, inputs):
        lengths.append(inputs.shape[0])
        return params * inputs

    path = "gradstab.recurrence._plain.block_length"
    monkeypatch.setattr(path, lambda steps: steps if ahead else 1)
    rate = jnp.float32(0.5)
    _, outputs = scan(step, rate, jnp.zeros(2), INPUTS, project=project)
    _, expected = scan(step, rate, jnp.zeros(2), rate * INPUTS)
    np.testing.assert_allclose(outputs, expected)
    assert set(lengths) == {5 if ahead else 1}


def test_recomputing_changes_no_gradient():
    def loss(rate, every):
        carry, outputs = scan(step, rate, jnp.ones(2), INPUTS, checkpoint_every=every)
        return jnp.sum(outputs**2) + jnp.sum(carry)

    slope = jax.grad(loss)(jnp.float32(0.5), None)
    np.testing.assert_allclose(jax.grad(loss)(jnp.float32(0.5), 2), slope, rtol=1e-6)
