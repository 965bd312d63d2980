"""The spectral norm: the largest singular value."""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Inexact

from gradstab._checks import check_matrix
from gradstab.linalg._polar import normalize, product


@jax.jit
def spectral_norm(matrix: Inexact[Array, "n m"]) -> Float[Array, ""]:
    r"""Returns the largest singular value of a matrix.

    .. math:: \|A\|_2 = \max_{|x| = 1} |A x|

    Not an estimate: the norm |A v| along an eigenvector v of AᴴA (AAᴴ when A is wide)
    for the largest eigenvalue, with a relative error of a few eps. O(n m min(n, m)).

    The gradient is u vᴴ, of the leading singular vectors. Where several singular values
    are the largest it is that of one of them, which is an element of the
    subdifferential; at A = 0 it is 0, another one. Second derivatives are those of a
    single largest singular value and do not exist where there are several.

    Args:
        matrix: the matrix A, of any shape, real or complex.

    Returns:
        A real scalar in the precision of `matrix`: 0 for an empty matrix, NaN if A is
        not finite.

    Raises:
        ValueError: if `matrix` is not one matrix of single or double precision; use
            `jax.vmap` for a stack.
    """
    check_matrix("matrix", matrix)
    if matrix.size == 0:
        return jnp.zeros((), jnp.finfo(matrix.dtype).dtype)
    if matrix.shape[0] < matrix.shape[1]:
        matrix = matrix.mT.conj()
    scaled, scale = normalize(matrix)
    constant = lax.stop_gradient(scaled)
    # Some eigensolvers never return from NaN.
    gram = jnp.nan_to_num(product(constant.mT.conj(), constant))
    _, vectors = jnp.linalg.eigh(gram)
    return scale * _gain(scaled, vectors[:, -1:])


@jax.custom_jvp
def _gain(matrix: Array, vector: Array) -> Array:
    """Returns |A v| as a function of A alone, v being its leading singular vector."""
    return jnp.linalg.norm(product(matrix, vector))


@_gain.defjvp
def _gain_jvp(
    primals: tuple[Array, ...], tangents: tuple[Array, ...]
) -> tuple[Array, Array]:
    matrix, change = primals[0], tangents[0]
    vector: Array = _leading_vector(*primals)
    image = product(matrix, vector)
    gain: Array = _gain(*primals)
    slope = jnp.real(product(image.mT.conj(), product(change, vector))[0, 0])
    return gain, jnp.where(gain > 0, slope / jnp.where(gain > 0, gain, 1), 0)


@jax.custom_jvp
def _leading_vector(matrix: Array, vector: Array) -> Array:
    """Returns v as a function of A, for derivatives of the gradient."""
    return vector


@_leading_vector.defjvp
def _leading_vector_jvp(
    primals: tuple[Array, ...], tangents: tuple[Array, ...]
) -> tuple[Array, Array]:
    matrix, change = primals[0], tangents[0]
    vector: Array = _leading_vector(*primals)
    adjoint, image = matrix.mT.conj(), product(matrix, vector)
    # Both sides of AᴴA v = λ v, bordered by vᴴ dv = 0.
    square = jnp.sum(image * image.conj()) * jnp.eye(len(vector), dtype=matrix.dtype)
    shifted = product(adjoint, matrix) - square
    corner = jnp.zeros((1, 1), matrix.dtype)
    bordered = jnp.block([[shifted, vector], [vector.mT.conj(), corner]])
    target = product(change.mT.conj(), image)
    target = -target - product(adjoint, product(change, vector))
    solution = jnp.linalg.solve(bordered, jnp.concatenate([target, corner]))
    return vector, solution[:-1]
