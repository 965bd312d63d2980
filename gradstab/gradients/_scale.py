"""Scaling and reversing a gradient."""

from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

T = TypeVar("T")


def scale_gradient(tree: T, factor: float | Float[Array, "..."]) -> T:
    r"""Returns its argument, and multiplies the gradient through it by a factor.

    .. math:: y = x, \qquad
        \frac{\partial L}{\partial x} = c \frac{\partial L}{\partial y}

    The value keeps every bit. Where the factor is 0 the gradient is 0 too, NaN and
    infinity included; a factor of 1 keeps every bit of it. In forward mode it is the
    tangent that is multiplied. The factor itself gets no gradient.

    Args:
        tree: a tree of arrays; those without a derivative, integers and keys, pass.
        factor: the factor c, a number or an array that broadcasts to every array.

    Returns:
        A tree like `tree`.

    References:
        Ganin et al., "Domain-Adversarial Training of Neural Networks", JMLR 17, 2016,
        arXiv:1505.07818, for c < 0.
    """
    return jax.tree.map(lambda x: _scaled(x, factor), tree)


def reverse_gradient(tree: T, strength: float | Float[Array, "..."] = 1.0) -> T:
    """Returns its argument, and multiplies the gradient through it by -`strength`.

    Args:
        tree: see `scale_gradient`.
        strength: see `factor` there.

    Returns:
        A tree like `tree`.
    """
    return scale_gradient(tree, -jnp.asarray(strength))


def _scaled(x: Any, factor: Any) -> Any:
    x = jnp.asarray(x)
    if not jnp.issubdtype(x.dtype, jnp.inexact):
        return x
    factor = jnp.asarray(factor).astype(jnp.finfo(x.dtype).dtype)
    return _identity(x, jnp.broadcast_to(factor, x.shape))


@jax.custom_jvp
def _identity(x: Array, factor: Array) -> Array:
    return x


@_identity.defjvp
def _identity_jvp(
    primals: tuple[Array, Array], tangents: tuple[Array, Array]
) -> tuple[Array, Array]:
    x, factor = primals
    # The selection keeps a NaN out of what is multiplied by 0.
    change = jnp.where(factor == 0, jnp.zeros_like(tangents[0]), tangents[0])
    if not jnp.iscomplexobj(change):
        return x, factor * change
    # A complex product would turn infinities into NaN.
    return x, jax.lax.complex(factor * change.real, factor * change.imag)
