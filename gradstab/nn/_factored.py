"""Square matrices of few reflectors, as a diagonal and thin factors."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Inexact

from gradstab.nn._parametrization import Materialized, Parametrization

# From this size on and up to this share of its rank, two thin products cost a CPU less
# than the square one: by a fifth and more for batches of 16 to 256. An accelerator pays
# for each launch.
_SMALLEST = 128
_SHARE = 1 / 8


class Factored(nnx.Module):
    r"""A built matrix that was not multiplied out.

    .. math:: W = \operatorname{diag}(d) + C R

    Calling it multiplies out.

    Args:
        diagonal: d.
        columns: C, tall.
        rows: R, wide.
    """

    def __init__(
        self,
        diagonal: Inexact[Array, " n"],
        columns: Inexact[Array, "n k"],
        rows: Inexact[Array, "k n"],
    ):
        self.diagonal = Materialized(diagonal)
        self.columns = Materialized(columns)
        self.rows = Materialized(rows)

    def __call__(self) -> Inexact[Array, "n n"]:
        """Returns the matrix."""
        return jnp.diag(self.diagonal[...]) + jnp.matmul(
            self.columns(), self.rows(), precision=jax.lax.Precision.HIGHEST
        )


def factored(matrix: Any) -> Any:
    """Builds a square matrix as factors where a step is cheaper with them.

    Args:
        matrix: a parametrization, or what has been built of one.

    Returns:
        A `Factored`, or `matrix` itself.
    """
    if not isinstance(matrix, Parametrization) or jax.default_backend() != "cpu":
        return matrix
    rank, size = matrix.update_rank, matrix.shape[-1]
    if rank is None or size < _SMALLEST or rank > _SHARE * size:
        return matrix
    factors = matrix._update()
    return Factored(*(factor.astype(matrix.param_dtype) for factor in factors))
