"""A penalty that pulls matrices towards orthonormal columns or rows."""

from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Inexact

from gradstab._checks import check_real
from gradstab.optim._matrices import (
    as_matrix,
    gram_defect,
    is_matrix,
    is_missing,
    matmul,
    require_params,
)

Reduction = Literal["mean", "sum"]


class AddOrthogonalityPenaltyState(NamedTuple):
    """The state of `add_orthogonality_penalty`.

    Attributes:
        penalty: the penalty before the last update, without its weight.
    """

    penalty: Float[Array, ""]


def orthogonality_penalty(
    weights: Any, *, reduction: Reduction = "mean"
) -> Float[Array, ""]:
    r"""Measures how far matrices are from orthonormal columns or rows, for a loss.

    .. math:: \Omega = \frac{\sum_g \|G_g - I\|_F^2}{\sum_g r_g^2}, \qquad
        G_g = W_g^H W_g \in \mathbb{C}^{r_g \times r_g}

    or the numerator alone. The Gram matrix is that of the smaller side, W Wᴴ for a wide
    W: the other one cannot be the identity. A leaf of more than two axes counts as the
    matrix of its last axis against all others: of a kernel (k, k, in, out) the filters
    are made orthonormal, which bounds the convolution by k and makes it no isometry. A
    stack of matrices counts so too; `jax.vmap` over its leading axis takes them apart.
    Leaves of less than two axes, empty ones and integers add nothing.

    The derivative, 4 W (G - I) for each, of which JAX gives the conjugate, takes one
    more product of matrices, as the value does: O(n m min(n, m)) each. Both are
    computed in float32 at least.

    Args:
        weights: a tree of arrays.
        reduction: `mean` divides by the number of entries of all Gram matrices, which
            keeps the weight of the penalty comparable between networks; `sum` does not.

    Returns:
        Ω, a scalar: 0 where there is no matrix.

    Raises:
        ValueError: if `reduction` is neither.

    References:
        Kang & Kim, "Deeply Shared Filter Bases for Parameter-Efficient Convolutional
        Neural Networks", NeurIPS 2021, arXiv:2006.05066. Their text has the sum, their
        code the mean, and both the Gram matrix of the filters alone; where there are
        more filters than a filter has weights, that penalty cannot come to 0.
    """
    _check_reduction(reduction)
    leaves = map(jnp.asarray, jax.tree.leaves(weights))
    matrices = [as_matrix(leaf) for leaf in leaves if is_matrix(leaf)]
    is_double = any(jnp.finfo(matrix.dtype).bits == 64 for matrix in matrices)
    dtype = jnp.float64 if is_double else jnp.float32
    defects = (_squared_defect(matrix).astype(dtype) for matrix in matrices)
    total = sum(defects, start=jnp.zeros((), dtype))
    entries = sum(min(matrix.shape) ** 2 for matrix in matrices)
    return total / entries if reduction == "mean" and entries else total


def add_orthogonality_penalty(
    weight: float, *, reduction: Reduction = "mean"
) -> optax.GradientTransformation:
    r"""Adds the gradient of `orthogonality_penalty`, times a weight, to the updates.

    .. math:: g \leftarrow g + \lambda \nabla_W \Omega, \qquad
        \nabla_{W_g} \Omega = \frac{4}{\sum_g r_g^2} W_g (G_g - I)

    It belongs before the optimizer, like the gradient of the loss. Of complex weights
    that must be conjugated, `jax.tree.map(jnp.conj, jax.grad(loss)(params))`, as all of
    optax needs it to descend, and what is added is too. Weight decay
    pulls orthonormal matrices off; spare them by its mask. To penalize some weights
    alone, put it in `optax.masked`::

        optax.chain(
            optax.masked(gs.optim.add_orthogonality_penalty(10.0), is_basis),
            optax.sgd(0.1, momentum=0.9),
        )

    Leaves without an update of their own add nothing to the penalty.

    Args:
        weight: λ, at least 0. Under `optax.inject_hyperparams`, for which `reduction`
            is one of the `static_args`, it may be scheduled.
        reduction: as in `orthogonality_penalty`.

    Returns:
        The transformation. Its `update` needs the parameters; the penalty is in the
        state.

    Raises:
        ValueError: if `weight` is negative or not finite, `reduction` is neither, or
            `update` is not given the parameters.

    References:
        As `orthogonality_penalty`; λ = 10 there.
    """
    if not isinstance(weight, jax.Array):
        check_real("weight", weight, 0.0)
    _check_reduction(reduction)

    def init(params: optax.Params) -> AddOrthogonalityPenaltyState:
        # Of the dtype that it has after an update.
        return AddOrthogonalityPenaltyState(
            jnp.zeros_like(orthogonality_penalty(params, reduction=reduction))
        )

    def update(
        updates: optax.Updates, state: Any, params: optax.Params | None = None
    ) -> tuple[optax.Updates, AddOrthogonalityPenaltyState]:
        require_params("add_orthogonality_penalty", params)
        matrices = jax.tree.map(
            lambda update, weight: (
                None if is_missing(update) or not is_matrix(weight) else weight
            ),
            updates,
            params,
            is_leaf=is_missing,
        )
        penalty, gradients = jax.value_and_grad(orthogonality_penalty)(
            matrices, reduction=reduction
        )

        def add(update: Any, gradient: Any) -> Any:
            if gradient is None:
                return update
            # The conjugate of what JAX gives, which is the direction of ascent.
            scaled = jnp.asarray(weight).astype(gradient.dtype) * gradient.conj()
            return update + scaled.astype(update.dtype)

        added = jax.tree.map(add, updates, gradients, is_leaf=is_missing)
        return added, AddOrthogonalityPenaltyState(penalty)

    return optax.GradientTransformation(init, update)


@jax.custom_jvp
def _squared_defect(matrix: Inexact[Array, "n m"]) -> Float[Array, ""]:
    """Computes ‖WᴴW - I‖_F², or that of W Wᴴ for a wide W."""
    return jnp.sum(jnp.abs(gram_defect(matrix)) ** 2)


@_squared_defect.defjvp
def _squared_defect_jvp(
    primals: tuple[Array], tangents: tuple[Array]
) -> tuple[Array, Array]:
    # The defect is Hermitian, which automatic differentiation cannot know: it takes
    # two products where one will do.
    (matrix,), (tangent,) = primals, tangents
    defect = gram_defect(matrix)
    is_tall = matrix.shape[0] >= matrix.shape[1]
    product = matmul(matrix, defect) if is_tall else matmul(defect, matrix)
    change = 4 * jnp.sum((product.conj() * tangent).real)
    return jnp.sum(jnp.abs(defect) ** 2), change


def _check_reduction(reduction: str) -> None:
    if reduction not in get_args(Reduction):
        choices = " or ".join(map(repr, get_args(Reduction)))
        raise ValueError(f"`reduction` must be {choices}, got {reduction!r}.")
