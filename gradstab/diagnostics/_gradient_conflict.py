"""Whether two losses pull a model the same way."""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gradstab._precision import widened
from gradstab.linalg._largest import largest_modulus


class GradientConflict(NamedTuple):
    """How the gradients of two losses lie to each other.

    Attributes:
        cosine: of the angle between them: 1 where they agree, -1 where each undoes the
            other, 0 where one of them is 0.
        first_norm: the norm of the first.
        second_norm: the norm of the second.
    """

    cosine: Float[Array, ""]
    first_norm: Float[Array, ""]
    second_norm: Float[Array, ""]


def gradient_conflict(
    first: Callable[[Any], Array], second: Callable[[Any], Array], at: Any
) -> GradientConflict:
    r"""Compares the gradients of two losses at one point.

    .. math:: \cos = \frac{\operatorname{Re} \langle g_1, g_2 \rangle}
        {\|g_1\| \, \|g_2\|}, \qquad g_i = \nabla L_i

    over all leaves together. The point may be a tree of parameters, or what one stage
    of a network hands to the next: then the losses are what comes after it. Below 0 a
    step against one gradient makes the other loss grow. Both losses are differentiated
    once; no square overflows.

    Args:
        first: a loss of the point, a scalar.
        second: another.
        at: the point, a tree of real or complex arrays.

    Returns:
        The cosine and both norms; NaN where a gradient is not finite.

    References:
        Yu et al., "Gradient Surgery for Multi-Task Learning", NeurIPS 2020,
        arXiv:2001.06782, definition 1.
    """
    (one, first_norm), (other, second_norm) = (
        _normalized(jax.tree.leaves(jax.grad(loss)(at))) for loss in (first, second)
    )
    products = (
        jnp.sum((x.conj() * y).real).astype(first_norm.dtype)
        for x, y in zip(one, other, strict=True)
    )
    cosine = sum(products, start=jnp.zeros_like(first_norm))
    return GradientConflict(cosine, first_norm, second_norm)


def _normalized(leaves: Sequence[Array]) -> tuple[list[Array], Float[Array, ""]]:
    """Divides arrays by their common norm, if that is not 0; in float32 at least."""
    wide = [widened(leaf) for leaf in leaves]
    is_double = any(jnp.finfo(leaf.dtype).bits == 64 for leaf in wide)
    dtype = jnp.float64 if is_double else jnp.float32
    zero = jnp.zeros((), dtype)
    peaks = (largest_modulus(leaf).astype(dtype) for leaf in wide)
    scale = _or_one(functools.reduce(jnp.maximum, peaks, zero))
    scaled = [leaf / scale.astype(leaf.dtype) for leaf in wide]
    squares = (jnp.sum(jnp.abs(leaf) ** 2).astype(dtype) for leaf in scaled)
    norm = jnp.sqrt(sum(squares, start=zero))
    units = [leaf / _or_one(norm).astype(leaf.dtype) for leaf in scaled]
    return units, norm * scale


def _or_one(size: Float[Array, ""]) -> Float[Array, ""]:
    return jnp.where(size == 0, jnp.ones_like(size), size)
