"""Fixed random vectors, on which matrices are tested."""

import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Inexact


def sign_vectors(n: int, dtype: DTypeLike) -> Inexact[Array, "n 8"]:
    """Returns eight columns of random signs, the same for every call.

    |E v| for such a v is about the norm of the rows of E: a rounding error shows in n²
    operations, and with eight columns it cannot hide but by ill luck.

    Args:
        n: length of the columns.
        dtype: dtype of the result.

    Returns:
        The columns. They are a constant of the program that holds them.
    """
    signs = np.random.default_rng(n).choice([-1.0, 1.0], (n, 8))
    return jnp.asarray(signs.astype(jnp.dtype(dtype)))
