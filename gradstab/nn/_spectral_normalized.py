"""Matrices of a fixed spectral norm."""

import jax
import jax.numpy as jnp
from flax import nnx
from flax.typing import Dtype, Initializer
from jaxtyping import Array, Inexact

from gradstab import linalg
from gradstab._checks import check_real
from gradstab.nn._parametrization import Matrix, Parametrization


class SpectralNormalized(Parametrization):
    r"""A matrix divided by its spectral norm.

    .. math:: W = c \, V / \|V\|_2

    where V are the coordinates and c is `maximum`; V = 0 (no entry above four times
    the smallest normal number) gives W = 0 with a finite gradient. The norm is exact,
    not a power iteration's estimate, so that ‖W‖ <= c is certain. `assign(...,
    project=True)` gives the nearest matrix of norm c: singular values above c are cut
    to c, and if there are none the largest is raised to c.
    One singular value decomposition's worth of work a build.

    Args:
        shape: shape (..., rows, columns); leading axes are a stack.
        maximum: the spectral norm c, at least 0.
        matrix_init: initializer of V.
        param_dtype: dtype of the matrix.
        rngs: source of the `params` key.

    References:
        Miyato, Kataoka, Koyama & Yoshida, "Spectral Normalization for Generative
        Adversarial Networks", ICLR 2018, arXiv:1802.05957. They estimate the norm by
        one power iteration a step.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        *,
        maximum: float = 1.0,
        matrix_init: Initializer = nnx.initializers.lecun_normal(),
        param_dtype: Dtype = jnp.float32,
        rngs: nnx.Rngs,
    ):
        check_real("maximum", maximum, 0.0)
        super().__init__(shape, param_dtype=param_dtype)
        self.maximum = maximum
        self.weight = nnx.Param(self._draw(matrix_init, rngs))

    @property
    def singular_value_bounds(self) -> tuple[float, float]:
        """The interval (0, maximum)."""
        return 0.0, self.maximum

    def _build(self) -> Matrix:
        return self._map_stack(self._normalize, self.weight[...])

    def _write(self, matrix: Matrix) -> None:
        self.weight[...] = matrix

    def _normalize(self, weight: Inexact[Array, "n m"]) -> Inexact[Array, "n m"]:
        # W does not depend on the scale of V, whose square may leave the range.
        quarter = weight / 4  # so that the inverse of its largest entry is normal
        largest = jax.lax.stop_gradient(jnp.max(jnp.abs(quarter), initial=0))
        tiny = largest < jnp.finfo(weight.dtype).tiny
        weight = quarter / jnp.where(tiny, 1, largest).astype(weight.dtype)
        norm = jnp.where(tiny, 1, linalg.spectral_norm(weight))
        return weight / norm.astype(weight.dtype) * self.maximum

    def _residual(self, matrix):
        norm = linalg.spectral_norm(matrix)
        return jnp.where(norm == 0, norm, jnp.abs(norm - self.maximum))

    def _nearest(self, matrix):
        cut = linalg.clip_singular_values(matrix, maximum=self.maximum)
        if 0 in matrix.shape:
            return cut
        left, values, right = jnp.linalg.svd(cut, full_matrices=False)
        # Zero belongs to the set, so that it is its own nearest point.
        gap = jnp.where(values[0] == 0, values[0], self.maximum - values[0])
        return cut + gap.astype(cut.dtype) * jnp.outer(left[:, 0], right[0])
