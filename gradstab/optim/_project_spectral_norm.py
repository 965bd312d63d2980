"""Cutting singular values after each optimizer step."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Float, Inexact, Int

from gradstab import linalg
from gradstab._checks import check_integer, check_real
from gradstab.optim._matrices import (
    as_matrix,
    is_matrix,
    is_missing,
    matmul,
    require_params,
)

PROBES = 3  # random columns beside those that are tracked
ITERATIONS = 10  # of the truncated path, at most
# How far below the limit, relative to it, a singular value must lie to be known not to
# be one of the many that the projection has put on the limit.
MARGIN = 0.01


class ProjectSpectralNormState(NamedTuple):
    """The state of `project_spectral_norm`; all but `steps` are trees like the params.

    Attributes:
        steps: how many updates there have been.
        cuts: how many of them were cut.
        distance: how far the last one was cut, in the Frobenius norm.
        largest_distance: the largest such distance so far.
        exact: how many took the exact path.
        vectors: right singular vectors, about those of the largest singular values, for
            the truncated path; a scalar where there is none.
    """

    steps: Int[Array, ""]
    cuts: Any
    distance: Any
    largest_distance: Any
    exact: Any
    vectors: Any


class Cut(NamedTuple):
    """The parts of the state that belong to one leaf."""

    cuts: Int[Array, ""]
    distance: Float[Array, ""]
    largest_distance: Float[Array, ""]
    exact: Int[Array, ""]
    vectors: Inexact[Array, "..."]


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
    others. For the kernel of a convolution of k positions and strides s along each axis
    the operator has up to √(⌈k₁/s₁⌉ ⋯ ⌈k_d/s_d⌉) c then, 3 c for plain 3 × 3 filters;
    `project_conv_norm` limits the operator itself. Leaves of less than two axes pass,
    and so do parameters whose update is None.

    The exact path is `linalg.clip_singular_values`. With `rank` k only the singular
    values above the limit are looked for, by subspace iteration from the singular
    vectors of the step before and three random ones, which find what has grown outside
    of them: O(k n²) an iteration, mostly two. The exact path is taken where none of the
    singular values found lies a hundredth below the limit, so that there may be more
    above it, and where ten iterations leave one that may be above it with a residual.
    That is a check and no certificate: what grows by a step of its own size in a single
    direction may pass the limit once. `exact_every` bounds how long; without `rank` the
    limit always holds. How often and how far it cut, and how often by the exact path,
    is in the state. Under `jax.vmap` both paths are computed.

    Args:
        maximum: the limit c, at least 0. Under `optax.inject_hyperparams`, for which
            the other two are `static_args`, it may be scheduled; there a limit below 0
            counts as 0, and NaN gives NaN.
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
        maximum = float(maximum)
    if rank is not None:
        check_integer("rank", rank, 1)
    if exact_every is not None:
        check_integer("exact_every", exact_every, 1)

    def init(params: optax.Params) -> ProjectSpectralNormState:
        leaves, tree = jax.tree.flatten(params)
        cuts = [_begin(jnp.asarray(leaf), rank) for leaf in leaves]
        return _gather(jnp.zeros((), jnp.int32), cuts, tree)

    def update(
        updates: optax.Updates, state: Any, params: optax.Params | None = None
    ) -> tuple[optax.Updates, ProjectSpectralNormState]:
        require_params("project_spectral_norm", params)
        steps = state.steps + 1
        is_due = jnp.asarray(exact_every is not None)
        if exact_every is not None:
            is_due = steps % exact_every == 0
        changes, tree = jax.tree.flatten(updates, is_leaf=is_missing)
        weights, *parts = map(tree.flatten_up_to, (params, *state[1:]))
        done = [
            (change, Cut(*cut))
            if is_missing(change)
            else _project(
                change, jnp.asarray(weight), Cut(*cut), maximum, is_due, steps
            )
            for change, weight, *cut in zip(changes, weights, *parts, strict=True)
        ]
        changed = tree.unflatten([change for change, _ in done])
        return changed, _gather(steps, [cut for _, cut in done], tree)

    return optax.GradientTransformation(init, update)


def _gather(steps: Array, cuts: Sequence[Cut], tree: Any) -> ProjectSpectralNormState:
    """Makes a tree of each part of the state."""
    parts = zip(*cuts, strict=True) if cuts else [()] * len(Cut._fields)
    return ProjectSpectralNormState(steps, *(tree.unflatten(part) for part in parts))


def _begin(leaf: Array, rank: int | None) -> Cut:
    """Makes the state of a leaf."""
    vectors = jnp.zeros(())  # not an empty array, which checkpoints may not take
    dtype = jnp.float32
    if is_matrix(leaf):
        matrix = as_matrix(leaf)
        dtype = matrix.real.dtype
        if rank is not None and 4 * rank <= min(matrix.shape):
            start = jax.random.normal(jax.random.key(0), (matrix.shape[1], rank))
            vectors = start.astype(matrix.dtype)
    # An array of its own for each field, so that the state can be donated.
    return Cut(
        cuts=jnp.zeros((), jnp.int32),
        distance=jnp.zeros((), dtype),
        largest_distance=jnp.zeros((), dtype),
        exact=jnp.zeros((), jnp.int32),
        vectors=vectors,
    )


def _project(
    change: Array,
    leaf: Array,
    cut: Cut,
    maximum: float | Array,
    is_due: Array,
    steps: Array,
) -> tuple[Array, Cut]:
    """Cuts what an update leads to; returns another update and what was done."""
    if not is_matrix(leaf):
        return change, cut
    if isinstance(maximum, jax.Array):
        return _project_matrix(change, leaf, cut, is_due, steps, scheduled=maximum)
    return _project_matrix(change, leaf, cut, is_due, steps, constant=maximum)


# Outside of `jax.jit` the conditions would be compiled at every call.
@functools.partial(jax.jit, static_argnames="constant")
def _project_matrix(
    change: Array,
    leaf: Array,
    cut: Cut,
    is_due: Array,
    steps: Array,
    *,
    constant: float = 0.0,
    scheduled: Array | None = None,
) -> tuple[Array, Cut]:
    """The same of a matrix, whose limit is `scheduled` if there is one."""
    maximum = constant if scheduled is None else scheduled
    start = as_matrix(leaf)
    moved = start + as_matrix(change)
    vectors, is_exact = cut.vectors, jnp.ones((), bool)
    if vectors.ndim:
        leading = _leading(moved, vectors, maximum, steps)
        is_exact = is_due | ~leading.is_sure
        clipped = lax.cond(
            is_exact,
            lambda: _clip(moved, maximum),
            lambda: _deflate(moved, leading, maximum),
        )
        # The largest; and a new start after what was not finite.
        found = leading.vectors[:, -vectors.shape[1] :]
        fresh = _random(steps, vectors.shape).astype(vectors.dtype)
        vectors = jnp.where(jnp.all(jnp.isfinite(found)), found, fresh)
    else:
        clipped = _clip(moved, maximum)
    distance = jnp.linalg.norm(moved - clipped)
    instead = (clipped - start).reshape(leaf.shape).astype(change.dtype)
    return jnp.where(distance == 0, change, instead), Cut(
        cuts=cut.cuts + jnp.int32(distance != 0),
        distance=distance,
        largest_distance=jnp.maximum(cut.largest_distance, distance),
        exact=cut.exact + jnp.int32(is_exact),
        vectors=vectors,
    )


def _clip(matrix: Array, maximum: float | Array) -> Array:
    if not isinstance(maximum, jax.Array):
        return linalg.clip_singular_values(matrix, maximum=maximum)
    # A scheduled limit: what lies below zero counts as zero, NaN gives NaN.
    limit = jnp.maximum(maximum.astype(jnp.finfo(matrix.dtype).dtype), 0)
    safe = jnp.where(limit == 0, jnp.ones_like(limit), limit).astype(matrix.dtype)
    scaled = matrix / safe
    clipped = linalg.clip_singular_values(scaled, maximum=1.0)
    inside = jnp.all(clipped == scaled) & (limit > 0)
    return jnp.where(inside, matrix, clipped * limit.astype(matrix.dtype))


class Leading(NamedTuple):
    """Approximate leading singular vectors of a matrix.

    Attributes:
        vectors: right singular vectors.
        images: the matrix times each of them.
        values: their singular values, ascending.
        is_sure: whether all that may be above the limit are accurate, and one lies well
            below it.
        is_crowded: whether none does, nor will.
    """

    vectors: Array
    images: Array
    values: Array
    is_sure: Array
    is_crowded: Array


def _leading(
    matrix: Array, vectors: Array, maximum: float | Array, steps: Array
) -> Leading:
    """Looks for the singular values above a limit, starting from some vectors."""
    # An error e of a singular vector moves the cut matrix by e (s - limit), and its
    # norm by the square of e.
    tolerance = jnp.sqrt(jnp.finfo(matrix.dtype).eps)
    # Random columns find what has grown where nobody looked.
    probes = _random(steps, (vectors.shape[0], PROBES)).astype(vectors.dtype)
    start = jnp.concatenate([vectors, probes], axis=1)
    start = matmul(matrix.mT.conj(), matmul(matrix, jnp.linalg.qr(start)[0]))

    def improve(state: tuple[Array, Array]) -> tuple[Array, Array, Leading]:
        count, start = state
        vectors, _ = jnp.linalg.qr(start)
        images = matmul(matrix, vectors)
        squares, rotation = jnp.linalg.eigh(matmul(images.mT.conj(), images))
        values = jnp.sqrt(jnp.maximum(squares, 0))
        vectors, images = matmul(vectors, rotation), matmul(images, rotation)
        mapped = matmul(matrix.mT.conj(), images)
        residual = jnp.linalg.norm(mapped - vectors * squares[None, :], axis=0)
        accurate = residual <= tolerance * squares[-1]
        below = squares + residual <= maximum**2
        # Such values only grow. A limit of NaN takes the exact path, which shows it.
        is_crowded = ~(values[0] <= (1 - MARGIN) * maximum)
        is_sure = jnp.all(accurate | below) & ~is_crowded
        found = Leading(vectors, images, values, is_sure, is_crowded)
        return count + 1, mapped, found

    def goes_on(state: tuple[Array, Array, Leading]) -> Array:
        count, _, found = state
        return (count < ITERATIONS) & ~found.is_sure & ~found.is_crowded

    first = improve((jnp.zeros((), jnp.int32), start))
    return lax.while_loop(goes_on, lambda state: improve(state[:2]), first)[2]


def _random(steps: Array, shape: tuple[int, ...]) -> Array:
    return jax.random.normal(jax.random.fold_in(jax.random.key(0), steps), shape)


def _deflate(matrix: Array, leading: Leading, maximum: float | Array) -> Array:
    """Subtracts what singular values have above the limit."""
    vectors, images, values, *_ = leading
    safe = jnp.where(values > maximum, values, jnp.ones_like(values))
    excess = jnp.where(values > maximum, 1 - maximum / safe, 0).astype(matrix.dtype)
    return matrix - matmul(images * excess[None, :], vectors.mT.conj())
