"""Orthogonal matrices by the Cayley transform, plain and scaled."""

import jax
import jax.numpy as jnp
from flax import nnx
from flax.typing import Dtype, Initializer
from jaxtyping import Array, Float, Inexact

from gradstab import linalg
from gradstab._checks import check_integer, check_square_shape
from gradstab.nn._parametrization import Fixed, Matrix, Parametrization
from gradstab.nn._signs import unit


class Cayley(Parametrization):
    r"""A rotation (unitary when complex), as the Cayley transform of a skew matrix.

    .. math:: Q = (I + A)^{-1} (I - A), \qquad A = L - L^H

    where L is the lower triangle of the coordinates. Reaches every rotation that has no
    eigenvalue -1; `ScaledCayley` reaches the others. O(n³) a build.

    Args:
        shape: shape (..., n, n); leading axes are a stack.
        matrix_init: initializer of each matrix, moved to its polar factor. If None, A
            is block diagonal and Q turns n // 2 planes by angles uniform in
            (0, π/2); for odd n one axis stays fixed.
        param_dtype: dtype of the matrix.
        rngs: source of the `params` key.

    References:
        Helfrich, Willmott & Ye, "Orthogonal Recurrent Neural Networks with Scaled
        Cayley Transform", ICML 2018, arXiv:1707.09520.
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
        if matrix_init is None:
            angles = plane_angles(rngs, shape, self._real_dtype)
            blocks = plane_blocks(-jnp.tan(angles / 2), shape[-1])
            self.skew = nnx.Param(blocks.astype(self._coordinate_dtype))
        else:
            self.skew = nnx.Param(jnp.zeros(shape, self._coordinate_dtype))
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
        return self._map_stack(_cayley, self.skew[...])

    def _write(self, matrix: Matrix) -> None:
        self.skew[...] = self._map_stack(linalg.inverse_cayley, matrix)

    def _residual(self, matrix):
        return linalg.orthogonality_error(matrix)

    def _nearest(self, matrix):
        return linalg.polar(matrix)

    def _beyond_reach(self) -> str:
        return (
            "A plain Cayley transform has no eigenvalue -1 (so, when real, "
            "determinant 1); use ScaledCayley, Exponential or Householder."
        )


class ScaledCayley(Parametrization):
    r"""An orthogonal or unitary matrix, as a Cayley transform times a diagonal.

    .. math:: Q = (I + A)^{-1} (I - A) D, \qquad A = L - L^H

    where L is the lower triangle of the coordinates. When real, D = diag(±1) is fixed,
    with a chosen number of -1 in the last places: it sets det Q = det D, and by the
    choice of D every orthogonal matrix is reached. When complex,
    D = diag(exp(i θ)) and θ is trained. O(n³) a build.

    Args:
        shape: shape (..., n, n); leading axes are a stack.
        negatives: how many entries of D are -1 when real; n // 2 if None. The papers
            tune it for each task.
        matrix_init: initializer of each matrix, moved to its polar factor; D then
            follows from the matrix. If None, A turns n // 2 planes by angles uniform in
            (0, π/2) before D is applied, and θ is uniform in (0, 2π).
        param_dtype: dtype of the matrix.
        rngs: source of the `params` keys.

    References:
        Helfrich, Willmott & Ye, "Orthogonal Recurrent Neural Networks with Scaled
        Cayley Transform", ICML 2018, arXiv:1707.09520.
        Maduranga, Helfrich & Ye, "Complex Unitary Recurrent Neural Networks Using
        Scaled Cayley Transform", AAAI 2019, arXiv:1811.04142.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        *,
        negatives: int | None = None,
        matrix_init: Initializer | None = None,
        param_dtype: Dtype = jnp.float32,
        rngs: nnx.Rngs,
    ):
        check_square_shape("shape", shape, "Householder")
        super().__init__(shape, param_dtype=param_dtype)
        n = shape[-1]
        negatives = n // 2 if negatives is None else negatives
        check_integer("negatives", negatives, 0, n)
        angles = plane_angles(rngs, shape, self._real_dtype)
        blocks = plane_blocks(-jnp.tan(angles / 2), n)
        self.skew = nnx.Param(blocks.astype(self._coordinate_dtype))
        if self._is_complex:
            draw = nnx.initializers.uniform(2 * jnp.pi)
            self.phases = nnx.Param(draw(rngs.params(), shape[:-1], self._real_dtype))
        else:
            signs = jnp.where(jnp.arange(n) < n - negatives, 1, -1)
            signs = jnp.broadcast_to(signs, shape[:-1])
            self.signs = Fixed(signs.astype(self._coordinate_dtype))
        if matrix_init is not None:
            self._initialize(matrix_init, rngs)

    @property
    def singular_value_bounds(self) -> tuple[float, float]:
        """Exactly (1, 1)."""
        return 1.0, 1.0

    @property
    def free_parameters(self) -> int:
        """The entries of the lower triangle, and the phases when complex."""
        phases = self.phases.size if self._is_complex else 0
        return skew_parameters(self.shape, self._is_complex) + phases

    def _build(self) -> Matrix:
        if self._is_complex:
            phases = self.phases[...]
            diagonal = jax.lax.complex(jnp.cos(phases), jnp.sin(phases))
        else:
            diagonal = unit(self.signs[...])
        return self._rotation() * diagonal[..., None, :]

    def _rotation(self) -> Matrix:
        """Builds the Cayley transform of A."""
        return self._map_stack(_cayley, self.skew[...])

    def _write(self, matrix: Matrix) -> None:
        diagonal = self._map_stack(_well_conditioned_diagonal, matrix)
        rotation = matrix * diagonal.conj()[..., None, :]
        self.skew[...] = self._map_stack(linalg.inverse_cayley, rotation)
        if self._is_complex:
            self.phases[...] = jnp.angle(diagonal)
        else:
            self.signs[...] = diagonal

    def _residual(self, matrix):
        return linalg.orthogonality_error(matrix)

    def _nearest(self, matrix):
        return linalg.polar(matrix)


def plane_angles(
    rngs: nnx.Rngs, shape: tuple[int, ...], dtype: jnp.dtype
) -> Float[Array, "*stack planes"]:
    """Draws an angle uniform in (0, π/2) for each pair of axes."""
    draw = nnx.initializers.uniform(jnp.pi / 2)
    return draw(rngs.params(), (*shape[:-2], shape[-1] // 2), dtype)


def plane_blocks(
    lower: Float[Array, "*stack planes"], n: int
) -> Float[Array, "*stack n n"]:
    """Puts numbers below the diagonal of 2×2 blocks, negated above it."""
    places = jnp.arange(n // 2) * 2
    blocks = jnp.zeros((*lower.shape[:-1], n, n), lower.dtype)
    blocks = blocks.at[..., places + 1, places].set(lower)
    return blocks - blocks.mT


def skew_parameters(shape: tuple[int, ...], is_complex: bool) -> int:
    """Counts the real numbers in a stack of skew-Hermitian matrices."""
    *stack, n, _ = shape
    each = n * n if is_complex else n * (n - 1) // 2
    for size in stack:
        each *= size
    return each


def _cayley(lower: Inexact[Array, "n n"]) -> Inexact[Array, "n n"]:
    return linalg.cayley(linalg.skew(lower))


@jax.jit
def _well_conditioned_diagonal(q: Inexact[Array, "n n"]) -> Inexact[Array, " n"]:
    """Chooses unit numbers d for which Q + diag(d) is far from singular."""
    n = q.shape[-1]
    if n == 0:
        return jnp.zeros(0, q.dtype)

    def eliminate(j, carry):
        # With d of the phase of the pivot that Q alone would give, every pivot of
        # Q + diag(d) has modulus at least one, whatever Q is.
        schur, diagonal = carry
        pivot = schur[j, j]
        size = jnp.abs(pivot).astype(q.dtype)
        one = jnp.ones((), q.dtype)
        phase = jnp.where(size == 0, one, pivot / jnp.where(size == 0, one, size))
        below = (jnp.arange(n) > j).astype(q.dtype)
        column = schur[:, j] * below / (pivot + phase)
        return schur - jnp.outer(column, schur[j]), diagonal.at[j].set(phase)

    start = (q, jnp.ones(n, q.dtype))
    return jax.lax.fori_loop(0, n, eliminate, start)[1]
