"""Moving weights to orthonormal columns or rows after each optimizer step."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from gradstab.optim._matrices import (
    as_matrix,
    is_matrix,
    is_missing,
    require_params,
)
from gradstab.optim._nearest import nearest_orthonormal


class ProjectOrthogonalState(NamedTuple):
    """The state of `project_orthogonal`.

    Attributes:
        distance: a tree like the parameters: how far the last update was moved, in the
            Frobenius norm; 0 for what is no matrix.
    """

    distance: Any


def project_orthogonal() -> optax.GradientTransformation:
    r"""Moves every matrix to the nearest with orthonormal columns, or rows if wide.

    .. math:: W' = U V^H, \qquad W + \Delta W = U S V^H

    Projected gradient descent, if it comes last in a chain. To constrain some leaves
    alone, put it in `optax.masked`::

        optax.chain(
            optax.adam(1e-3),
            optax.masked(gs.optim.project_orthogonal(), is_recurrent),
        )

    A leaf of more than two axes counts as the matrix of its last axis against all
    others, which for a kernel (k, k, in, out) of a convolution makes its filters
    orthonormal, bounds the convolution by k, and makes it no isometry. A stack of
    matrices counts so too: give those apart, or map over them by `jax.vmap`. Leaves of
    less than two axes pass, and so do parameters whose update is None.

    From nearby, as after most steps, by products of matrices alone, two of O(n m²) for
    each of at most six iterations; else by `linalg.polar`. Under `jax.vmap`
    both are computed. The optimizer before it does not know the constraint: its
    moments and its step have parts that the projection takes away again. `riemannian`
    takes them away first.

    Returns:
        The transformation. Its `update` needs the parameters. A matrix that is not
        finite becomes NaN throughout.

    Raises:
        ValueError: if `update` is not given the parameters.

    References:
        Higham, "Computing the Polar Decomposition - with Applications", SIAM Journal
        on Scientific and Statistical Computing 7(4), 1986.
    """

    def init(params: optax.Params) -> ProjectOrthogonalState:
        return ProjectOrthogonalState(jax.tree.map(_no_distance, params))

    def update(
        updates: optax.Updates, state: Any, params: optax.Params | None = None
    ) -> tuple[optax.Updates, ProjectOrthogonalState]:
        require_params("project_orthogonal", params)
        changes, tree = jax.tree.flatten(updates, is_leaf=is_missing)
        weights, distances = map(tree.flatten_up_to, (params, state.distance))
        done = [
            (change, distance)
            if is_missing(change) or not is_matrix(weight)
            else _project(change, jnp.asarray(weight))
            for change, weight, distance in zip(
                changes, weights, distances, strict=True
            )
        ]
        projected = tree.unflatten([change for change, _ in done])
        moved = tree.unflatten([distance for _, distance in done])
        return projected, ProjectOrthogonalState(moved)

    return optax.GradientTransformation(init, update)


def _no_distance(leaf: Any) -> Float[Array, ""]:
    dtype = as_matrix(jnp.asarray(leaf)).real.dtype if is_matrix(leaf) else jnp.float32
    return jnp.zeros((), dtype)


def _project(change: Array, leaf: Array) -> tuple[Array, Float[Array, ""]]:
    """Projects what an update leads to; gives another update, and how far it was."""
    start = as_matrix(leaf)
    moved = start + as_matrix(change)
    nearest = nearest_orthonormal(moved)
    distance = jnp.linalg.norm(moved - nearest)
    # Rounding alone is no reason to move, or a gradient of 0 would move it.
    rounding = 10 * float(jnp.finfo(leaf.dtype).eps) * min(start.shape) ** 0.5
    is_there = distance <= rounding
    instead = (nearest - start).reshape(leaf.shape).astype(change.dtype)
    return jnp.where(is_there, change, instead), jnp.where(is_there, 0, distance)
