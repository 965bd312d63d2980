"""Fixed signs and phases that complete the reach of a map."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Inexact


def unit(signs: Inexact[Array, "*stack n"]) -> Inexact[Array, "*stack n"]:
    """Reads stored numbers as signs, or as phases when complex; never as lengths.

    Weight decay or averaging that reaches them by mistake shrinks them; their
    direction, which is all that is read, stays. Zero reads as one.

    Args:
        signs: the stored numbers.

    Returns:
        Numbers of modulus one, without a gradient.
    """
    signs = jax.lax.stop_gradient(signs)
    if jnp.iscomplexobj(signs):
        length = jnp.abs(signs)
        one = jnp.ones((), signs.dtype)
        safe = jnp.where(length == 0, jnp.ones((), length.dtype), length)
        return jnp.where(length == 0, one, signs / safe.astype(signs.dtype))
    one = jnp.ones((), signs.dtype)
    # NaN is kept: it must not pass for a sign.
    return jnp.where(jnp.isnan(signs), signs, jnp.where(signs < 0, -one, one))
