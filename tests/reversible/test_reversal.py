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
    # As hypergradients do it: a flag tells whether all bits are those of the start.
    moves = tuple(jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in inputs.theta)
    ones = [jnp.ones_like(x) for x in inputs.params]
    is_found, early, _ = Reversal().replay(descent, inputs, end, ones, moves)
    assert is_found
    assert all(np.all(np.isfinite(x)) for x in early.position)
    other = inputs._replace(params=[jnp.nextafter(x, 9) for x in inputs.params])
    assert not Reversal().replay(descent, other, end, ones, moves)[0]

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


def sliced(p, data, step):
    """Products of slices, whose sums with the penalty compilers contract."""
    return jnp.sum(p[:256] * p[256:] * data[step % 8]) + 1e-2 * jnp.sum(p**2)


def attentive(p, data, step):
    x = data[step % 8].reshape(32, 8)
    q, k, v = (x @ w for w in p[:192].reshape(3, 8, 8))
    mixed = jax.nn.softmax(q @ k.T / 3) @ v
    return jnp.mean((jnp.tanh(mixed) - x) ** 2) + 1e-2 * jnp.sum(p**2)


@pytest.mark.parametrize("loss", [sliced, attentive])
def test_gradients_are_not_fused_with_what_surrounds_them(loss):
    def final(p, data):
        return jnp.sum(train(loss, p, Schedules(0.05, 0.9), data, 60))

    def drawn(seed):
        rng = np.random.default_rng(seed)
        p = jnp.asarray(rng.normal(size=512) / 2, jnp.float32)
        return p, jnp.asarray(rng.normal(size=(8, 256)), jnp.float32)

    slope = jax.jit(jax.grad(final))
    for seed in range(10):
        assert np.all(np.isfinite(slope(*drawn(seed))))
    jax.grad(final)(*drawn(0))


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


def test_each_array_has_a_tape_of_its_own_length(dtype):
    """A quarter of the bits for the bias alone."""
    descent, inputs = problem(dtype, 1000)
    momenta = [jnp.full(1000, beta, dtype) for beta in (0.5, 0.99)]
    end, _ = Reversal().record(descent, inputs._replace(momenta=momenta))
    bits = [
        8 * t.slots.nbytes / x.size / 1000
        for t, x in zip(end.tapes, inputs.params, strict=True)
    ]
    assert 1 < bits[0] < 1.1
    assert bits[1] < 0.1


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
