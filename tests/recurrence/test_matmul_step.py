import jax.numpy as jnp
import numpy as np
import pytest

from gradstab.recurrence import Feed, MatmulStep
from gradstab.recurrence._matmul_step import multiply
from tests.helpers import random_matrix


def test_a_step_multiplies_activates_and_puts_out_its_state():
    step = MatmulStep(
        lambda params: params["kernels"],
        lambda _, carry: carry[1],
        lambda params, carry, products, projected: (
            carry[0] + products[0],
            params["gain"] * products[1] + projected,
        ),
    )
    first, second = (
        random_matrix(0, (3, 3), "float32"),
        random_matrix(1, (3, 3), "float32"),
    )
    memory, state, drive = random_matrix(2, (3, 2, 3), "float32")
    params = {"kernels": (first, second), "gain": jnp.float32(2)}
    carry, output = step(params, (memory, state), drive)
    np.testing.assert_allclose(carry[0], memory + state @ first, rtol=1e-5)
    np.testing.assert_allclose(carry[1], 2 * (state @ second) + drive, rtol=1e-5)
    assert output is carry[1]


def test_low_precision_kernels_keep_the_dtype_of_the_state():
    state = jnp.ones((2, 256), jnp.float32)
    kernel = jnp.full((256, 256), 1 + 2**-7, jnp.bfloat16)
    (product,) = multiply(state, (kernel,))
    assert product.dtype == jnp.float32
    # 258 is no bfloat16: the sum was kept in float32.
    np.testing.assert_array_equal(product, np.full((2, 256), 258, np.float32))


def test_feeds_must_fit():
    feed = Feed(lambda params, carry, products, projected: carry)
    parts = {
        "kernels": lambda kernels: kernels,
        "state": lambda kernels, carry: carry,
        "activate": lambda kernels, carry, products, projected: carry,
    }
    with pytest.raises(ValueError, match="`pullback` must be None"):
        MatmulStep(**parts, feeds=(feed,), pullback=lambda *_: ((), None))
    step = MatmulStep(**parts, feeds=(feed, feed))
    with pytest.raises(ValueError, match="meet 2 kernels, but there are 1"):
        step((jnp.eye(2),), jnp.ones(2), jnp.ones(2))
