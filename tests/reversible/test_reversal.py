import itertools
from typing import Any

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
from gradstab.reversible._reversal import Reversal
from gradstab.reversible._walk import walk
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
        theta_names=("",) * len(theta),
        dtypes=(jnp.dtype(dtype),) * len(x),
        formats=(FixedPoint(wide, 52 if wide else 24),) * len(x),
        steps=steps,
    )
    size = jnp.full(steps, 0.2, dtype)
    momentum = jnp.asarray(np.linspace(0.5, 0.99, steps), dtype)
    return descent, Inputs(x, [size] * len(x), [momentum] * len(x), theta)


def free(inputs):
    """Which hyperparameters can be differentiated."""
    return tuple(jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in inputs.theta)


def test_2000_steps_on_minibatches_are_undone_bit_for_bit(dtype):
    descent, inputs = problem(dtype, 2000)
    moves = free(inputs)
    _, end = Reversal().record(descent, inputs, moves)
    assert any(np.any(state.velocity != 0) for state in end.run.states)
    # As hypergradients do it: a flag tells whether all bits are those of the start.
    ones = [jnp.ones_like(x) for x in inputs.params]
    is_found, early, _ = Reversal().replay(descent, inputs, end, ones, moves)
    assert is_found
    assert all(np.all(np.isfinite(x)) for x in early.position)
    other = inputs._replace(params=[jnp.nextafter(x, 9) for x in inputs.params])
    assert not Reversal().replay(descent, other, end, ones, moves)[0]

    late = arrive(descent, ones, inputs.theta, moves)
    found, *_ = walk(descent, moves, inputs, end, late, jnp.asarray(False))
    first = start(descent, inputs)
    jax.tree.map(np.testing.assert_array_equal, found.run.states, first.states)
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


def test_both_directions_are_one_program():
    """Which needs no compiler to round alike twice."""
    traces = []

    def loss(p, theta, step):
        traces.append(step)
        return jnp.sum(theta * p**2)

    def trained(p):
        return train(loss, p, Schedules(0.1, 0.9), 2.0, 5)

    _, back = jax.vjp(trained, jnp.ones(3))
    count = len(traces)
    back(jnp.ones(3))
    assert len(traces) == count


def test_what_is_the_same_in_all_steps_is_rounded_in_each():
    """What left the loop was fused with constants in one of the two programs."""

    def loss(p, data, step):
        shares = jax.nn.softmax(data)
        moved = shares[:256] - jnp.mean(shares[:256] * shares[256:])
        error = p[:256] * moved * shares[256:] * 2**16 - moved**2 * data[:256]
        return jnp.mean(error**2) + jnp.sum(shares * p**3)

    @jax.jit
    def final(p):
        data = 0.3 * jnp.cos(jnp.arange(512, dtype=jnp.float32))
        return jnp.sum(train(loss, p, Schedules(0.05, 0.9), data, 60) * data)

    for seed in range(10):
        p = np.random.default_rng(seed).normal(size=512) / 2
        assert np.all(np.isfinite(jax.grad(final)(jnp.asarray(p, jnp.float32))))


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_runs_so_short_that_compilers_unroll_them(steps):
    def final(p, data):
        return jnp.sum(train(sliced, p, Schedules(0.05, 0.9), data, steps) ** 2)

    rng = np.random.default_rng(0)
    p = jnp.asarray(rng.normal(size=512), jnp.float32)
    data = jnp.asarray(rng.normal(size=(8, 256)), jnp.float32)
    assert np.all(np.isfinite(jax.jit(jax.grad(final))(p, data)))
    assert np.all(np.isfinite(jax.grad(jax.jit(final))(p, data)))


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


def test_the_tape_is_there_once():
    """What a condition in the loop leaves as it is would be copied at each step."""
    size, steps = 10_000, 2000

    def final(x):
        return jnp.sum(train(quartic, x, Schedules(0.01, 0.5), None, steps))

    compiled = jax.jit(jax.grad(final)).lower(jnp.ones(size)).compile()
    memory: Any = compiled.memory_analysis()
    tape = size * steps // 8  # a bit each
    copies = 12 * size * 4
    assert tape < memory.temp_size_in_bytes < 1.3 * tape + copies


def quartic(x, theta, step):
    return jnp.sum(x**4) / 4


def test_a_tape_of_a_few_bits(dtype):
    """At most 0.2 bits a parameter and step at momentum 0.9."""
    descent, inputs = problem(dtype, 1000)
    momenta = [jnp.full_like(beta, 0.9) for beta in inputs.momenta]
    inputs = inputs._replace(momenta=momenta)
    _, end = Reversal().record(descent, inputs, free(inputs))
    for tape, x in zip(end.tapes, inputs.params, strict=True):
        assert 8 * tape.slots.nbytes / x.size / 1000 < 0.2


def test_each_array_has_a_tape_of_its_own_length(dtype):
    """A quarter of the bits for the bias alone."""
    descent, inputs = problem(dtype, 1000)
    momenta = [jnp.full(1000, beta, dtype) for beta in (0.5, 0.99)]
    inputs = inputs._replace(momenta=momenta)
    _, end = Reversal().record(descent, inputs, free(inputs))
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
