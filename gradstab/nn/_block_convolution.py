"""Convolutions of two positions that keep norms, put before a kernel or taken away."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from gradstab import linalg


@partial(jax.jit, static_argnames=("axis", "is_late"))
def block_convolve(
    frame: Float[Array, "channels rank"],
    kernel: Float[Array, "*positions channels out"],
    axis: int,
    *,
    is_late: bool,
) -> Float[Array, "*longer channels out"]:
    r"""Convolves the factor [P, I - P] with a kernel, along one axis of positions.

    .. math:: K'_q = P K_q + (I - P) K_{q-1}, \qquad P = U U^T

    The Fourier transform P + e^{-iθ}(I - P) of the factor is unitary for every
    orthogonal projection P. O(positions · channels · rank · out).

    Args:
        frame: U, whose columns are orthonormal.
        kernel: K.
        axis: the axis of positions.
        is_late: whether the factor is [I - P, P] instead.

    Returns:
        K', with one position more along `axis`.
    """
    within = _project(frame, kernel)
    first, second = kernel - within, within
    if not is_late:
        first, second = second, first
    return _pad(first, axis, (0, 1)) + _pad(second, axis, (1, 0))


@partial(jax.jit, static_argnames=("axis", "rank", "is_late"))
def block_deconvolve(
    kernel: Float[Array, "*positions channels out"],
    axis: int,
    rank: int,
    *,
    is_late: bool,
) -> tuple[Float[Array, "channels rank"], Float[Array, "*shorter channels out"]]:
    """Takes away the factor that `block_convolve` put before a kernel.

    The columns of the matrices at the first position lie in the range of P and those at
    the last in its complement. Where that leaves a choice, or where it does not hold
    since the kernel has no such factor, P is the projection on the leading eigenvectors
    of the difference of what is in the two.

    Args:
        kernel: K', with two positions or more along `axis`.
        axis: the axis of positions.
        rank: of P.
        is_late: as `block_convolve` was told.

    Returns:
        U and K. Of a kernel without such a factor, what does not fit into K is left
        out.
    """
    end = kernel.shape[axis] - 1
    ends = [lax.index_in_dim(kernel, place, axis, False) for place in (0, end)]
    low, high = (_stretch(part) for part in ends)
    difference = high - low if is_late else low - high
    # Some eigensolvers never return from NaN, which K still has.
    _, vectors = jnp.linalg.eigh(jnp.nan_to_num(difference))
    frame = vectors[:, vectors.shape[1] - rank :]
    within = _project(frame, kernel)
    outside = kernel - within
    early, late = (outside, within) if is_late else (within, outside)
    shorter = lax.slice_in_dim(early, 0, end, axis=axis) + lax.slice_in_dim(
        late, 1, end + 1, axis=axis
    )
    return frame, shorter


def _project(frame: Array, kernel: Array) -> Array:
    """Multiplies each matrix of a kernel by the projection on a frame."""
    inner = jnp.einsum(
        "cr,...cn->...rn", frame, kernel, precision=lax.Precision.HIGHEST
    )
    return jnp.einsum("cr,...rn->...cn", frame, inner, precision=lax.Precision.HIGHEST)


def _stretch(taps: Float[Array, "*positions channels out"]) -> Float[Array, "c c"]:
    """Returns (A Aᵀ)^(1/2) of all columns A, without squares that would lose digits."""
    matrix = jnp.moveaxis(taps, -2, 0).reshape(taps.shape[-2], -1)
    stretch = jnp.matmul(
        matrix, linalg.polar(matrix).mT, precision=lax.Precision.HIGHEST
    )
    return (stretch + stretch.mT) / 2


def _pad(kernel: Array, axis: int, widths: tuple[int, int]) -> Array:
    none = (0, 0)
    return jnp.pad(kernel, [widths if i == axis else none for i in range(kernel.ndim)])
