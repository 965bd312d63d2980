"""The contract between coordinates and the matrices built from them."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from flax.typing import Dtype, Initializer
from jaxtyping import Array, Inexact

from gradstab._checks import check_param_dtype, check_shape

Matrix = Inexact[Array, "*stack rows columns"]


class Fixed(nnx.Variable):
    """What a parametrization holds that no optimizer may move: signs, base points."""


class Materialized(nnx.Variable):
    """A matrix that has been built: what `materialize` leaves in place of its map.

    It is a Variable, so that a stock Flax layer reads it like any kernel, and calling
    it returns the matrix, so that a gradstab cell reads it like a `Parametrization`.
    """

    def __call__(self) -> Matrix:
        """Returns the matrix."""
        return self[...]


class Parametrization(nnx.Module):
    """A matrix, or a stack of matrices, given by unconstrained coordinates.

    Calling it builds the matrix; the coordinates are its `nnx.Param`s, and what is
    fixed is a `Fixed` Variable. Subclasses implement `__call__`, `_write` and
    `singular_value_bounds`.

    Args:
        shape: shape (..., rows, columns) of what is built; leading axes are a stack of
            separate matrices.
        param_dtype: dtype of the matrix. Below single precision the coordinates are
            kept and the matrix is computed in float32, and cast once.
        real: whether complex dtypes are refused.
    """

    def __init__(
        self, shape: tuple[int, ...], *, param_dtype: Dtype, real: bool = False
    ):
        check_shape("shape", shape)
        check_param_dtype(param_dtype, real=real)
        self.shape = shape
        self.param_dtype = param_dtype

    def __call__(self) -> Matrix:
        """Builds the matrix; changes nothing."""
        raise NotImplementedError

    def assign(self, matrix: Matrix, *, project: bool = False) -> None:
        """Sets the coordinates so that the next call returns `matrix`.

        Args:
            matrix: the matrix wanted, of shape `shape`. Its value is read: it cannot
                be traced.
            project: whether a matrix outside the set is first moved to a point of the
                set. Each class says to which.

        Raises:
            ValueError: if the shape or the dtype differ, if `matrix` is not finite, if
                it lies outside the set and `project` is False, or if these coordinates
                cannot reach it.
        """
        matrix = jnp.asarray(matrix)
        if matrix.shape != self.shape:
            raise ValueError(
                f"`matrix` must have shape {self.shape}, got {matrix.shape}."
            )
        if jnp.iscomplexobj(matrix) and not self._is_complex:
            raise ValueError(
                f"`matrix` must be real for a `param_dtype` of "
                f"{jnp.dtype(self.param_dtype).name}, got {matrix.dtype.name}."
            )
        matrix = matrix.astype(self._coordinate_dtype)
        if not jnp.all(jnp.isfinite(matrix)):
            raise ValueError("`matrix` must be finite, got NaN or infinity.")
        self._write(matrix, project)

    def refreshed(self) -> "Parametrization":
        """Returns a copy whose re-anchored parts have moved; see `refresh`."""
        return self

    @property
    def singular_value_bounds(self) -> tuple[float, float]:
        """Bounds (low, high) that hold for every finite value of the coordinates."""
        return 0.0, math.inf

    def _write(self, matrix: Matrix, project: bool) -> None:
        raise NotImplementedError

    @property
    def _is_complex(self) -> bool:
        return jnp.issubdtype(self.param_dtype, jnp.complexfloating)

    @property
    def _coordinate_dtype(self) -> Any:
        low = jnp.finfo(self.param_dtype).bits < 32 and not self._is_complex
        return jnp.float32 if low else self.param_dtype

    def _over_stack(self, build: Callable[..., Array], *coordinates: Array) -> Matrix:
        """Applies a function of single matrices to each matrix of the stack."""
        for _ in self.shape[:-2]:
            build = jax.vmap(build)
        return build(*coordinates).astype(self.param_dtype)

    def _initialize(
        self, matrix_init: Initializer, rngs: nnx.Rngs, *, project: bool = True
    ) -> None:
        """Assigns a matrix drawn for each place of the stack."""
        *stack, rows, columns = self.shape
        keys = jax.random.split(rngs.params(), tuple(stack))
        draw = lambda key: matrix_init(key, (rows, columns), self._coordinate_dtype)  # noqa: E731
        for _ in stack:
            draw = jax.vmap(draw)
        self.assign(draw(keys), project=project)
