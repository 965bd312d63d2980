"""Scaling convolutions down to a norm after each optimizer step."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from gradstab import linalg
from gradstab._checks import check_integer, check_real
from gradstab._precision import widened
from gradstab.optim._matrices import is_matrix, is_missing, require_params


class ProjectConvNormState(NamedTuple):
    """The state of `project_conv_norm`.

    Attributes:
        bounds: a tree like the parameters: the bound on the norm that the last update
            led to, before it was cut, infinite where that overflows; 0 for what is no
            kernel.
    """

    bounds: Any


def project_conv_norm(
    maximum: float, *, strides: int | Sequence[int] = 1, oversampling: int = 8
) -> optax.GradientTransformation:
    r"""Scales every kernel of a convolution so that the operator keeps a limit.

    .. math:: K' = \min \Bigl(1, \frac{c}{b(K + \Delta K)} \Bigr) (K + \Delta K)

    with c the limit and b the bound of `linalg.conv_norm_bound`, so that the norm of
    the convolution is at most c for images of every size, with circular padding or with
    zeros. `project_spectral_norm` cuts the matrix of a kernel instead, which leaves the
    operator up to the square root of the number of its positions times as large.

    Scaling is no projection on the nearest kernel, for which there is no closed form;
    it keeps the direction of the filters. The bound exceeds the norm by 4 % at most for
    two axes and an oversampling of 8, and by so much the norm may stay below c where it
    cuts. The limit holds up to a rounding of the start's size, since optax adds the
    update to the start: keep weights in float32 where the model computes in less.

    Leaves of three axes or more count as kernels (*positions, in, out), others
    pass, and so do parameters whose update is None. To constrain some leaves alone,
    and for a model with several strides, put it in `optax.masked`::

        optax.chain(
            optax.adam(1e-3),
            optax.masked(gs.optim.project_conv_norm(1.0), is_plain_kernel),
            optax.masked(gs.optim.project_conv_norm(1.0, strides=2), is_strided_kernel),
        )

    Args:
        maximum: the limit c, at least 0. Under `optax.inject_hyperparams`, for which
            the other two are `static_args`, it may be scheduled; there a limit below 0
            counts as 0, and NaN gives NaN.
        strides: strides of the convolutions, for all axes or for each.
        oversampling: of the bound, at least 2.

    Returns:
        The transformation. Its `update` needs the parameters. A kernel that is not
        finite becomes NaN throughout.

    Raises:
        ValueError: if `maximum` is negative or not finite, `oversampling` is no integer
            >= 2, `strides` does not fit a kernel, or `update` is not given the
            parameters.

    References:
        Sedghi, Gupta & Long, "The Singular Values of Convolutional Layers", ICLR 2019,
        arXiv:1805.10408. They clip at each frequency of one image size, and then leave
        out what lies beyond the kernel's positions, after which no limit holds.
    """
    if not isinstance(maximum, jax.Array):
        check_real("maximum", maximum, 0.0)
    check_integer("oversampling", oversampling, 2)
    for size in strides if isinstance(strides, Sequence) else (strides,):
        check_integer("strides", size, 1)

    def init(params: optax.Params) -> ProjectConvNormState:
        return ProjectConvNormState(jax.tree.map(_no_bound, params))

    def update(
        updates: optax.Updates, state: Any, params: optax.Params | None = None
    ) -> tuple[optax.Updates, ProjectConvNormState]:
        require_params("project_conv_norm", params)
        changes, tree = jax.tree.flatten(updates, is_leaf=is_missing)
        weights, bounds = map(tree.flatten_up_to, (params, state.bounds))
        done = [
            (change, bound)
            if is_missing(change) or not _is_kernel(weight)
            else scale(change, jnp.asarray(weight))
            for change, weight, bound in zip(changes, weights, bounds, strict=True)
        ]
        scaled = tree.unflatten([change for change, _ in done])
        found = tree.unflatten([bound for _, bound in done])
        return scaled, ProjectConvNormState(found)

    def scale(change: Array, leaf: Array) -> tuple[Array, Float[Array, ""]]:
        start = widened(leaf)
        moved = start + widened(change).astype(start.dtype)
        # The bound of finite weights may overflow, and that of this does not. A power
        # of two, and no quotient by the largest, whose reciprocal may underflow.
        is_large = jnp.max(jnp.abs(moved), initial=0) > 2.0**64
        shrink = jnp.where(is_large, 2.0**-64, 1.0)
        scaled = shrink.astype(moved.dtype) * moved
        scaled_bound = linalg.conv_norm_bound(
            scaled, strides=strides, oversampling=oversampling
        )
        bound = scaled_bound / shrink.astype(scaled_bound.dtype)
        limit = jnp.maximum(jnp.asarray(maximum, bound.dtype), 0)
        is_within = bound <= limit
        factor = limit / jnp.where(is_within, jnp.ones_like(bound), scaled_bound)
        instead = factor.astype(moved.dtype) * scaled - start
        return jnp.where(is_within, change, instead.astype(change.dtype)), bound

    return optax.GradientTransformation(init, update)


def _is_kernel(leaf: Any) -> bool:
    return is_matrix(leaf) and jnp.ndim(leaf) >= 3


def _no_bound(leaf: Any) -> Float[Array, ""]:
    leaf = jnp.asarray(leaf)
    dtype = widened(leaf).real.dtype if _is_kernel(leaf) else jnp.float32
    return jnp.zeros((), dtype)
