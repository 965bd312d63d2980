"""The modReLU activation."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Inexact


def modrelu(
    x: Inexact[Array, "*shape"], bias: Float[Array, "..."]
) -> Inexact[Array, "*shape"]:
    r"""Moves the modulus of each number by a bias and keeps its sign or phase.

    .. math:: \operatorname{modrelu}(x, b) = \frac{x}{|x|} \max(|x| + b, 0)

    and 0 at x = 0. For real x the derivative is 0 or 1, so that it never enlarges a
    gradient, and 0 at x = 0. With b > 0 the value jumps by 2b there, and for complex x
    the derivative has no bound near it.

    Args:
        x: real or complex numbers.
        bias: real numbers that broadcast to the shape of `x`.

    Returns:
        An array of the shape and dtype of `x`; exactly 0 wherever abs(x) + b <= 0.

    References:
        Arjovsky, Shah & Bengio, "Unitary Evolution Recurrent Neural Networks",
        ICML 2016, arXiv:1511.06464.
    """
    bias = jnp.broadcast_to(bias, x.shape).astype(jnp.finfo(x.dtype).dtype)
    if not jnp.iscomplexobj(x):
        return jnp.sign(x) * jax.nn.relu(jnp.abs(x) + bias)
    # The modulus has no derivative at 0: a stand-in keeps the NaN out of the branch
    # that is not selected.
    at_zero = x == 0
    modulus = jnp.abs(jnp.where(at_zero, jnp.ones_like(x), x))
    moved = jax.nn.relu(modulus + bias).astype(x.dtype)
    return jnp.where(at_zero, jnp.zeros_like(x), x / modulus.astype(x.dtype) * moved)
