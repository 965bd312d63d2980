import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradstab.recurrence import MatmulStep, scan

STEP = MatmulStep(
    lambda kernel: (kernel,),
    lambda _, carry: carry,
    lambda _, carry, products, projected: jnp.tanh(products[0] + projected),
)


@pytest.mark.parametrize("step", [STEP, STEP.__call__], ids=["lean", "plain"])
@pytest.mark.parametrize("every", [None, 2])
@pytest.mark.parametrize("shape", [(0, 2, 3), (1, 2, 3), (4, 0, 3)])
def test_empty_and_short_sequences(step, every, shape):
    start = jnp.ones(shape[1:])

    def loss(kernel):
        carry, outputs = scan(
            step, kernel, start, jnp.ones(shape), checkpoint_every=every
        )
        return jnp.sum(outputs) + jnp.sum(carry), (carry, outputs)

    slope, (carry, outputs) = jax.grad(loss, has_aux=True)(jnp.eye(3))
    assert outputs.shape == shape
    assert np.all(np.isfinite(slope))
    if shape[0] == 0:
        np.testing.assert_array_equal(carry, start)
        np.testing.assert_array_equal(slope, np.zeros((3, 3)))


@pytest.mark.error_text
@pytest.mark.parametrize("name", ["unroll", "checkpoint_every"])
def test_rejects_counts_below_one(name):
    run: Any = functools.partial(
        scan, STEP, jnp.eye(3), jnp.ones((2, 3)), jnp.ones((4, 2, 3))
    )
    with pytest.raises(ValueError, match=rf"`{name}` must be an integer >= 1, got 0\."):
        run(**{name: 0})


@pytest.mark.error_text
def test_rejects_a_time_axis_counted_from_the_end():
    with pytest.raises(ValueError, match="`time_axis` must be an integer >= 0, got -2"):
        scan(lambda p, c, x: (c, c), (), jnp.zeros(2), jnp.ones((2, 3)), time_axis=-2)
