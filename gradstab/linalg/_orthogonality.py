"""The distance of a matrix from orthonormal columns or rows."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Inexact

from gradstab._checks import check_matrix


def orthogonality_error(q: Inexact[Array, "n m"]) -> Float[Array, ""]:
    r"""Measures how far a matrix is from having orthonormal columns or rows.

    .. math:: \|Q^H Q - I\|_1 = \max_j \sum_i |(Q^H Q - I)_{ij}|

    and the same with Q Qᴴ for a wide Q, whose rows are meant. O(n m min(n, m)).

    Divided by `max(q.shape) * jnp.finfo(q.dtype).eps` it is the residual ratio by which
    LAPACK tests its own orthogonal factors; at most 30 passes there, and does for every
    map of this package that is called orthogonal or unitary.

    Args:
        q: any matrix.

    Returns:
        The error, in the real dtype of `q`: 0 for an empty matrix, NaN if `q` holds
        one.

    Raises:
        ValueError: if `q` is not one matrix of single or double precision.
    """
    check_matrix("q", q)
    tall = q if q.shape[0] >= q.shape[1] else q.mT.conj()
    gram = jnp.matmul(tall.mT.conj(), tall, precision=lax.Precision.HIGHEST)
    defect = jnp.abs(gram - jnp.eye(gram.shape[0], dtype=q.dtype))
    return jnp.max(jnp.sum(defect, axis=0), initial=0)
