"""The contract between coordinates and the matrices built from them."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from flax.typing import Dtype, Initializer
from jax.core import Tracer
from jaxtyping import Array, Inexact

from gradstab._checks import check_param_dtype, check_shape
from gradstab._precision import at_least_single

Matrix = Inexact[Array, "*stack rows columns"]


class Fixed(nnx.Variable):
    """What a module holds that no optimizer may move: signs, base points, masks."""


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

    Calling it builds the matrix. The coordinates are its `nnx.Param`s; what is fixed
    is a `Fixed` Variable. A subclass supplies `_build`, its right inverse `_write`, the
    set itself as `_residual` and `_nearest`, and `singular_value_bounds`.

    Args:
        shape: shape (..., rows, columns) of what is built; leading axes are a stack of
            separate matrices.
        param_dtype: dtype of the matrix. Below single precision the coordinates are
            kept and the matrix is computed in float32, and cast once. The cast alone
            then costs an orthogonal n x n bfloat16 matrix a ‖QᵀQ - I‖₂ of some 2⁻⁸ √n.
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
        """Builds the matrix; changes nothing.

        Returns:
            The matrix, of shape `shape` and dtype `param_dtype`.

        Raises:
            ValueError: if the coordinates were replaced by those of another shape.
        """
        matrix = self._build()
        if matrix.shape != self.shape:
            raise ValueError(
                f"{type(self).__name__} of shape {self.shape} holds the coordinates "
                f"of a matrix of shape {matrix.shape}."
            )
        return matrix.astype(self.param_dtype)

    def __getitem__(self, index: Any) -> Array:
        """Refuses: a stock layer must not take coordinates for the matrix."""
        raise TypeError(
            f"A layer reads a {type(self).__name__} that has not been built: call "
            "`gradstab.nn.materialize(model)(...)`, once for any number of calls."
        )

    def assign(self, matrix: Matrix, *, project: bool = False) -> None:
        """Sets the coordinates so that the next call returns `matrix`.

        Where a trace hides the values of `matrix`, as under `jax.jit`, nothing can be
        raised for them: what would be becomes NaN in all coordinates.

        Args:
            matrix: the matrix wanted, of shape `shape`. It is copied.
            project: whether a matrix outside the set is first moved into it: to the
                nearest in the Frobenius norm, unless the class says otherwise.

        Raises:
            ValueError: if the shape or the dtype do not fit, if `matrix` is not
                finite, if it lies outside the set and `project` is False, or if these
                coordinates cannot reach it. The coordinates are then unchanged.
        """
        matrix = self._checked(matrix)
        tolerance = self._tolerance
        if project:
            matrix = self._map_stack(self._nearest, matrix)
            residual = jnp.zeros(())
        else:
            residual = largest_entry(self._map_stack(self._residual, matrix))
        if not isinstance(residual, Tracer) and not residual <= tolerance:
            raise ValueError(
                f"`matrix` lies outside the set of {type(self).__name__}: residual "
                f"{residual:.2e}, tolerance {tolerance:.2e}; pass `project=True` "
                "to move it into the set."
            )
        trial = nnx.clone(self)
        trial._write(matrix)
        error = largest_entry(trial._build() - matrix) / jnp.maximum(
            1.0, largest_entry(matrix)
        )
        if isinstance(error, Tracer):
            sound = (residual <= tolerance) & (error <= tolerance)
            written = nnx.state(trial, nnx.Param)
            written = jax.tree.map(lambda x: jnp.where(sound, x, jnp.nan), written)
            nnx.update(trial, written)
        elif not error <= tolerance:
            raise ValueError(
                f"{type(self).__name__} cannot reach `matrix`: its coordinates give "
                f"it back with error {error:.2e}, tolerance {tolerance:.2e}. "
                f"{self._beyond_reach()}"
            )
        nnx.update(self, nnx.state(trial))

    @property
    def singular_value_bounds(self) -> tuple[float, float]:
        """Bounds (low, high) that hold for every finite value of the coordinates.

        They hold up to rounding in `param_dtype`.
        """
        return 0.0, math.inf

    @property
    def free_parameters(self) -> int:
        """How many numbers an optimizer moves: coordinates that are read."""
        return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(self, nnx.Param)))

    @property
    def update_rank(self) -> int | None:
        """The rank by which the matrix differs from a diagonal, None for any."""
        return None

    def _update(self) -> tuple[Array, Array, Array]:
        """Builds d, C and R of a square matrix diag(d) + C R of a known rank."""
        raise NotImplementedError

    def _build(self) -> Matrix:
        """Builds the matrix in the dtype of the coordinates."""
        raise self._lacks("_build")

    def _write(self, matrix: Matrix) -> None:
        """Sets the coordinates to those of a matrix of the set; can be traced."""
        raise self._lacks("_write")

    def _residual(self, matrix: Inexact[Array, "n m"]) -> Array:
        """Measures how far one matrix is from the set, in units of its entries."""
        raise self._lacks("_residual")

    def _nearest(self, matrix: Inexact[Array, "n m"]) -> Inexact[Array, "n m"]:
        """Moves one matrix into the set."""
        raise self._lacks("_nearest")

    def _reanchor(self) -> None:
        """Moves what is re-anchored between steps, with the matrix unchanged."""

    def _lacks(self, method: str) -> NotImplementedError:
        """Makes the error of a subclass that leaves out what is asked of it."""
        return NotImplementedError(f"{type(self).__name__} has no `{method}`.")

    def _check_reflectors(self, vectors: Array, count: int) -> None:
        """Checks that as many reflectors are held as the constructor was told."""
        if vectors.shape[-1] != count:
            raise ValueError(
                f"{type(self).__name__} of {count} reflectors holds the coordinates of "
                f"one with {vectors.shape[-1]}."
            )

    def _beyond_reach(self) -> str:
        """Says which matrices of the set these coordinates miss, and the remedy."""
        return ""

    def _draw(self, matrix_init: Initializer, rngs: nnx.Rngs) -> Matrix:
        """Draws each matrix of the stack by itself."""
        # A Flax initializer given the whole shape would scale, or orthogonalize, the
        # stack as if it were one matrix.
        *stack, rows, columns = self.shape
        if 0 in self.shape:  # Flax's initializers divide by the sizes.
            return jnp.zeros(self.shape, self._coordinate_dtype)
        return self._map_stack(
            lambda key: matrix_init(key, (rows, columns), self._coordinate_dtype),
            jax.random.split(rngs.params(), tuple(stack)),
        )

    def _initialize(self, matrix_init: Initializer, rngs: nnx.Rngs) -> None:
        """Takes the point of the set that is nearest to what an initializer draws."""
        self.assign(self._draw(matrix_init, rngs), project=True)

    def _map_stack(self, function: Callable[..., Any], *arrays: Array) -> Any:
        """Applies a function of single matrices to each place of the stack."""
        for _ in self.shape[:-2]:
            function = jax.vmap(function)
        return function(*arrays)

    def _checked(self, matrix: Matrix) -> Matrix:
        matrix = jnp.asarray(matrix)
        if matrix.shape != self.shape:
            raise ValueError(
                f"`matrix` must have shape {self.shape}, got {matrix.shape}."
            )
        if not jnp.issubdtype(matrix.dtype, jnp.inexact):
            raise ValueError(
                f"`matrix` must have a floating-point dtype, got {matrix.dtype.name}."
            )
        if jnp.iscomplexobj(matrix) and not self._is_complex:
            raise ValueError(
                "`matrix` must be real where `param_dtype` is "
                f"{jnp.dtype(self.param_dtype).name}, got {matrix.dtype.name}."
            )
        if not isinstance(matrix, Tracer) and not jnp.all(jnp.isfinite(matrix)):
            raise ValueError("`matrix` must be finite, got NaN or infinity.")
        # A copy: the caller's array may be donated together with these coordinates.
        return jnp.array(matrix, self._coordinate_dtype, copy=True)

    @property
    def _tolerance(self) -> float:
        """How far a matrix may be from the set: rounding, of its entries too."""
        size = max(1, *self.shape[-2:])
        if jnp.finfo(self.param_dtype).bits < 32:
            return size * float(jnp.finfo(self.param_dtype).eps)
        return 100 * size * float(jnp.finfo(self._coordinate_dtype).eps)

    @property
    def _is_complex(self) -> bool:
        return jnp.issubdtype(self.param_dtype, jnp.complexfloating)

    @property
    def _coordinate_dtype(self) -> Any:
        return at_least_single(self.param_dtype)

    @property
    def _real_dtype(self) -> Any:
        return jnp.finfo(self._coordinate_dtype).dtype


def largest_entry(x: Array) -> Array:
    """Returns the largest modulus of an entry, 0 if there are none, NaN if one is."""
    size = jnp.abs(x)
    # A maximum of many numbers loses NaN on a CPU, a sum does not.
    nan = jnp.isnan(jnp.sum(size))
    return jnp.where(nan, jnp.nan, jnp.max(size, initial=0.0))
