"""Matrices with orthonormal columns or rows by Householder reflectors."""

from functools import partial

import jax.numpy as jnp
from flax import nnx
from flax.typing import Dtype, Initializer
from jaxtyping import Array, Inexact

from gradstab import linalg
from gradstab._checks import check_integer, check_shape
from gradstab.linalg._svd_product import update_of_diagonal
from gradstab.nn._parametrization import Fixed, Matrix, Parametrization
from gradstab.nn._signs import unit


class Householder(Parametrization):
    r"""A matrix with orthonormal columns, or rows if wide, as a product of reflectors.

    .. math:: Q = H_1 \cdots H_k \begin{pmatrix} D \\ 0 \end{pmatrix}, \qquad
        H_j = I - 2 v_j v_j^H / \|v_j\|^2

    where v_j is column j of the lower trapezoid of the coordinates and D a fixed
    diagonal of signs (phases when complex). A wide matrix is the transpose of a tall
    one. With as many reflectors as the shorter side (one less if square), the
    reflectors and D together reach every such matrix. A square real Q has
    det Q = (-1)^k det D, whatever the k nonzero reflectors, and training cannot change
    it. A zero reflector is the identity. O(n m k) a build.

    Args:
        shape: shape (..., rows, columns); leading axes are a stack.
        reflectors: how many reflectors, k; the shorter side if None.
        matrix_init: initializer of each matrix, moved to its polar factor; it needs a
            full set of reflectors. If None, the reflectors are standard normal and
            D = I.
        param_dtype: dtype of the matrix.
        rngs: source of the `params` key.

    References:
        Mhammedi, Hellicar, Rahman & Bailey, "Efficient Orthogonal Parametrisation of
        Recurrent Neural Networks Using Householder Reflections", ICML 2017,
        arXiv:1612.00188. Their gradient drops a term; here it is exact.
        Zhang, Lei & Dhillon, "Stabilizing Gradients for Deep Neural Networks via
        Efficient SVD Parameterization", ICML 2018, arXiv:1803.09327.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        *,
        reflectors: int | None = None,
        matrix_init: Initializer | None = None,
        param_dtype: Dtype = jnp.float32,
        rngs: nnx.Rngs,
    ):
        check_shape("shape", shape)
        super().__init__(shape, param_dtype=param_dtype)
        short, long = sorted(shape[-2:])
        reflectors = short if reflectors is None else reflectors
        check_integer("reflectors", reflectors, 0, short)
        self.reflectors = reflectors
        draw = nnx.initializers.normal(1.0)
        stack = shape[:-2]
        self.vectors = nnx.Param(
            draw(rngs.params(), (*stack, long, reflectors), self._coordinate_dtype)
        )
        self.signs = Fixed(jnp.ones((*stack, short), self._coordinate_dtype))
        if matrix_init is not None:
            self._initialize(matrix_init, rngs)

    @property
    def singular_value_bounds(self) -> tuple[float, float]:
        """Exactly (1, 1)."""
        return 1.0, 1.0

    @property
    def free_parameters(self) -> int:
        """The entries of the lower trapezoid."""
        return self.vectors.size - trapezoid_waste(self.vectors.shape)

    @property
    def update_rank(self) -> int:
        """The number of reflectors."""
        return self.reflectors

    def _update(self) -> tuple[Array, Array, Array]:
        self._check_reflectors(self.vectors[...], self.reflectors)
        vectors, signs = self.vectors[...], unit(self.signs[...])
        return signs, *update_of_diagonal(vectors, signs, vectors[:, :0])

    def _build(self) -> Matrix:
        self._check_reflectors(self.vectors[...], self.reflectors)
        tall = self._map_stack(_columns, self.vectors[...], unit(self.signs[...]))
        return tall.mT if self._is_wide else tall

    def _write(self, matrix: Matrix) -> None:
        tall = matrix.mT if self._is_wide else matrix
        self.vectors[...], self.signs[...] = self._map_stack(
            partial(fitted_vectors, count=self.reflectors), tall
        )

    def _residual(self, matrix):
        return linalg.orthogonality_error(matrix)

    def _nearest(self, matrix):
        return linalg.polar(matrix)

    def _beyond_reach(self) -> str:
        return (
            f"It has {self.reflectors} reflectors; every matrix of shape "
            f"{self.shape[-2:]} needs {enough_reflectors(self.shape)}."
        )

    @property
    def _is_wide(self) -> bool:
        return self.shape[-2] < self.shape[-1]


def enough_reflectors(shape: tuple[int, ...]) -> int:
    """Tells how many reflectors and signs reach every matrix of a shape."""
    short, long = sorted(shape[-2:])
    # The sign does all that a reflector of a single coordinate could.
    return min(short, max(long - 1, 0))


def fitted_vectors(
    q: Inexact[Array, "n p"], count: int
) -> tuple[Inexact[Array, "n k"], Inexact[Array, " p"]]:
    """Finds a number of reflectors, zero where fewer do, and signs that give Q."""
    used = min(count, enough_reflectors(q.shape))
    vectors, signs = linalg.householder_vectors(q, reflectors=used)
    return jnp.pad(vectors[:, :count], ((0, 0), (0, max(0, count - q.shape[1])))), signs


def trapezoid_waste(shape: tuple[int, ...]) -> int:
    """Counts the entries above the diagonal of stacked (n, k) arrays, k <= n."""
    *stack, _, k = shape
    waste = k * (k - 1) // 2
    for size in stack:
        waste *= size
    return waste


def _columns(
    vectors: Inexact[Array, "n k"], signs: Inexact[Array, " p"]
) -> Inexact[Array, "n p"]:
    return linalg.householder_product(vectors, signs, columns=signs.shape[0])
