"""Orthogonal matrices by the scaled Cayley transform, without a solve at every step."""

from functools import partial

import jax.numpy as jnp
from flax import nnx
from flax.typing import Dtype, Initializer
from jax import lax
from jaxtyping import Array, Inexact

from gradstab import linalg
from gradstab._checks import check_integer
from gradstab.nn._cayley import ScaledCayley
from gradstab.nn._parametrization import Fixed, Matrix

# Largest ‖I - P (I + A)‖ of an inverse P that is taken; beyond it, A is inverted anew.
LARGEST_RESIDUAL = 1e-3


class NeumannCayley(ScaledCayley):
    r"""The orthogonal matrix of `ScaledCayley`, from the inverse at a nearby A₀.

    .. math:: Q = (2 P' - I) D, \qquad P' = (I + R + \dots + R^k) P,
        \qquad R = I - P (I + A)

    with P about (I + A₀)⁻¹, which `refresh` moves to P' after an optimizer step, and k
    the order. The singular values of Q differ from 1 by at most 2‖I - P' (I + A)‖,
    which is measured on each build: where it exceeds 1e-3 the exact transform is taken,
    so that a model that is never refreshed only costs more. A build costs k + 2
    products of n x n matrices, the exact transform on top where it is needed; in a
    stack that happens to all or none. On a CPU `ScaledCayley` is faster; products are
    what accelerators are good at.

    R holds the error of P too, so that errors do not add up, and rounding aside no
    exact inverse is ever needed for small steps. Mucllari et al. expand in -P (A - A₀)
    instead, which keeps the error of P, with A - A₀ the step of plain SGD, whatever the
    optimizer did.

    Args:
        shape: shape (..., n, n); leading axes are a stack.
        order: the order k, at least 1.
        exact_every: how many calls of `refresh` there are from one exact inverse to the
            next; None for none but the first.
        negatives: see `ScaledCayley`.
        matrix_init: see `ScaledCayley`.
        param_dtype: dtype of the matrix.
        rngs: source of the `params` keys.

    References:
        Mucllari, Zadorozhnyy, Pospisil, Nguyen & Ye, "Orthogonal Gated Recurrent Unit
        with Neumann-Cayley Transformation", Neural Computation, 2024,
        arXiv:2208.06496. They take k = 2.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        *,
        order: int = 2,
        exact_every: int | None = None,
        negatives: int | None = None,
        matrix_init: Initializer | None = None,
        param_dtype: Dtype = jnp.float32,
        rngs: nnx.Rngs,
    ):
        check_integer("order", order, 1)
        if exact_every is not None:
            check_integer("exact_every", exact_every, 1)
        self.order = order
        self.exact_every = exact_every
        super().__init__(shape, negatives=negatives, param_dtype=param_dtype, rngs=rngs)
        self.inverse = Fixed(self._exact_inverse())
        # No integers, so that a module can be differentiated as a whole.
        self.refreshes = Fixed(jnp.zeros(shape[:-2], self._real_dtype))
        if matrix_init is not None:
            self._initialize(matrix_init, rngs)

    @property
    def singular_value_bounds(self) -> tuple[float, float]:
        """The interval that the largest residual taken leaves: (0.998, 1.002)."""
        return 1 - 2 * LARGEST_RESIDUAL, 1 + 2 * LARGEST_RESIDUAL

    def _rotation(self) -> Matrix:
        build = partial(_neumann_cayley, order=self.order)
        return self._map_stack(build, self.skew[...], self.inverse[...])

    def _write(self, matrix: Matrix) -> None:
        super()._write(matrix)
        self.inverse[...] = self._exact_inverse()

    def _reanchor(self) -> None:
        if self.exact_every is None:
            self.inverse[...] = _inverse_of(self._rotation())
        else:
            self.refreshes[...] = (self.refreshes[...] + 1) % self.exact_every
            self.inverse[...] = lax.cond(
                jnp.max(self.refreshes[...], initial=0) == 0,
                self._exact_inverse,
                lambda: _inverse_of(self._rotation()),
            )

    def _exact_inverse(self) -> Matrix:
        return _inverse_of(super()._rotation())


def _neumann_cayley(
    lower: Inexact[Array, "n n"], inverse: Inexact[Array, "n n"], *, order: int
) -> Inexact[Array, "n n"]:
    return linalg.neumann_cayley(
        linalg.skew(lower), inverse, order=order, largest_residual=LARGEST_RESIDUAL
    )


def _inverse_of(rotation: Matrix) -> Matrix:
    identity = jnp.eye(rotation.shape[-1], dtype=rotation.dtype)
    return (rotation + jnp.broadcast_to(identity, rotation.shape)) / 2
