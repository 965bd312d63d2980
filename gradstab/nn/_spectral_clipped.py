"""Matrices with bounded singular values, as the nearest to a free one."""

import jax.numpy as jnp
from flax import nnx
from flax.typing import Dtype, Initializer

from gradstab import linalg
from gradstab._checks import check_real
from gradstab.nn._parametrization import Matrix, Parametrization


class SpectralClipped(Parametrization):
    r"""A matrix whose singular values above a limit are cut to it.

    .. math:: W = L \, \mathrm{diag}(\min(s, c)) \, R^H,
        \qquad V = L \, \mathrm{diag}(s) \, R^H

    where V are the coordinates and c is `maximum`. It reaches every matrix of the set,
    by itself; a gradient in V has no part along what was cut. One decomposition a
    build: see `linalg.clip_singular_values`. To move the coordinates themselves into
    the set after each optimizer step, as Kanai et al. do, is another algorithm:
    `optim.project_spectral_norm`.

    Args:
        shape: shape (..., rows, columns); leading axes are a stack.
        maximum: the largest singular value c, at least 0.
        matrix_init: initializer of V.
        param_dtype: dtype of the matrix.
        rngs: source of the `params` key.

    References:
        Kanai, Fujiwara & Iwamura, "Preventing Gradient Explosions in Gated Recurrent
        Units", NeurIPS 2017.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        *,
        maximum: float = 1.0,
        matrix_init: Initializer = nnx.initializers.orthogonal(),
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
        return self._map_stack(self._nearest, self.weight[...])

    def _write(self, matrix: Matrix) -> None:
        self.weight[...] = matrix

    def _residual(self, matrix):
        excess = linalg.spectral_norm(matrix) - self.maximum
        return jnp.maximum(excess, jnp.zeros_like(excess))

    def _nearest(self, matrix):
        return linalg.clip_singular_values(matrix, maximum=self.maximum)
