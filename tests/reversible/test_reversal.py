import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradstab.reversible import Schedules, train
from gradstab.reversible._adjoint import arrive
from gradstab.reversible._descent import Descent
from gradstab.reversible._fixed_point import FixedPoint
from gradstab.reversible._forward import start
from gradstab.reversible._inputs import Inputs
from gradstab.reversible._rates import rates
from gradstab.reversible._reversal import Reversal, run_backward
from tests.reversible.problems import hyper, loss, weights


def problem(dtype, steps):
    x, tree = jax.tree.flatten(weights(dtype))
    theta, theta_tree = jax.tree.flatten(hyper(dtype))
    wide = dtype == jnp.float64
    descent = Descent(
        loss=loss,
        params=tree,
        theta=theta_tree,
        names=("",) * len(x),
        dtypes=(jnp.dtype(dtype),) * len(x),
        formats=(FixedPoint(wide, 52 if wide else 24),) * len(x),
        steps=steps,
    )
    size = jnp.full(steps, 0.2, dtype)
    momentum = jnp.asarray(np.linspace(0.5, 0.99, steps), dtype)
    return descent, Inputs(x, [size] * len(x), [momentum] * len(x), theta)


def test_2000_steps_on_minibatches_are_undone_bit_for_bit(dtype):
    descent, inputs = problem(dtype, 2000)
    end, _ = Reversal().record(descent, inputs)
    assert any(np.any(state.velocity != 0) for state in end.states)
    moves = (False,) * len(inputs.theta)

    @jax.jit
    def back(inputs, end):
        now = rates(descent.formats, inputs.step_sizes, inputs.momenta)
        zeros = [jnp.zeros_like(x) for x in inputs.params]
        late = arrive(descent, zeros, inputs.theta, moves)
        return run_backward(descent, end, late, now, inputs.theta, moves)[0]

    found = back(inputs, end)
    first = start(descent, inputs)
    jax.tree.map(np.testing.assert_array_equal, found.states, first.states)
    assert all(int(tape.used) == 0 for tape in found.tapes)


def test_reversal_in_floating_point_would_be_lost():
    """Why there are integers: the same steps in float32, undone."""
    x, v, trace = jnp.asarray([1.0, -2.0]), jnp.zeros(2), []
    stiff = jnp.asarray([1.0, 3.0])
    for _ in range(300):
        trace.append(x)
        v = 0.5 * v - 0.5 * stiff * x
        x = x + 0.3 * v
    for _ in range(300):
        x = x - 0.3 * v
        v = (v + 0.5 * stiff * x) / 0.5
    assert not np.all(np.abs(x - trace[0]) < 1)


def test_a_tape_of_a_few_bits(dtype):
    """At most 0.2 bits a parameter and step at momentum 0.9."""
    descent, inputs = problem(dtype, 1000)
    momenta = [jnp.full_like(beta, 0.9) for beta in inputs.momenta]
    end, _ = Reversal().record(descent, inputs._replace(momenta=momenta))
    for tape, x in zip(end.tapes, inputs.params, strict=True):
        assert 8 * tape.slots.nbytes / x.size / 1000 < 0.2


def unsteady(draw):
    """A loss whose gradient is another one each time that it is computed."""

    def noise(step):
        return np.float32(draw())

    def loss(x, theta, step):
        shape = jax.ShapeDtypeStruct((), jnp.float32)
        return jnp.sum(x**2) * jax.pure_callback(noise, shape, step)

    return loss


def test_a_device_that_does_not_repeat_itself_is_found_out():
    counter = itertools.count()
    loss = unsteady(lambda: 1 + 1e-6 * next(counter))

    def final(x):
        return jnp.sum(train(loss, x, Schedules(0.1, 0.9), None, 20))

    with pytest.raises(RuntimeError, match="did not run backward to its initial"):
        jax.grad(final)(jnp.ones(3))
    assert np.all(np.isnan(jax.jit(jax.grad(final))(jnp.ones(3))))
    steady = unsteady(lambda: 1.0)
    assert np.all(
        np.isfinite(
            jax.grad(lambda x: train(steady, x, Schedules(0.1, 0.9), None, 20).sum())(
                jnp.ones(3)
            )
        )
    )


def test_the_fallback_bears_it():
    counter = itertools.count()
    loss = unsteady(lambda: 1 + 1e-6 * next(counter))

    def final(x, **options):
        return jnp.sum(train(loss, x, Schedules(0.1, 0.9), None, 20, **options))

    found = jax.grad(lambda x: final(x, checkpoint_every=5))(jnp.ones(3))

    def exact(x, theta, step):
        return jnp.sum(x**2)

    expected = jax.grad(
        lambda x: jnp.sum(train(exact, x, Schedules(0.1, 0.9), None, 20))
    )(jnp.ones(3))
    np.testing.assert_allclose(found, expected, rtol=1e-3)
