"""Any optimizer on matrices with orthonormal columns or rows."""

from collections.abc import Collection
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax
from jax.tree_util import GetAttrKey
from jaxtyping import Array, Inexact

from gradstab.optim._matrices import (
    is_missing,
    map_matrices,
    matmul,
    require_params,
)
from gradstab.optim._nearest import nearest_orthonormal

# What optax's states call a running sum of gradients, which is a vector at a point.
MOMENTS = ("mu", "trace", "m", "ema")


class RiemannianState(NamedTuple):
    """The state of `riemannian`.

    Attributes:
        inner: that of the optimizer.
    """

    inner: Any


def riemannian(
    optimizer: optax.GradientTransformation, *, moments: Collection[str] = MOMENTS
) -> optax.GradientTransformationExtraArgs:
    r"""Lets an optimizer move weights along the matrices with orthonormal columns.

    .. math:: P_W(G) = G - \tfrac12 W (W^H G + G^H W), \qquad
        W' = \operatorname{polar}(W + P_W(\Delta)), \qquad M' = P_{W'}(M)

    with Δ what the optimizer makes of the gradient P_W(G), and M each of its moments,
    which is moved along to the new point. So the optimizer sees the gradient that there
    is on the manifold alone, and an optimizer of any step leaves it never: all singular
    values of W + P_W(Δ) are at least 1. A wide W has orthonormal rows. It moves *all*
    matrices that it is given; put it beside another optimizer by `optax.partition`::

        moved = gs.optim.riemannian(optax.adam(1e-3))
        optax.partition({"orthogonal": moved, "free": optax.adam(1e-3)}, labels)

    A leaf of more than two axes counts as the matrix of its last axis against all
    others, a stack of matrices too: give those apart, or map over them by `jax.vmap`.
    Leaves of less than two axes are the optimizer's own. Gradients of complex weights
    must be conjugated, as all of optax needs them to descend. It needs weights that
    are on the manifold at the start, as `jax.nn.initializers.orthogonal` makes them;
    others are moved to it by the first update, whose projection P is none there.

    Adam and its kin divide by a root of squared entries, which is no operation of the
    manifold; the step is projected after it. Weight decay has no effect: -W is normal
    to the manifold. Each update takes some ten products of O(n m²); a long step takes a
    singular value decomposition.

    Args:
        optimizer: any of optax, with the learning rate and its sign.
        moments: names of the fields of its state that hold vectors, like the gradient;
            squares of it must not be among them. Those of most of optax are known;
            Adan has `g` and `v` beside.

    Returns:
        The transformation. Its `update` needs the parameters.

    Raises:
        ValueError: if `moments` is a string, or `update` is not given the parameters.

    References:
        Absil, Mahony & Sepulchre, "Optimization Algorithms on Matrix Manifolds",
        Princeton 2008, eq. 3.35 and section 8.1.3 (transport by projection); Becigneul
        & Ganea, "Riemannian Adaptive Optimization Methods", ICLR 2019.
    """
    if isinstance(moments, str):
        raise ValueError(f"`moments` must be a collection of names, got {moments!r}.")
    inner = optax.with_extra_args_support(optimizer)

    def init(params: optax.Params) -> RiemannianState:
        return RiemannianState(inner.init(params))

    def update(
        updates: optax.Updates,
        state: Any,
        params: optax.Params | None = None,
        **extra_args: Any,
    ) -> tuple[optax.Updates, RiemannianState]:
        require_params("riemannian", params)
        gradients = map_matrices(_tangent, updates, params)
        steps, moved = inner.update(gradients, state.inner, params, **extra_args)
        changes = map_matrices(_retract, steps, params)
        # The point that rounding makes of it, where the next gradient is taken.
        points: Any = optax.apply_updates(cast(Any, params), changes)
        return changes, RiemannianState(_transport(moved, points, moments))

    return optax.GradientTransformationExtraArgs(init, update)


def _tangent(
    vector: Inexact[Array, "n m"], point: Inexact[Array, "n m"]
) -> Inexact[Array, "n m"]:
    """Projects a matrix on the tangent space at a point."""
    if point.shape[0] < point.shape[1]:
        return _tangent(vector.mT.conj(), point.mT.conj()).mT.conj()
    inner = matmul(point.mT.conj(), vector)
    return vector - matmul(point, (inner + inner.mT.conj()) / 2)


def _retract(
    step: Inexact[Array, "n m"], point: Inexact[Array, "n m"]
) -> Inexact[Array, "n m"]:
    """Gives the way from a point to where a step from it leads on the manifold."""
    end = nearest_orthonormal(point + _tangent(step, point))
    return jnp.where(jnp.all(step == 0), jnp.zeros_like(point), end - point)


def _transport(state: Any, points: Any, moments: Collection[str]) -> Any:
    """Projects the moments in the state of an optimizer on the tangent spaces."""
    tree = jax.tree.structure(points)

    def is_moment(path: tuple[Any, ...], part: Any) -> bool:
        is_named = (
            path and isinstance(path[-1], GetAttrKey) and path[-1].name in moments
        )
        return bool(is_named) and _fits(part, tree)

    def move(path: tuple[Any, ...], part: Any) -> Any:
        return map_matrices(_tangent, part, points) if is_moment(path, part) else part

    return jax.tree_util.tree_map_with_path(
        move, state, is_leaf=is_moment, is_leaf_takes_path=True
    )


def _fits(part: Any, tree: Any) -> bool:
    """Tells whether a part of a state has an array, or nothing, for each parameter."""
    try:
        pieces = tree.flatten_up_to(part)
    except (TypeError, ValueError):
        return False
    return all(is_missing(piece) or isinstance(piece, jax.Array) for piece in pieces)
