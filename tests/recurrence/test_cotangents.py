import jax
import jax.numpy as jnp
import numpy as np

from gradstab.recurrence._cotangents import (
    add_cotangents,
    without_integers,
    zero_cotangents,
)

TREE = {
    "weight": jnp.array([1.0, 2.0]),
    "count": jnp.array(3),
    "key": jax.random.key(0),
}


def test_sums_pass_over_integers_and_keys():
    cotangent = jax.vjp(lambda tree: tree["weight"] ** 2, TREE)[1](jnp.ones(2))[0]
    total = add_cotangents(zero_cotangents(TREE), cotangent)
    total = without_integers(TREE, add_cotangents(total, cotangent))
    np.testing.assert_array_equal(total["weight"], [4.0, 8.0])
    assert total["count"] is None
    assert total["key"] is None
