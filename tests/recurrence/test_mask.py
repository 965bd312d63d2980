import jax
import jax.numpy as jnp
import numpy as np

from gradstab.recurrence._mask import erase, select

MASK = jnp.array([True, False])
TREE = {"a": jnp.array([[1.0, 2.0], [3.0, jnp.nan]]), "b": jnp.array([5, 6])}


def test_select_takes_each_row_from_one_side():
    old = jax.tree.map(jnp.zeros_like, TREE)
    chosen = select(MASK, TREE, old)
    np.testing.assert_array_equal(chosen["a"], [[1.0, 2.0], [0.0, 0.0]])
    np.testing.assert_array_equal(chosen["b"], [5, 0])


def test_no_mask_selects_everything():
    assert select(None, TREE, None) is TREE
    assert erase(None, TREE) is TREE


def test_what_is_erased_has_no_gradient():
    def loss(x):
        return jnp.sum(erase(MASK, {"a": x})["a"] ** 2)

    gradient = jax.grad(loss)(TREE["a"])
    np.testing.assert_array_equal(gradient, [[2.0, 4.0], [0.0, 0.0]])
