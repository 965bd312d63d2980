import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradstab import gradients


def test_detach_stops_the_gradient():
    value, slope = jax.value_and_grad(lambda x: x * gradients.detach(x))(3.0)
    assert (value, slope) == (9.0, 3.0)


@pytest.mark.parametrize(("probability", "expected"), [(0.0, 1.0), (1.0, 0.0)])
def test_certain_coins(probability, expected):
    for seed in range(5):
        slope = jax.grad(
            lambda x, key=jax.random.key(seed): gradients.stochastic_detach(
                x, key, probability
            )
        )(2.0)
        assert slope == expected


def test_one_coin_stops_the_whole_tree_as_often_as_asked():
    def slopes(key):
        def total(tree):
            tree = gradients.stochastic_detach(tree, key, 0.25)
            return sum(jnp.sum(x) for x in jax.tree.leaves(tree))

        return jax.grad(total)({"a": jnp.ones(3), "b": jnp.ones(())})

    found = jax.vmap(slopes)(jax.random.split(jax.random.key(0), 2000))
    for place in range(3):
        np.testing.assert_array_equal(found["a"][:, place], found["b"])
    assert set(np.unique(found["b"])) == {0.0, 1.0}
    assert np.mean(found["b"]) == pytest.approx(0.75, abs=0.04)


@pytest.mark.parametrize("probability", [-0.1, 1.1, float("nan")])
def test_refuses_what_is_no_probability(probability):
    with pytest.raises(ValueError, match="`probability` must"):
        gradients.stochastic_detach(1.0, jax.random.key(0), probability)
