"""Matrices given by the factors of their singular value decomposition."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Inexact

from gradstab.linalg._householder import (
    check_diagonal,
    check_reflectors,
    compact_wy,
    householder_product,
)

_dot = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)


def svd_product(
    left_vectors: Inexact[Array, "m k1"],
    singular_values: Float[Array, " p"],
    right_vectors: Inexact[Array, "n k2"],
    signs: Inexact[Array, " p"] | None = None,
) -> Inexact[Array, "m n"]:
    r"""Builds a matrix from reflectors and singular values.

    .. math:: W = U D \operatorname{diag}(s) V^H

    U and V are the first p = min(m, n) columns of the `householder_product` of each set
    of reflectors, and D is the diagonal of signs. With p reflectors on either side this
    reaches every matrix: the reflectors alone fix the sign of det W, and D turns it.

    Where k1 and k2 are at most p / 4, W is a diagonal plus a matrix of rank k1 + k2,
    O(m n (k1 + k2)), and neither U nor V is formed; otherwise O(m n p). The gradient is
    singular where that of `householder_product` is; equal and zero singular values are
    no exception.

    Args:
        left_vectors: the reflectors of U as columns, k1 <= m.
        singular_values: s, real; |s_i| is a singular value of W.
        right_vectors: the reflectors of V as columns, k2 <= n.
        signs: the diagonal of D: ±1, or numbers of modulus 1 when complex. Assumed, not
            checked. None for ones.

    Returns:
        W, in the dtype of the reflectors.

    Raises:
        ValueError: if a set of reflectors is not one matrix with at most as many
            columns as rows, or if shapes or dtypes do not fit together.

    References:
        Zhang, Lei & Dhillon, "Stabilizing Gradients for Deep Neural Networks via
        Efficient SVD Parameterization", ICML 2018, arXiv:1803.09327. The signs are not
        in the paper.
    """
    check_reflectors("left_vectors", left_vectors)
    check_reflectors("right_vectors", right_vectors)
    dtype = left_vectors.dtype
    if right_vectors.dtype != dtype:
        raise ValueError(
            f"`right_vectors` must have the dtype of `left_vectors`, {dtype}, "
            f"got {right_vectors.dtype}."
        )
    p = min(left_vectors.shape[0], right_vectors.shape[0])
    check_diagonal("singular_values", singular_values, p, jnp.finfo(dtype).dtype)
    diagonal = singular_values.astype(dtype)
    if signs is not None:
        check_diagonal("signs", signs, p, dtype)
        diagonal = diagonal * signs
    if 4 * max(left_vectors.shape[1], right_vectors.shape[1]) <= p:
        return _update_diagonal(left_vectors, diagonal, right_vectors)
    return _multiply_factors(left_vectors, diagonal, right_vectors)


@jax.jit
def _multiply_factors(
    left_vectors: Array, diagonal: Array, right_vectors: Array
) -> Array:
    p = diagonal.shape[0]
    left = householder_product(left_vectors, columns=p)
    right = householder_product(right_vectors, columns=p)
    return _dot(left, (right * diagonal.conj()[None, :]).conj().mT)


@jax.jit
def _update_diagonal(
    left_vectors: Array, diagonal: Array, right_vectors: Array
) -> Array:
    m, n, p = left_vectors.shape[0], right_vectors.shape[0], diagonal.shape[0]
    update = _dot(*update_of_diagonal(left_vectors, diagonal, right_vectors))
    return jnp.pad(jnp.diag(diagonal), ((0, m - p), (0, n - p))) + update


def update_of_diagonal(
    left_vectors: Inexact[Array, "m k1"],
    diagonal: Inexact[Array, " p"],
    right_vectors: Inexact[Array, "n k2"],
) -> tuple[Inexact[Array, "m k"], Inexact[Array, "k n"]]:
    """Multiplies out (E + L A) diag(d) (E + R B)ᴴ, with U = E + L A and V = E + R B.

    Args:
        left_vectors: the reflectors of U as columns.
        diagonal: d, of the length of the shorter side.
        right_vectors: the reflectors of V as columns.

    Returns:
        Columns and rows, k = k1 + k2 of each, whose product is what U diag(d) Vᴴ adds
        to diag(d).
    """
    m, n, p = left_vectors.shape[0], right_vectors.shape[0], diagonal.shape[0]
    (left,), (left_factor,) = compact_wy(left_vectors, 1)
    (right,), (right_factor,) = compact_wy(right_vectors, 1)
    scaled = _dot(left_factor, left[:p].conj().mT) * diagonal[None, :]
    mixed = _dot(right[:p], right_factor.conj().mT)
    rows = jnp.pad(scaled, ((0, 0), (0, n - p)))
    rows = rows + _dot(_dot(scaled, mixed), right.conj().mT)
    columns = jnp.pad(diagonal[:, None] * mixed, ((0, m - p), (0, 0)))
    return (
        jnp.concatenate([left, columns], axis=1),
        jnp.concatenate([rows, right.conj().mT], axis=0),
    )
