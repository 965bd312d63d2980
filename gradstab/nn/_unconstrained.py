"""The identity parametrization."""

import jax.numpy as jnp
from flax import nnx
from flax.typing import Dtype, Initializer

from gradstab.nn._parametrization import Matrix, Parametrization


class Unconstrained(Parametrization):
    r"""A free matrix: the coordinates are its entries.

    It stands wherever a `Parametrization` is expected and nothing is to be held.

    Args:
        shape: shape (..., rows, columns); leading axes are a stack.
        matrix_init: initializer of each matrix.
        param_dtype: dtype of the matrix.
        rngs: source of the `params` key.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        *,
        matrix_init: Initializer = nnx.initializers.orthogonal(),
        param_dtype: Dtype = jnp.float32,
        rngs: nnx.Rngs,
    ):
        super().__init__(shape, param_dtype=param_dtype)
        self.weight = nnx.Param(self._draw(matrix_init, rngs))

    def _build(self) -> Matrix:
        return self.weight[...]

    def _write(self, matrix: Matrix) -> None:
        self.weight[...] = matrix

    def _residual(self, matrix):
        return jnp.zeros((), matrix.dtype)

    def _nearest(self, matrix):
        return matrix
