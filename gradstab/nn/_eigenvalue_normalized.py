"""Matrices whose eigenvalues stay in a disc."""

from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx
from flax.typing import Dtype, Initializer
from jaxtyping import Array, Inexact

from gradstab import linalg
from gradstab._checks import check_real, check_square_shape
from gradstab.nn._cayley import plane_angles
from gradstab.nn._parametrization import Fixed, Matrix, Parametrization

Mode = Literal["max", "always", "sticky"]
MODES = ("max", "always", "sticky")


class EigenvalueNormalized(Parametrization):
    r"""A matrix divided by its spectral radius where that is too large.

    .. math:: W = M \, / \, \max(\rho(M) / r, 1)

    where M are the coordinates, ρ the largest modulus of an eigenvalue and r is
    `radius`. What W does to a state fades, or lasts, by its eigenvalues; its norm is
    free, so that a state may grow before it fades: see `singular_value_bounds`. The
    radius, its error and its gradient, right for complex pairs and finite everywhere,
    are those of `linalg.spectral_radius`. `assign(..., project=True)` scales by r / ρ,
    which is not the nearest matrix of the set.

    With the mode "always" M is divided by ρ / r whatever ρ is, so that W does not
    depend on the scale of M; ρ = 0 gives M itself. "sticky" does so from the first
    `refresh` at which ρ(M) > r, and "max" before.

    Args:
        shape: shape (..., n, n); leading axes are a stack.
        radius: the largest modulus r of an eigenvalue, above 0.
        mode: "max", "always" or "sticky".
        matrix_init: initializer of M. If None, M turns n // 2 planes by angles uniform
            in (0, π/2) and stretches each by a factor uniform in (-1, 1); for odd n one
            axis is stretched alone.
        param_dtype: dtype of the matrix.
        rngs: source of the `params` keys.

    References:
        Helfrich & Ye, "Eigenvalue Normalized Recurrent Neural Networks for Short Term
        Memory", AAAI 2020, arXiv:1911.07964. Their code is "sticky".
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        *,
        radius: float = 1.0,
        mode: Mode = "max",
        matrix_init: Initializer | None = None,
        param_dtype: Dtype = jnp.float32,
        rngs: nnx.Rngs,
    ):
        check_square_shape("shape", shape, "SpectralNormalized")
        check_real("radius", radius, 0.0)
        if radius == 0:
            raise ValueError("`radius` must be above 0, got 0.")
        if mode not in MODES:
            raise ValueError(f"`mode` must be one of {', '.join(MODES)}, got {mode!r}.")
        super().__init__(shape, param_dtype=param_dtype)
        self.radius = radius
        self.mode = mode
        if matrix_init is None:
            weight = self._draw_planes(rngs)
        else:
            weight = self._draw(matrix_init, rngs)
        self.weight = nnx.Param(weight)
        # A number, not a truth value, so that a module can be differentiated whole.
        pinned = 1.0 if mode == "always" else 0.0
        self.pinned = Fixed(jnp.full(shape[:-2], pinned, self._real_dtype))

    def _build(self) -> Matrix:
        return self._map_stack(self._normalize, self.weight[...], self.pinned[...])

    def _write(self, matrix: Matrix) -> None:
        self.weight[...] = matrix
        if self.mode == "sticky":  # as at first: what passes the radius pins it anew
            self.pinned[...] = jnp.zeros_like(self.pinned[...])

    def _normalize(
        self, weight: Inexact[Array, "n n"], pinned: Array
    ) -> Inexact[Array, "n n"]:
        if weight.size == 0:
            return weight
        radius = linalg.spectral_radius(weight)
        divides = (radius > self.radius) | (jax.lax.stop_gradient(pinned) > 0)
        divides &= radius != 0
        # NaN divides, and is seen.
        divides |= jnp.isnan(radius)
        scale = self.radius / jnp.where(radius == 0, jnp.ones_like(radius), radius)
        return weight * jnp.where(divides, scale, jnp.ones_like(scale)).astype(
            weight.dtype
        )

    def _residual(self, matrix):
        excess = linalg.spectral_radius(matrix) - self.radius
        if self.mode == "always":
            return jnp.where(excess == -self.radius, 0, jnp.abs(excess))
        return jnp.maximum(excess, 0)

    def _nearest(self, matrix):
        return self._normalize(matrix, jnp.float32(self.mode == "always"))

    def _reanchor(self) -> None:
        if self.mode == "sticky":
            radius = self._map_stack(linalg.spectral_radius, self.weight[...])
            passed = (radius > self.radius).astype(self._real_dtype)
            self.pinned[...] = jnp.maximum(self.pinned[...], passed)

    def _draw_planes(self, rngs: nnx.Rngs) -> Matrix:
        n = self.shape[-1]
        angles = plane_angles(rngs, self.shape, self._real_dtype)
        stretch = jax.random.uniform(
            rngs.params(),
            (*self.shape[:-2], (n + 1) // 2),
            self._real_dtype,
            -1.0,
            1.0,
        )
        even, odd = jnp.arange(n // 2) * 2, jnp.arange(n // 2) * 2 + 1
        cosine = stretch[..., : n // 2] * jnp.cos(angles)
        sine = stretch[..., : n // 2] * jnp.sin(angles)
        planes = jnp.zeros(self.shape, self._real_dtype)
        planes = planes.at[..., even, even].set(cosine)
        planes = planes.at[..., odd, odd].set(cosine)
        planes = planes.at[..., even, odd].set(-sine)
        planes = planes.at[..., odd, even].set(sine)
        if n % 2:
            planes = planes.at[..., -1, -1].set(stretch[..., -1])
        return planes.astype(self._coordinate_dtype)
