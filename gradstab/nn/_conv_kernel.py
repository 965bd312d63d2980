"""What a parametrization of a convolution's kernel promises, and the plain one."""

import math
from collections.abc import Callable, Sequence
from typing import Any

from flax.typing import Dtype
from jaxtyping import Array

from gradstab._checks import check_shape, check_sizes
from gradstab.nn._parametrization import Matrix, Parametrization


class ConvKernel(Parametrization):
    """The kernel of a convolution, given by unconstrained coordinates.

    A `Parametrization` whose `shape` is (*positions, in, out), as of Flax's kernels.
    It is one operator and no stack of matrices: `singular_value_bounds` are those of
    the convolution with its strides. They hold with circular padding of images whose
    sizes the strides divide, and the upper one with zeros of any number around images
    of any size. They hold for a dilated kernel too where no stride and dilation of an
    axis have a common divisor: such a convolution is a sum of undilated ones on
    separate pixels.

    Args:
        shape: (*positions, in, out), with at least one axis of positions.
        strides: strides of the convolution, for all axes of positions or for each.
        param_dtype: dtype of the kernel, a real one.

    Raises:
        ValueError: if `shape` has no axis of positions or holds a size of 0, `strides`
            is no integer >= 1 for each, or `param_dtype` is not real.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        *,
        strides: int | Sequence[int],
        param_dtype: Dtype,
    ):
        check_shape("shape", shape)
        if len(shape) < 3 or 0 in shape:
            raise ValueError(
                "`shape` must be a tuple (*positions, in, out) with at least one axis "
                f"of positions and no size of 0, got {shape!r}."
            )
        super().__init__(shape, param_dtype=param_dtype, real=True)
        self.strides = check_sizes("strides", strides, len(shape) - 2)

    def _map_stack(self, function: Callable[..., Any], *arrays: Array) -> Any:
        return function(*arrays)

    @property
    def _rows(self) -> int:
        """The rows of the matrix of all positions and inputs against the outputs."""
        return math.prod(self.shape[:-1])

    @property
    def _tolerance(self) -> float:
        return super()._tolerance * max(1, self._rows / max(self.shape[-2:]))


class MatrixConvKernel(ConvKernel):
    r"""A kernel whose matrix of positions and inputs against outputs is parametrized.

    .. math:: \|C\|_2 \le \sqrt{\lceil k_1/s_1 \rceil \cdots \lceil k_d/s_d \rceil} \,
        \|K\|_2

    for k positions and strides s: each pixel is in so many of the patches that K is
    multiplied with. Where the strides are the positions no patches overlap, and the
    singular values of the convolution C are those of K.

    Args:
        shape: shape (*positions, in, out) of the kernel.
        matrix: K, of shape (positions · in, out).
        strides: strides of the convolution, for all axes or for each.

    Raises:
        ValueError: if `matrix` is no parametrization of that shape and a real dtype,
            or for a `shape` or `strides` that `ConvKernel` refuses.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        *,
        matrix: Parametrization,
        strides: int | Sequence[int] = 1,
    ):
        if not isinstance(matrix, Parametrization):
            raise ValueError(
                f"`matrix` must be a Parametrization, got {type(matrix).__name__}."
            )
        super().__init__(shape, strides=strides, param_dtype=matrix.param_dtype)
        wanted = (self._rows, shape[-1])
        if matrix.shape != wanted:
            raise ValueError(f"`matrix` must have shape {wanted}, got {matrix.shape}.")
        self.matrix: Any = matrix

    @property
    def singular_value_bounds(self) -> tuple[float, float]:
        """The bounds of the matrix, the upper one times the factor above."""
        low, high = self.matrix.singular_value_bounds
        positions = self.shape[:-2]
        pairs = zip(positions, self.strides, strict=True)
        overlap = math.prod(-(-k // s) for k, s in pairs)
        low = low if positions == self.strides else 0.0
        return low, high * math.sqrt(overlap)

    @property
    def free_parameters(self) -> int:
        """Those of the matrix."""
        return self.matrix.free_parameters

    def _build(self) -> Matrix:
        return self.matrix().astype(self._coordinate_dtype).reshape(self.shape)

    def _write(self, matrix: Matrix) -> None:
        self.matrix.assign(self._view(matrix))

    def _residual(self, matrix: Matrix) -> Array:
        return self.matrix._residual(self._view(matrix))

    def _nearest(self, matrix: Matrix) -> Matrix:
        return self.matrix._nearest(self._view(matrix)).reshape(self.shape)

    def _beyond_reach(self) -> str:
        return self.matrix._beyond_reach()

    def _view(self, kernel: Array) -> Array:
        return kernel.reshape(self.matrix.shape)
