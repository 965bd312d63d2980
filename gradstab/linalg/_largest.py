"""The largest modulus among some numbers."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Inexact


def largest_modulus(x: Inexact[Array, "..."]) -> Float[Array, ""]:
    """Returns max |x|, 0 if there are none, and NaN if one of them is NaN."""
    # A maximum of 4096 numbers or more loses NaN on a CPU, a sum does not.
    size = jnp.abs(x)
    largest = jnp.max(size, initial=0)
    return jnp.where(jnp.isnan(jnp.sum(size)), jnp.full_like(largest, jnp.nan), largest)
