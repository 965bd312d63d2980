"""A bound on the norm of a convolution that holds for images of every size."""

import math
from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Inexact

from gradstab._checks import check_integer, check_sizes
from gradstab.linalg._conv_singular_values import check_kernel, conv_symbols, polyphase
from gradstab.linalg._polar import normalize
from gradstab.linalg._spectral_norm import spectral_norm


def conv_norm_bound(
    kernel: Inexact[Array, "*positions in out"],
    *,
    strides: int | Sequence[int] = 1,
    oversampling: int = 8,
) -> Float[Array, ""]:
    r"""Bounds the norm of a convolution from above, for images of every size.

    .. math:: \|C\|_2 \le \sup_\theta \|A_\theta\|_2 \le
        \Bigl(\cos \frac{\pi}{2 m}\Bigr)^{-d} \max_{\theta \in G} \|A_\theta\|_2,
        \qquad A_\theta = \sum_q e^{-i \theta \cdot q} K_q

    with m the oversampling, d the number of axes along which the kernel has more than
    one position (of those left by the strides, see `conv_singular_values`), and G the
    grid of m (k - 1) equispaced frequencies along each. The bound holds for circular
    padding and for zeros of any number, 'SAME' and 'VALID' among them, and up to
    rounding; it exceeds the supremum, which is what the norm tends to as images grow,
    by that factor at most: 4 % for m = 8 and two axes.

    Why. Zeros around an image make the convolution a part of that of the infinite
    lattice, whose norm is the supremum; a circular one has its norm on a grid. Take
    unit vectors u, v and the frequency at which vᴴ A u is the supremum. Along one axis,
    centered and turned by a phase, its real part T is a trigonometric polynomial of
    frequencies up to (k - 1)/2 whose modulus is largest there, so that by a lemma of M.
    Riesz T at a distance t is at least cos((k - 1) t / 2) of that. The next point of
    the grid is at most π/(m (k - 1)) away. Repeat for each axis, from there.

    O(mᵈ (k - 1)ᵈ in out min(in, out)). The gradient is that of the frequency that has
    the maximum, and the average of those that tie; see `spectral_norm`.

    Args:
        kernel: K, of shape (*positions, in, out) as in Flax.
        strides: strides of the convolution, for all axes or for each.
        oversampling: m, at least 2.

    Returns:
        The bound, in the real dtype of `kernel`: NaN if K is not finite.

    Raises:
        ValueError: if `kernel` has no axis of positions, an empty one, or a dtype below
            single precision, `strides` is no integer >= 1 for each, or `oversampling`
            is none >= 2.

    References:
        The derivation is ours. Pfister & Bresler, "Bounding Multivariate Trigonometric
        Polynomials with Applications to Filter Bank Design", arXiv:1802.09588, bound
        scalar ones by the larger factor (1 - 1/m)^(-d/2).
    """
    strides = check_sizes("strides", strides, check_kernel("kernel", kernel))
    check_integer("oversampling", oversampling, 2)
    return _bound(kernel, strides, oversampling)


@partial(jax.jit, static_argnums=(1, 2))
def _bound(kernel: Array, strides: tuple[int, ...], oversampling: int) -> Array:
    scaled, scale = normalize(polyphase(kernel, strides))
    degrees = [size - 1 for size in scaled.shape[:-2]]
    sizes = tuple(max(1, oversampling * degree) for degree in degrees)
    symbols = conv_symbols(scaled, sizes)
    norms = jax.vmap(spectral_norm)(symbols.reshape(-1, *symbols.shape[-2:]))
    axes = sum(degree > 0 for degree in degrees)
    return scale * jnp.max(norms) / math.cos(math.pi / (2 * oversampling)) ** axes
