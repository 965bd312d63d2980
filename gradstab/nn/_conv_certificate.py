"""Refusing convolutions that the singular values of a kernel do not hold for."""

import math
from collections.abc import Sequence
from typing import Any

from flax import nnx
from jaxtyping import Array

from gradstab._checks import check_sizes
from gradstab.nn._conv_kernel import ConvKernel, MatrixConvKernel
from gradstab.nn._parametrization import Parametrization

PADDINGS = ("CIRCULAR", "SAME", "SAME_LOWER", "VALID", "CAUSAL")


def check_layer(layer: nnx.Conv | nnx.ConvTranspose, kernel: ConvKernel) -> None:
    """Checks that what a kernel promises holds in a layer of Flax.

    Args:
        layer: the layer that is to read the kernel.
        kernel: it.

    Raises:
        ValueError: if the layer is transposed, has an option that `Conv` refuses, or
            another shape or strides than the kernel.
    """
    if isinstance(layer, nnx.ConvTranspose):
        raise ValueError(
            "the norm of an `nnx.ConvTranspose` is not certified; use an `nnx.Conv`."
        )
    strides, _ = check_certified(
        len(layer.kernel_size),
        strides=layer.strides,
        padding=layer.padding,
        input_dilation=layer.input_dilation,
        kernel_dilation=layer.kernel_dilation,
        feature_group_count=layer.feature_group_count,
        mask=layer.mask,
    )
    shape = (*layer.kernel_size, layer.in_features, layer.out_features)
    _check_fit(kernel, shape, strides)


def check_certified(
    axes: int,
    *,
    strides: int | Sequence[int] | None,
    padding: Any,
    input_dilation: int | Sequence[int] | None,
    kernel_dilation: int | Sequence[int] | None,
    feature_group_count: int,
    mask: Array | None,
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Refuses convolutions of which a `ConvKernel` promises nothing.

    Args:
        axes: how many an image has, without batch and channels.
        strides: as in Flax.
        padding: as in Flax.
        input_dilation: as in Flax.
        kernel_dilation: as in Flax.
        feature_group_count: as in Flax.
        mask: as in Flax.

    Returns:
        The strides and the dilations of all axes.

    Raises:
        ValueError: if a size is no integer >= 1, or for one of those convolutions.
    """
    strides = check_sizes("strides", 1 if strides is None else strides, axes)
    dilation = 1 if kernel_dilation is None else kernel_dilation
    dilations = check_sizes("kernel_dilation", dilation, axes)
    if any(math.gcd(s, d) > 1 for s, d in zip(strides, dilations, strict=True)):
        raise ValueError(
            "`kernel_dilation` must have no common divisor with `strides`, or "
            f"pixels are left out; got {dilations} and {strides}."
        )
    _check_padding(padding, axes)
    for name, value in (
        ("input_dilation", input_dilation),
        ("feature_group_count", feature_group_count),
    ):
        if any(size != 1 for size in as_sizes(value)):
            raise ValueError(
                f"`{name}` must be 1, got {value!r}: the norm of any other "
                "convolution is not certified."
            )
    if mask is not None:
        raise ValueError("`mask` must be None: it changes the singular values.")
    return strides, dilations


def checked_kernel(
    kernel: Any, shape: tuple[int, ...], strides: tuple[int, ...]
) -> ConvKernel:
    """Makes the kernel of what a layer was given, or refuses that.

    Args:
        kernel: a `ConvKernel`, the parametrization of a matrix, or what makes either.
        shape: that of the layer, (*positions, in_features, out_features).
        strides: those of the layer.

    Returns:
        The `ConvKernel` of that shape and those strides.

    Raises:
        ValueError: if `kernel` is or makes none, or has another shape or strides.
    """
    if not isinstance(kernel, Parametrization | nnx.Variable) and callable(kernel):
        kernel = kernel(shape)
    if not isinstance(kernel, Parametrization):
        raise ValueError(
            f"`kernel` must be a Parametrization or make one, got "
            f"{type(kernel).__name__}; `nnx.Conv` has a plain one."
        )
    if not isinstance(kernel, ConvKernel):
        rows = math.prod(shape[:-1])
        if kernel.shape != (rows, shape[-1]):
            raise ValueError(
                f"`kernel` must have shape {(rows, shape[-1])}, or {shape} if it is a "
                f"ConvKernel, got {type(kernel).__name__} of shape {kernel.shape}."
            )
        return MatrixConvKernel(shape, matrix=kernel, strides=strides)
    _check_fit(kernel, shape, strides)
    return kernel


def as_sizes(sizes: Any) -> tuple[Any, ...]:
    """Makes a tuple of what Flax takes for the sizes of several axes.

    Args:
        sizes: one for all axes, a tuple or list with one for each, or None for 1.

    Returns:
        A tuple, of a single size where there is one for all.
    """
    if sizes is None:
        return (1,)
    return tuple(sizes) if isinstance(sizes, tuple | list) else (sizes,)


def _check_padding(padding: Any, axes: int) -> None:
    """Refuses what Flax would at the first call, and what counts pixels twice."""
    if isinstance(padding, str):
        is_fit = padding in PADDINGS and (padding != "CAUSAL" or axes == 1)
    elif isinstance(padding, tuple | list):
        is_fit = len(padding) == axes and all(
            _is_count(ends)
            or (
                isinstance(ends, tuple) and len(ends) == 2 and all(map(_is_count, ends))
            )
            for ends in padding
        )
    else:
        is_fit = _is_count(padding)
    if not is_fit:
        raise ValueError(
            f"`padding` must be one of {', '.join(PADDINGS)}, the last for one axis, "
            "or a number of zeros, for all axes or for each, where it may be a pair; "
            f"got {padding!r} for {axes}."
        )


def _is_count(value: Any) -> bool:
    # Flax takes no integers of NumPy.
    return isinstance(value, int) and not isinstance(value, bool)


def _check_fit(
    kernel: ConvKernel, shape: tuple[int, ...], strides: tuple[int, ...]
) -> None:
    """Refuses the kernel of another convolution."""
    if kernel.shape != shape or kernel.strides != strides:
        raise ValueError(
            f"`kernel` must have shape {shape} and strides {strides}, got "
            f"{kernel.shape} and {kernel.strides}; make it with those of the layer, "
            f"`{type(kernel).__name__}(..., strides=...)`."
        )
