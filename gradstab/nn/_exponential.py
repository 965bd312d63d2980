"""Orthogonal matrices by the exponential, around a base point."""

import jax
import jax.numpy as jnp
from flax import nnx
from flax.typing import Dtype, Initializer
from jaxtyping import Array, Inexact

from gradstab import linalg
from gradstab._checks import check_square_shape
from gradstab.nn._cayley import plane_angles, plane_blocks, skew_parameters
from gradstab.nn._parametrization import Fixed, Matrix, Parametrization


class Exponential(Parametrization):
    r"""An orthogonal or unitary matrix, as a base point times an exponential.

    .. math:: Q = B \exp(A), \qquad A = L - L^H

    where L is the lower triangle of the coordinates, in radians, and B is a fixed
    orthogonal matrix, the identity at first. `refresh` moves the base point to Q and
    sets A to zero (a dynamic trivialization): around zero the exponential is cheapest
    and its derivative is the identity. Reaches the component of B: det Q = det B when
    real, everything when complex. O(n³) a build.

    After a `refresh` the moments of Adam still refer to the old base point. They stay
    valid to first order, since the new coordinates have the same tangent directions
    turned by exp(A); with large A between refreshes, reset them.

    The base point is no coordinate: give an optimizer the `nnx.Param`s alone
    (`wrt=nnx.Param`), for one that also decays the base point leaves the set.

    Args:
        shape: shape (..., n, n); leading axes are a stack.
        matrix_init: initializer of each matrix, moved to its polar factor, which
            becomes the base point. If None, B = I and A turns n // 2 planes by angles
            uniform in (0, π/2); for odd n one axis stays fixed.
        param_dtype: dtype of the matrix.
        rngs: source of the `params` key.

    References:
        Lezcano-Casado & Martínez-Rubio, "Cheap Orthogonal Constraints in Neural
        Networks", ICML 2019, arXiv:1901.08428.
        Lezcano-Casado, "Trivializations for Gradient-Based Optimization on Manifolds",
        NeurIPS 2019, arXiv:1909.09501.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        *,
        matrix_init: Initializer | None = None,
        param_dtype: Dtype = jnp.float32,
        rngs: nnx.Rngs,
    ):
        check_square_shape("shape", shape, "Householder")
        super().__init__(shape, param_dtype=param_dtype)
        identity = jnp.eye(shape[-1], dtype=self._coordinate_dtype)
        self.base = Fixed(jnp.broadcast_to(identity, shape))
        angles = plane_angles(rngs, shape, self._real_dtype)
        blocks = plane_blocks(angles, shape[-1])
        self.skew = nnx.Param(blocks.astype(self._coordinate_dtype))
        if matrix_init is not None:
            self._initialize(matrix_init, rngs)

    @property
    def singular_value_bounds(self) -> tuple[float, float]:
        """Exactly (1, 1)."""
        return 1.0, 1.0

    @property
    def free_parameters(self) -> int:
        """The entries of the lower triangle; with its diagonal when complex."""
        return skew_parameters(self.shape, self._is_complex)

    def _build(self) -> Matrix:
        return self._map_stack(
            _turn, jax.lax.stop_gradient(self.base[...]), self.skew[...]
        )

    def _write(self, matrix: Matrix) -> None:
        # A matrix within the tolerance of the set is made exact before it becomes a
        # base point: its defect would stay in every matrix built from it.
        self.base[...] = self._map_stack(linalg.polar, matrix)
        self.skew[...] = jnp.zeros_like(self.skew[...])

    def _residual(self, matrix):
        return linalg.orthogonality_error(matrix)

    def _nearest(self, matrix):
        return linalg.polar(matrix)

    def _reanchor(self) -> None:
        self._write(self._build())


def _turn(
    base: Inexact[Array, "n n"], lower: Inexact[Array, "n n"]
) -> Inexact[Array, "n n"]:
    rotation = linalg.expm_skew(linalg.skew(lower))
    return jnp.matmul(base, rotation, precision=jax.lax.Precision.HIGHEST)
