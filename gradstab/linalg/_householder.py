"""Orthogonal and unitary matrices as products of Householder reflectors."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Inexact

from gradstab._checks import check_integer, check_matrix
from gradstab.linalg._unit_triangular import invert_unit_upper

_dot = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)

# Narrower panels waste the matrix unit; more than eight of them take longer to compile
# than they save.
_PANEL = 64
_MAX_PANELS = 8


def householder_product(
    vectors: Inexact[Array, "n k"],
    signs: Inexact[Array, " p"] | None = None,
    *,
    columns: int | None = None,
) -> Inexact[Array, "n p"]:
    r"""Multiplies Householder reflectors into a matrix with orthonormal columns.

    .. math:: Q = H_1 H_2 \cdots H_k D, \qquad H_j = I - 2 v_j v_j^H / \|v_j\|^2

    With k = n and every diagonal D of signs (of phases, when complex) this reaches
    every orthogonal (unitary) matrix. The reflectors alone have determinant (-1)^k,
    which no step along a gradient changes.

    Entries of `vectors` above the diagonal are ignored: v_j begins at row j. The length
    of v_j is ignored too, so that the gradient for v_j is orthogonal to v_j and grows
    as 1 / ‖v_j‖. A zero vector (no entry as large as the smallest normal number) stands
    for H_j = I and has gradient zero; H_j has no limit there.

    Reflectors are multiplied a panel at a time, as I + V T Vᴴ, from the last panel to
    the first, each on the rows and columns that it reaches: O(n k p) in matrix products
    alone. Derivatives of all orders and modes are those of these products.

    Args:
        vectors: the v_j as columns, k <= n.
        signs: the diagonal of D: ±1, or numbers of modulus 1 when complex. Assumed,
            not checked. None for ones.
        columns: p, how many of the first columns of Q to build; None for all n. The
            first p columns depend on the first p reflectors alone.

    Returns:
        The first p columns of Q, orthonormal for every finite `vectors`.

    Raises:
        ValueError: if `vectors` is not one matrix with at most as many columns as rows,
            if `columns` lies outside [0, n], or if `signs` differs from `vectors` in
            dtype or does not have shape (p,).

    References:
        Mhammedi, Hellicar, Rahman & Bailey, "Efficient Orthogonal Parametrisation of
        Recurrent Neural Networks Using Householder Reflections", ICML 2017,
        arXiv:1612.00188; their reflector of order n - j, on the last n - j coordinates,
        is that of column j here, counted from zero.
        Schreiber & Van Loan, "A Storage-Efficient WY Representation for Products of
        Householder Transformations", SIAM J. Sci. Stat. Comput. 10, 1989, for
        I + V T Vᴴ; Joffrain, Low, Quintana-Ortí, van de Geijn & Van Zee, "Accumulating
        Householder Transformations, Revisited", ACM Trans. Math. Softw. 32, 2006, for
        the inverse of T.
    """
    check_reflectors("vectors", vectors)
    columns = vectors.shape[0] if columns is None else columns
    check_integer("columns", columns, 0, vectors.shape[0])
    q = _product(vectors[:, :columns], columns)
    if signs is None:
        return q
    check_diagonal("signs", signs, columns, vectors.dtype)
    return q * signs[None, :]


def compact_wy(
    vectors: Inexact[Array, "n k"], count: int
) -> tuple[list[Inexact[Array, "rows width"]], Inexact[Array, "{count} width width"]]:
    """Groups reflectors in panels V, each with the T of its product I + V T Vᴴ.

    Args:
        vectors: the reflectors as columns; entries above the diagonal are ignored.
        count: how many panels to make, all of one width. Zero vectors complete the
            last one.

    Returns:
        The panels, each without the rows that are zero in it, and the T, which are
        upper triangular.
    """
    n, k = vectors.shape
    width = max(1, -(-k // count))
    vectors = jnp.tril(vectors)
    if n == k > 0:
        # Of a reflector of one coordinate only whether it is zero counts. This makes it
        # exactly -1 with a gradient that is exactly 0.
        last = jax.lax.stop_gradient(vectors[-1, -1])
        is_last = jnp.arange(n) == n - 1
        vectors = jnp.where(
            is_last[:, None] & is_last[None, :],
            (jnp.abs(last) >= jnp.finfo(vectors.dtype).tiny).astype(vectors.dtype),
            vectors,
        )
    vectors = jnp.pad(vectors, ((0, 0), (0, count * width - k)))
    panels = jnp.split(_scale_columns(vectors), count, axis=1)
    panels = [panel[i * width :] for i, panel in enumerate(panels)]
    gram = jnp.stack([_dot(panel.conj().mT, panel) for panel in panels])
    squares = jax.lax.stop_gradient(jnp.diagonal(gram, axis1=-2, axis2=-1).real)
    zero = squares == 0
    length = jnp.sqrt(jnp.where(zero, 1, squares))
    scale = 2 / (length[:, :, None] * length[:, None, :])
    scale = jnp.where(zero[:, :, None] | zero[:, None, :], 0, scale).astype(gram.dtype)
    # -T is the inverse of the upper triangle of the Gram matrix, its diagonal halved.
    # Any constant scale gives that inverse and its derivative; this one makes the
    # diagonal 1, from the very numbers that T must match to be orthogonal.
    weights = jnp.triu(jnp.ones_like(gram[0])) - 0.5 * jnp.eye(width, dtype=gram.dtype)
    return panels, -scale * invert_unit_upper(weights[None] * scale * gram)


def check_reflectors(name: str, x: Array) -> None:
    """Checks that an argument is one matrix with at most as many columns as rows.

    Args:
        name: the argument, as the caller knows it.
        x: its value.

    Raises:
        ValueError: if it is not.
    """
    check_matrix(name, x)
    if x.shape[1] > x.shape[0]:
        raise ValueError(
            f"`{name}` must have at most as many columns (reflectors) as rows, "
            f"got shape {x.shape}."
        )


def check_diagonal(name: str, x: Array, size: int, dtype: jnp.dtype) -> None:
    """Checks that an argument is a vector of one size and dtype.

    Args:
        name: the argument, as the caller knows it.
        x: its value.
        size: the size required.
        dtype: the dtype required.

    Raises:
        ValueError: if it is not.
    """
    if x.shape != (size,) or x.dtype != dtype:
        raise ValueError(
            f"`{name}` must have shape ({size},) and dtype {dtype}, "
            f"got {x.shape} and {x.dtype}."
        )


# Compiled as one: op by op, the many small shapes would compile one by one.
@partial(jax.jit, static_argnames="columns")
def _product(vectors: Array, columns: int) -> Array:
    n, k = vectors.shape
    panels, factors = compact_wy(vectors, max(1, min(_MAX_PANELS, -(-k // _PANEL))))
    last, width = panels[-1], factors.shape[-1]
    start = n - last.shape[0]
    right = _dot(factors[-1], last[: columns - start].conj().mT)
    q = jnp.eye(n - start, columns - start, dtype=vectors.dtype) + _dot(last, right)
    identity = jnp.eye(width, dtype=vectors.dtype)
    for panel, factor in zip(panels[-2::-1], factors[-2::-1], strict=True):
        head, tail = panel[:width].conj().mT, panel[width:].conj().mT
        right = _dot(factor, jnp.concatenate([head, _dot(tail, q)], axis=1))
        q = jax.scipy.linalg.block_diag(identity, q) + _dot(panel, right)
    return q


def _scale_columns(x: Array) -> Array:
    """Divides each column by its largest entry, so that no square overflows."""
    parts = jnp.stack([x.real, x.imag]) if jnp.iscomplexobj(x) else x[None]
    largest = jnp.max(jnp.abs(parts), axis=(0, 1), keepdims=True, initial=0)
    # The product does not depend on a constant scale, nor do its derivatives.
    largest = jax.lax.stop_gradient(largest)
    parts = parts / jnp.where(largest < jnp.finfo(x.dtype).tiny, 1, largest)
    return jax.lax.complex(*parts) if jnp.iscomplexobj(x) else parts[0]
