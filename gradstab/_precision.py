"""The precision in which sums, norms and factorizations of short numbers are taken."""

import jax.numpy as jnp
from flax.typing import Dtype
from jaxtyping import Array, Inexact


def at_least_single(dtype: Dtype) -> jnp.dtype:
    """The dtype, real or complex, or float32 if it is shorter than that."""
    return jnp.dtype(jnp.float32 if jnp.finfo(dtype).bits < 32 else dtype)


def widened(x: Inexact[Array, "..."]) -> Inexact[Array, "..."]:
    """The array in its own precision, or in single if that is more."""
    return x.astype(at_least_single(x.dtype))
