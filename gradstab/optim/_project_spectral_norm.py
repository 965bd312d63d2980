"""Cutting singular values after each optimizer step."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Float, Inexact, Int

from gradstab import linalg
from gradstab._checks import check_integer, check_real

_matmul = functools.partial(jnp.matmul, precision=lax.Precision.HIGHEST)

ITERATIONS = 10  # of the truncated path, at most
# How far below the limit, relative to it, a singular value must lie to be known not to
# be one of the many that the projection has put on the limit.
MARGIN = 0.01


class Cut(NamedTuple):
    """What has been done to one leaf, and what the truncated path goes on from.

    Attributes:
        cuts: how many updates were cut.
        distance: how far the last update was cut, in the Frobenius norm.
        largest_distance: the largest such distance so far.
        exact: how many updates took the exact path.
        vectors: right singular vectors of the leaf, about those of its largest singular
            values; none on the exact path.
    """

    cuts: Int[Array, ""]
    distance: Float[Array, ""]
    largest_distance: Float[Array, ""]
    exact: Int[Array, ""]
    vectors: Inexact[Array, "columns rank"]


class ProjectSpectralNormState(NamedTuple):
    """The state of `project_spectral_norm`.

    Attributes:
        steps: how many updates there have been.
        leaves: a tree like the parameters: a `Cut` for each matrix, None for others.
    """

    steps: Int[Array, ""]
    leaves: Any


def project_spectral_norm(
    maximum: float, *, rank: int | None = None, exact_every: int | None = None
) -> optax.GradientTransformation:
    r"""Moves every matrix to the nearest whose spectral norm is at most a limit.

    .. math:: W' = U \, \mathrm{diag}(\min(s, c)) \, V^H, \qquad
        W + \Delta W = U \, \mathrm{diag}(s) \, V^H

    with c the limit: projected gradient descent, if it comes last in a chain. Updates
    that lead to a matrix within the limit are left as they are. To constrain some
    leaves alone, put it in `optax.masked`::

        optax.chain(
            optax.sgd(1.0),
            optax.masked(gs.optim.project_spectral_norm(1.8), is_candidate),
        )

    A leaf of more than two axes counts as the matrix of its last axis against all
    others, which for a kernel of a convolution bounds that matrix and not the operator.
    Leaves of less than two axes pass.

    The exact path is `linalg.clip_singular_values`. With `rank` k only the singular
    values above the limit are looked for, by subspace iteration in k columns from the
    singular vectors of the step before: O(k n²) an iteration, mostly one or two. The
    exact path is taken where none of the k singular values lies a hundredth below the
    limit, so that there may be more above it, and where ten iterations leave those
    above it, or the largest, with a residual. What is orthogonal to all k columns is
    not seen; rounding brings it in within a few steps. How often and how far it cut,
    and how often by the exact path, is in the state. Under `jax.vmap` both paths are
    computed.

    Args:
        maximum: the limit c, at least 0.
        rank: the number k of columns; None for the exact path. Matrices of fewer than
            4 k rows or columns take that anyway.
        exact_every: how many updates there are from one that takes the exact path in
            any case to the next; None for no such update.

    Returns:
        The transformation. Its `update` needs the parameters.

    Raises:
        ValueError: if `maximum` is negative or not finite, `rank` or `exact_every` is
            no integer >= 1, or `update` is not given the parameters.

    References:
        Kanai, Fujiwara & Iwamura, "Preventing Gradient Explosions in Gated Recurrent
        Units", NeurIPS 2017. They choose k anew at each step from bounds on all
        singular values; compiled programs want a fixed one.
    """
    if not isinstance(maximum, jax.Array):
        check_real("maximum", maximum, 0.0)
    if rank is not None:
        check_integer("rank", rank, 1)
    if exact_every is not None:
        check_integer("exact_every", exact_every, 1)

    def init(params: optax.Params) -> ProjectSpectralNormState:
        leaves = jax.tree.map(lambda leaf: _begin(leaf, rank), params)
        return ProjectSpectralNormState(jnp.zeros((), jnp.int32), leaves)

    def update(
        updates: optax.Updates, state: Any, params: optax.Params | None = None
    ) -> tuple[optax.Updates, ProjectSpectralNormState]:
        if params is None:
            raise ValueError(
                "project_spectral_norm needs `params`: pass them to `update`."
            )
        steps = state.steps + 1
        is_due = jnp.asarray(exact_every is not None)
        if exact_every is not None:
            is_due = steps % exact_every == 0
        flat, tree = jax.tree.flatten(updates)
        weights = tree.flatten_up_to(params)
        cuts = tree.flatten_up_to(state.leaves)
        pairs = [
            _project(change, weight, cut, maximum, is_due)
            for change, weight, cut in zip(flat, weights, cuts, strict=True)
        ]
        changed, cuts = zip(*pairs, strict=True) if pairs else ((), ())
        state = ProjectSpectralNormState(steps, tree.unflatten(cuts))
        return tree.unflatten(changed), state

    return optax.GradientTransformation(init, update)


def _begin(leaf: Array, rank: int | None) -> Cut | None:
    """Makes the state of a leaf; None for one that is no matrix."""
    if leaf.ndim < 2 or leaf.size == 0 or not jnp.issubdtype(leaf.dtype, jnp.inexact):
        return None
    matrix = _as_matrix(leaf)
    columns = 0 if rank is None or 4 * rank > min(matrix.shape) else rank
    # Any start will do that is orthogonal to no singular vector.
    start = jax.random.normal(jax.random.key(0), (matrix.shape[1], columns))
    zero = jnp.zeros((), jnp.finfo(matrix.dtype).dtype)
    never = jnp.zeros((), jnp.int32)
    return Cut(never, zero, zero, never, start.astype(matrix.dtype))


def _project(
    change: Array, leaf: Array, cut: Cut | None, maximum: float, is_due: Array
) -> tuple[Array, Cut | None]:
    """Cuts what an update leads to; returns another update and what was done."""
    if cut is None:
        return change, None
    start = _as_matrix(leaf)
    moved = start + _as_matrix(change)
    if cut.vectors.shape[1]:
        leading = _leading(moved, cut.vectors, maximum)
        vectors, is_exact = leading.vectors, is_due | ~leading.is_sure
        clipped = lax.cond(
            is_exact,
            lambda: _clip(moved, maximum),
            lambda: _deflate(moved, leading, maximum),
        )
    else:
        vectors, is_exact = cut.vectors, jnp.ones((), bool)
        clipped = _clip(moved, maximum)
    distance = jnp.linalg.norm(moved - clipped)
    instead = (clipped - start).reshape(leaf.shape).astype(change.dtype)
    return jnp.where(distance == 0, change, instead), Cut(
        cuts=cut.cuts + (distance != 0),
        distance=distance,
        largest_distance=jnp.maximum(cut.largest_distance, distance),
        exact=cut.exact + is_exact,
        vectors=vectors,
    )


def _clip(matrix: Array, maximum: float) -> Array:
    if not isinstance(maximum, jax.Array):
        return linalg.clip_singular_values(matrix, maximum=maximum)
    limit = maximum.astype(jnp.finfo(matrix.dtype).dtype)
    safe = jnp.where(limit > 0, limit, jnp.ones_like(limit)).astype(matrix.dtype)
    clipped = linalg.clip_singular_values(matrix / safe, maximum=1.0)
    return clipped * limit.astype(matrix.dtype)


class Leading(NamedTuple):
    """Approximate leading singular vectors of a matrix.

    Attributes:
        vectors: right singular vectors.
        images: the matrix times each of them.
        values: their singular values, ascending.
        is_sure: whether those above the limit and the largest are accurate, and one
            lies well below it.
    """

    vectors: Array
    images: Array
    values: Array
    is_sure: Array


def _leading(matrix: Array, vectors: Array, maximum: float) -> Leading:
    """Looks for the singular values above a limit, starting from some vectors."""
    # An error e of a singular vector moves the cut matrix by e (s - limit), and its
    # norm by the square of e.
    tolerance = jnp.sqrt(jnp.finfo(matrix.dtype).eps)

    def improve(state: tuple[Array, Array]) -> tuple[Array, Array, Leading]:
        count, start = state
        vectors, _ = jnp.linalg.qr(start)
        images = _matmul(matrix, vectors)
        squares, rotation = jnp.linalg.eigh(_matmul(images.mT.conj(), images))
        values = jnp.sqrt(jnp.maximum(squares, 0))
        vectors, images = _matmul(vectors, rotation), _matmul(images, rotation)
        mapped = _matmul(matrix.mT.conj(), images)
        residual = jnp.linalg.norm(mapped - vectors * squares[None, :], axis=0)
        accurate = residual <= tolerance * squares[-1]
        is_sure = jnp.all(accurate | (values <= maximum)) & accurate[-1]
        is_sure &= values[0] <= (1 - MARGIN) * maximum
        return count + 1, mapped, Leading(vectors, images, values, is_sure)

    start = improve((jnp.zeros((), jnp.int32), vectors))
    _, _, found = lax.while_loop(
        lambda state: (state[0] < ITERATIONS) & ~state[2].is_sure,
        lambda state: improve(state[:2]),
        start,
    )
    return found


def _deflate(matrix: Array, leading: Leading, maximum: float) -> Array:
    """Subtracts what singular values have above the limit."""
    vectors, images, values, _ = leading
    safe = jnp.where(values > maximum, values, jnp.ones_like(values))
    excess = jnp.where(values > maximum, 1 - maximum / safe, 0).astype(matrix.dtype)
    return matrix - _matmul(images * excess[None, :], vectors.mT.conj())


def _as_matrix(leaf: Array) -> Array:
    low = jnp.finfo(leaf.dtype).bits < 32
    leaf = leaf.astype(jnp.float32) if low else leaf
    return leaf.reshape(-1, leaf.shape[-1])
