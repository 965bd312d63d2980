import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradstab.reversible import train
from tests.reversible.problems import hyper, loss, schedules, weights


@pytest.mark.parametrize("every", [7, 15, 100])
def test_gives_what_reversal_gives(every):
    """Also where the stretches are of unequal length, or there is one only."""
    steps = 30
    theta = hyper(jnp.float32)

    def achieved(params, rates, log_penalty, **options):
        now = {**theta, "log_penalty": log_penalty}
        trained = train(loss, params, rates, now, steps, **options)
        return sum(jnp.sum(jnp.sin(w)) for w in jax.tree.leaves(trained))

    arguments = (
        weights(jnp.float32),
        schedules(steps, jnp.float32),
        theta["log_penalty"],
    )
    found, expected = (
        jax.grad(lambda *a, o=options: achieved(*a, **o), argnums=(0, 1, 2))(*arguments)
        for options in ({"checkpoint_every": every}, {})
    )
    for mine, its in zip(
        jax.tree.leaves(found), jax.tree.leaves(expected), strict=True
    ):
        np.testing.assert_allclose(mine, its, rtol=1e-4, atol=1e-7)


def test_traced_momenta_need_no_least_one():
    def final(momentum):
        rates = schedules(10, jnp.float32)._replace(momentum=momentum)
        trained = train(
            loss,
            weights(jnp.float32),
            rates,
            hyper(jnp.float32),
            10,
            checkpoint_every=3,
        )
        return sum(jnp.sum(w) for w in jax.tree.leaves(trained))

    assert np.all(np.isfinite(jax.jit(jax.grad(final))(jnp.full(10, 0.9))))
