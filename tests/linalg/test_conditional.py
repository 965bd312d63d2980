import jax
import jax.numpy as jnp
import numpy as np

from gradstab.linalg._conditional import apply_if


def add(x, y):
    return x + y


def test_applies_where_the_predicate_holds():
    x, y = jnp.ones(3), jnp.full(3, 2.0)
    np.testing.assert_array_equal(apply_if(jnp.asarray(True), add, x, y), 3 * x)
    np.testing.assert_array_equal(apply_if(jnp.asarray(False), add, x, y), x)


def test_vmap_chooses_for_each():
    predicate = jnp.array([True, False])
    out = jax.vmap(lambda p, x: apply_if(p, add, x, x))(predicate, jnp.ones((2, 3)))
    np.testing.assert_array_equal(out, [[2.0] * 3, [1.0] * 3])


def test_vmap_keeps_the_branch_inside_a_loop():
    # A select would have the branch at top level, computed for every stack.
    branch = jax.vmap(lambda p, x: apply_if(p, lambda x: jnp.sinh(x), x))
    jaxpr = jax.make_jaxpr(branch)(jnp.array([False]), jnp.ones((1, 3))).jaxpr
    assert "sinh" not in {eqn.primitive.name for eqn in jaxpr.eqns}
    assert "sinh" in str(jaxpr)
