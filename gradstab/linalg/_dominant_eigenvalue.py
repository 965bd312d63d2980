"""Iteration for the eigenvalue of largest modulus, with a certificate."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Complex, Float, Inexact

from gradstab.linalg._polar import product

_SQUARINGS = 8
_APPLICATIONS = 8


class Eigen(NamedTuple):
    """An eigenvalue with a left and a right eigenvector of unit length."""

    value: Complex[Array, "*stack"]
    left: Complex[Array, "*stack n"]
    right: Complex[Array, "*stack n"]


def dominant_eigenvalue(
    matrix: Inexact[Array, "n n"],
) -> tuple[Eigen, Bool[Array, ""]]:
    """Finds the eigenvalue of largest modulus, unless more than two share that modulus.

    A high power of A, squared and then applied to a block, spans the dominant
    eigenvectors; the projection of A onto that span has a small eigenproblem.

    Args:
        matrix: the matrix A, finite and of entries around 1.

    Returns:
        The eigenvalue with its eigenvectors, and whether it is certain: at most two
        eigenvalues dominate the small problem, both residuals are at rounding level,
        and the modulus agrees with the norm of the power.
    """
    size, finfo = matrix.shape[0], jnp.finfo(matrix.dtype)
    power, bound = squared_power(matrix, _SQUARINGS)
    width = min(size, max(16, size // 32))
    start = np.random.default_rng(0).standard_normal((size, width))
    start = jnp.asarray(start, matrix.dtype)

    def apply(_: Array, state: tuple[Array, Array]) -> tuple[Array, Array]:
        columns, rows = state
        return to_unit(product(power, columns))[0], to_unit(product(rows, power))[0]

    columns, rows = lax.fori_loop(0, _APPLICATIONS, apply, (start, start.mT))
    basis, images, block = _project(matrix, columns)
    value, vector, separate = _leading_eigen(block)
    for _ in range(2):
        vector = _inverse_step(block, value, vector)
        value = product(vector.mT.conj(), product(block, vector))[0, 0]
    right, image = product(basis, vector), product(images, vector)
    basis, images, block = _project(matrix.mT.conj(), rows.mT.conj())
    vector = product(basis.mT.conj(), right)
    for _ in range(2):
        vector = _inverse_step(block, value.conj(), vector)
    left, coimage = product(basis, vector), product(images, vector)
    value = sharpen(value, left, right, image)
    residual = jnp.maximum(
        jnp.linalg.norm(image - value * right),
        jnp.linalg.norm(coimage - value.conj() * left),
    )
    accurate = residual <= 8 * finfo.eps * jnp.linalg.norm(matrix)
    eigen = Eigen(value, left[:, 0], right[:, 0])
    return eigen, separate & accurate & (jnp.abs(value) > 0.9 * bound)


def sharpen(
    value: Complex[Array, "*stack"],
    left: Complex[Array, "*stack n 1"],
    right: Complex[Array, "*stack n 1"],
    image: Complex[Array, "*stack n 1"],
) -> Complex[Array, "*stack"]:
    """Sharpens an eigenvalue by means of both its eigenvectors.

    Args:
        value: the eigenvalue λ.
        left: the left eigenvector y.
        right: the right eigenvector x.
        image: A x.

    Returns:
        yᴴA x / yᴴx, whose error is the product of those of the two vectors, or λ where
        these are as good as orthogonal.
    """
    overlap = product(left.mT.conj(), right)[..., 0, 0]
    quotient = product(left.mT.conj(), image)[..., 0, 0]
    simple = is_simple(overlap)
    safe = jnp.where(simple, overlap, jnp.ones_like(overlap))
    return jnp.where(simple, quotient / safe, value)


def is_simple(overlap: Complex[Array, "*stack"]) -> Bool[Array, "*stack"]:
    """Tells from yᴴx of unit eigenvectors whether the eigenvalue is not defective."""
    # 1 / |yᴴx| is the condition number of the eigenvalue.
    return jnp.abs(overlap) > jnp.sqrt(jnp.finfo(overlap.dtype).eps)


def squared_power(
    matrix: Inexact[Array, "n n"], squarings: int
) -> tuple[Inexact[Array, "n n"], Float[Array, ""]]:
    """Squares a matrix a number of times k.

    Args:
        matrix: the matrix A.
        squarings: the number k.

    Returns:
        A^(2^k) divided by its Frobenius norm, and that norm to the power 1 / 2^k, which
        is an upper bound of the spectral radius for every k.
    """

    def square(_: Array, state: tuple[Array, ...]) -> tuple[Array, ...]:
        power, log_bound, weight = state
        power, norm = to_unit(product(power, power))
        weight = weight / 2
        return power, log_bound + weight * jnp.log(norm), weight

    power, norm = to_unit(matrix)
    state = power, jnp.log(norm), jnp.ones_like(norm)
    power, log_bound, _ = lax.fori_loop(0, squarings, square, state)
    return power, jnp.where(jnp.any(power != 0), jnp.exp(log_bound), 0)


def _project(matrix: Array, columns: Array) -> tuple[Array, Array, Array]:
    """Returns an orthonormal basis Q of some columns, A Q and QᴴA Q, all complex."""
    basis, _ = jnp.linalg.qr(columns)
    images = product(matrix, basis)
    dtype = np.result_type(matrix.dtype, np.complex64)
    block = product(basis.mT.conj(), images)
    return basis.astype(dtype), images.astype(dtype), block.astype(dtype)


def _leading_eigen(block: Array) -> tuple[Array, Array, Array]:
    """Estimates the dominant eigenvalue, and a unit column, of a small matrix.

    Returns:
        Both, and whether at most two eigenvalues have the largest modulus.
    """
    # 1 / eps steps separate all moduli that differ by more than rounding.
    power, _ = squared_power(block, jnp.finfo(block.dtype).nmant + 1)
    first = _longest_column(power)
    rest = power - product(first, product(first.mT.conj(), power))
    second = _longest_column(rest)
    second, _ = to_unit(second - product(first, product(first.mT.conj(), second)))
    # Of rank 1, the power leaves nothing but rounding to be the second column.
    kept = jnp.linalg.norm(rest) > 100 * jnp.finfo(block.dtype).eps
    pair = jnp.concatenate([first, jnp.where(kept, second, 0)], axis=1)
    rest = power - product(pair, product(pair.mT.conj(), power))
    (a, b), (c, d) = product(pair.mT.conj(), product(block, pair))
    mean, root = (a + d) / 2, jnp.sqrt((a - d) ** 2 / 4 + b * c)
    larger = jnp.abs(mean + root) >= jnp.abs(mean - root)
    value = mean + jnp.where(larger, root, -root)
    # Either is an eigenvector of the two by two matrix unless it is 0.
    options = jnp.stack([b, value - a]), jnp.stack([value - d, c])
    norms = jnp.linalg.norm(options[0]), jnp.linalg.norm(options[1])
    vector = jnp.where(norms[0] > norms[1], *options)
    vector = jnp.where(jnp.maximum(*norms) > 0, vector, jnp.ones_like(vector))
    vector, _ = to_unit(product(pair, vector[:, None]))
    return value, vector, jnp.linalg.norm(rest) < 1e-3


def _inverse_step(block: Array, value: Array, vector: Array) -> Array:
    """Turns a unit column towards the eigenvector of an approximate eigenvalue."""
    # Off the eigenvalue by more than rounding: at it, a pivot may vanish.
    offset = 16 * jnp.finfo(block.dtype).eps * jnp.linalg.norm(block)
    shift = value + offset.astype(block.dtype)
    shifted = block - shift * jnp.eye(len(block), dtype=block.dtype)
    return to_unit(jnp.linalg.solve(shifted, vector))[0]


def _longest_column(matrix: Array) -> Array:
    lengths = jnp.linalg.norm(matrix, axis=0)
    index = jnp.argmax(lengths)
    return to_unit(lax.dynamic_slice_in_dim(matrix, index, 1, axis=1))[0]


def to_unit(
    matrix: Inexact[Array, "*shape"],
) -> tuple[Inexact[Array, "*shape"], Float[Array, ""]]:
    """Divides by the Frobenius norm, which counts as 1 if it is 0; returns both."""
    square = jnp.sum(jnp.real(matrix * matrix.conj()))
    norm = jnp.sqrt(jnp.where(square > 0, square, 1))
    return matrix / norm.astype(matrix.dtype), norm
