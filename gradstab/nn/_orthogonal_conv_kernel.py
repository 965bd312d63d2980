"""Kernels of convolutions that keep norms: block convolution orthogonal ones."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from flax import nnx
from flax.typing import Dtype
from jaxtyping import Array

from gradstab import linalg
from gradstab.nn._block_convolution import block_convolve, block_deconvolve
from gradstab.nn._conv_kernel import ConvKernel
from gradstab.nn._householder import Householder
from gradstab.nn._parametrization import Matrix, Parametrization, largest_entry

OrthogonalFactory = Callable[[tuple[int, ...]], Parametrization]


class OrthogonalConvKernel(ConvKernel):
    r"""A kernel whose convolution has no other singular value than 1.

    .. math:: K = [P_1, I - P_1] * [I - P_2, P_2] * \cdots * [P_m, I - P_m] * R

    with orthogonal projections P of half the channels, one for each position k - s of
    each axis in turns, and R a matrix with orthonormal columns or rows, which is the
    kernel of s positions that the strides s leave without overlap. Every factor is a
    convolution that keeps norms, and so is K: one ordinary kernel, which `nnx.Conv`
    reads after `export`. P = U Uᵀ, and U and R are orthonormal by a parametrization of
    their own.

    All singular values of the convolution are 1 with circular padding at every image
    size that the strides divide: it keeps the norm of images if s₁...s_d in <= out, and
    the norm of gradients if it is >=. With zero padding they are at most 1, and less
    near the border.

    With projections of any rank the products are all such square kernels of one axis,
    not of two. Those of half the channels have the most freedom. A wide kernel without
    strides is the transpose of a tall one. O(m n channels) a build, with n the numbers
    in the kernel, and that of U and R.

    `assign` takes the factors from a kernel one by one. With `project=True` it gives a
    kernel of the set that is near if the given one is near the set, and not the
    nearest: each factor in turn leaves out what does not fit, and R is the polar factor
    of the rest. Strided kernels of more positions than strides that have s₁...s_d (in
    + 1) outputs or more pass through further channels, which `assign` cannot find. The
    ends of a long kernel are products of many projections: from about ten positions
    along an axis they lose digits, and `assign` may refuse kernels of the set.

    Args:
        shape: shape (*positions, in, out) of the kernel.
        strides: strides s of the convolution, for all axes or for each.
        orthogonal: makes a parametrization with orthonormal columns or rows of a given
            shape, of `param_dtype` or float32 if that is lower: of U as a stack (m,
            channels, channels // 2), and of R. If None, `Householder`.
        param_dtype: dtype of the kernel, a real one. Below single precision all factors
            are multiplied in float32.
        rngs: source of the `params` keys of a `Householder`.

    Raises:
        ValueError: if there are fewer positions than a stride along an axis, if
            `orthogonal` makes anything else, or for a `shape`, `strides` or
            `param_dtype` that `ConvKernel` refuses.

    References:
        Li, Haque, Anil, Lucas, Grosse & Jacobsen, "Preventing Gradient Attenuation in
        Lipschitz Constrained Convolutional Networks", NeurIPS 2019, arXiv:1911.00937.
        They make U by Björck's iteration. Every other factor is reversed here, so that
        the kernel is centered.
        Boissin, Mamalet, Fel, Picard, Massena & Serrurier, "An Adaptive Orthogonal
        Convolution Scheme for Efficient and Flexible CNN Architectures", ICML 2025,
        arXiv:2501.07930, for strides.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        *,
        strides: int | Sequence[int] = 1,
        orthogonal: OrthogonalFactory | None = None,
        param_dtype: Dtype = jnp.float32,
        rngs: nnx.Rngs,
    ):
        super().__init__(shape, strides=strides, param_dtype=param_dtype)
        *positions, features, outputs = shape
        if any(k < s for k, s in zip(positions, self.strides, strict=True)):
            raise ValueError(
                "`shape` must have as many positions as `strides` along each axis, or "
                f"pixels are left out; got {tuple(positions)} and {self.strides}."
            )
        dtype = self._coordinate_dtype

        def householder(shape: tuple[int, ...]) -> Parametrization:
            return Householder(shape, param_dtype=dtype, rngs=rngs)

        phases = math.prod(self.strides)
        self._is_wide = phases == 1 and features < outputs
        if self._is_wide:
            features, outputs = outputs, features
        factors = len(self._factors)
        self.channels = max(features, outputs // phases) if factors else features
        make = orthogonal or householder
        stack = (factors, self.channels, self.channels // 2)
        self.frames: Any = nnx.data(None)
        if factors and self.channels > 1:
            self.frames = _checked_factor(make(stack), stack, dtype)
        last = (phases * self.channels, outputs)
        self.last: Any = _checked_factor(make(last), last, dtype)

    def assign(self, matrix: Matrix, *, project: bool = False) -> None:
        """Sets the coordinates so that the next call returns a kernel.

        Args:
            matrix: the kernel wanted, of shape `shape`. It is copied.
            project: whether a kernel outside the set is moved into it, see above.

        Raises:
            ValueError: as of every parametrization. The coordinates are then unchanged.
        """
        if not project:
            super().assign(matrix)
            return
        # What is written lies in the set: there is nothing to compare it with.
        trial = nnx.clone(self)
        trial._write(self._checked(matrix))
        nnx.update(self, nnx.state(trial))

    @property
    def singular_value_bounds(self) -> tuple[float, float]:
        """Exactly (1, 1)."""
        return 1.0, 1.0

    @property
    def free_parameters(self) -> int:
        """Those of U and R."""
        parts = [self.last] if self.frames is None else [self.frames, self.last]
        return sum(part.free_parameters for part in parts)

    @property
    def _factors(self) -> list[tuple[int, bool]]:
        """Axis and direction of each factor, from the first."""
        pairs = zip(self.shape[:-2], self.strides, strict=True)
        counts = [k - s for k, s in pairs]
        return [
            # A factor of each direction and then the next: the kernel stays centered.
            (axis, turn % 2 == 0)
            for turn in range(max(counts))
            for axis, count in enumerate(counts)
            if turn < count
        ]

    def _build(self) -> Matrix:
        factors = self._factors
        frames = self._no_frames if self.frames is None else self.frames()
        kernel = self.last().reshape(*self.strides, self.channels, -1)
        for frame, (axis, is_late) in zip(frames[::-1], factors[::-1], strict=True):
            kernel = block_convolve(frame, kernel, axis, is_late=is_late)
        if self._is_wide:
            return kernel.mT
        return kernel[..., : self.shape[-2], :]

    def _write(self, matrix: Matrix) -> None:
        kernel = matrix.mT if self._is_wide else matrix
        if kernel.shape[-2] != self.channels:
            raise ValueError(
                f"OrthogonalConvKernel of shape {self.shape} and strides "
                f"{self.strides} passes through {self.channels} channels, which cannot "
                "be found from `matrix`; draw its coordinates, or take positions equal "
                "to the strides."
            )
        frames = []
        for axis, is_late in self._factors:
            frame, kernel = block_deconvolve(
                kernel, axis, self.channels // 2, is_late=is_late
            )
            frames.append(frame)
        if self.frames is not None:
            self.frames.assign(jnp.stack(frames))
        # Of a kernel of the set this is orthonormal already, up to rounding.
        self.last.assign(linalg.polar(kernel.reshape(self.last.shape)))

    def _residual(self, matrix: Matrix) -> Array:
        # The products of the kernel with its own shifts, which have to vanish, are less
        # than two kernels long: an image as large as that sees all of them.
        pairs = zip(matrix.shape[:-2], self.strides, strict=True)
        image = [(2 * -(-k // s) - 1) * s for k, s in pairs]
        values = linalg.conv_singular_values(matrix, image, strides=self.strides)
        return largest_entry(values - 1)

    def _beyond_reach(self) -> str:
        return (
            "Kernels that are no product of projections of half the channels are out "
            "of reach, and so may be those of ten positions or more along an axis, "
            "whose ends lose digits; pass `project=True` for a kernel of the set."
        )

    @property
    def _no_frames(self) -> Array:
        """The projections of a single channel, all of rank 0."""
        return jnp.zeros((len(self._factors), self.channels, 0), self._coordinate_dtype)


def _checked_factor(
    factor: Parametrization, shape: tuple[int, ...], dtype: Any
) -> Parametrization:
    """Refuses what does not keep orthonormal columns or rows in the precision asked."""
    if not isinstance(factor, Parametrization):
        raise ValueError(
            f"`orthogonal` must make a Parametrization, got {type(factor).__name__}."
        )
    if factor.shape != shape or factor.singular_value_bounds != (1.0, 1.0):
        raise ValueError(
            f"`orthogonal` must make matrices of shape {shape} with singular values 1, "
            f"got {type(factor).__name__} of shape {factor.shape} with singular values "
            f"in {factor.singular_value_bounds}."
        )
    if factor.param_dtype != dtype:
        raise ValueError(
            f"`orthogonal` must make matrices of {dtype.name}, in which the kernel is "
            f"computed, got {jnp.dtype(factor.param_dtype).name}."
        )
    return factor
