"""A convolution with a constrained kernel."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from flax import nnx
from flax.typing import Dtype, Initializer, PrecisionLike
from jaxtyping import Array, Inexact

from gradstab._checks import check_integer, check_kernel_size, check_sizes
from gradstab.nn._conv_kernel import ConvKernel, MatrixConvKernel
from gradstab.nn._materialize import materialize
from gradstab.nn._parametrization import Parametrization

PADDINGS = ("CIRCULAR", "SAME", "SAME_LOWER", "VALID", "CAUSAL")


class Conv(nnx.Conv):
    r"""Flax's convolution with a parametrization for a kernel.

    .. math:: y_p = \sum_q x_{s p + d q} K_q + b

    with K of shape (*positions, in_features, out_features), s the strides and d the
    dilations. The layer is a Lipschitz map with the constant
    `kernel.singular_value_bounds[1]`, with every padding that it takes. With an
    `OrthogonalConvKernel` and the circular padding that is the default here, and not in
    Flax, it keeps the norm of gradients exactly wherever it does not add channels; zero
    padding takes away a part of it at the border of each layer, and so vanishes with
    depth near there.

    A call builds K; a layer that is called many times in a step is given to
    `materialize` first. `export` makes it an `nnx.Conv`. To constrain layers of an
    existing model, see `constrain`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from flax import nnx
        >>> import gradstab as gs
        >>> rngs = nnx.Rngs(0)
        >>> layer = gs.nn.Conv(
        ...     4, 4, (3, 3), use_bias=False, rngs=rngs,
        ...     kernel=lambda shape: gs.nn.OrthogonalConvKernel(shape, rngs=rngs),
        ... )
        >>> def deep(layer, images):
        ...     for _ in range(50):
        ...         images = layer(images)
        ...     return images
        >>> images = jax.random.normal(rngs(), (8, 8, 4))
        >>> norm = jnp.linalg.norm(deep(gs.nn.materialize(layer), images))
        >>> bool(jnp.allclose(norm, jnp.linalg.norm(images), rtol=1e-5))
        True

    Args:
        in_features: channels of x.
        out_features: channels of y.
        kernel_size: positions of K along each axis of the image; an integer for one.
        strides: s, for all axes or for each. Circular padding needs images whose sizes
            they divide.
        kernel: K, or what makes it from its shape. Either a `ConvKernel` with the same
            strides, or the parametrization of a matrix of shape (positions ·
            in_features, out_features), of which it makes a `MatrixConvKernel`. Its
            dtype is that of b.
        padding: `CIRCULAR`, `SAME`, `SAME_LOWER`, `VALID`, `CAUSAL`, or numbers of
            zeros as in Flax. `REFLECT`, which counts pixels twice, has no certificate.
        input_dilation: 1; for transposed convolutions use Flax's own.
        kernel_dilation: d, for all axes or for each, without a common divisor with s.
        feature_group_count: 1; a layer for each group does the same.
        use_bias: whether b is added.
        mask: None; a mask changes the singular values.
        dtype: dtype of the product; if None, what Flax infers from x and K.
        precision: see Flax. On accelerators the default rounds products to fewer bits
            than float32 has.
        bias_init: initializer of b.
        rngs: source of the `params` key of b.

    Raises:
        ValueError: if a size is no integer >= 1, `kernel` no such parametrization or of
            another shape or strides, or another argument is none of the above.

    References:
        See `OrthogonalConvKernel`.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int] | None = 1,
        *,
        kernel: Parametrization | Callable[[tuple[int, ...]], Parametrization],
        padding: Any = "CIRCULAR",
        input_dilation: int | Sequence[int] | None = 1,
        kernel_dilation: int | Sequence[int] | None = 1,
        feature_group_count: int = 1,
        use_bias: bool = True,
        mask: Array | None = None,
        dtype: Dtype | None = None,
        precision: PrecisionLike = None,
        bias_init: Initializer = nnx.initializers.zeros_init(),
        rngs: nnx.Rngs,
    ):
        check_integer("in_features", in_features, 1)
        check_integer("out_features", out_features, 1)
        if isinstance(kernel_size, int):
            kernel_size = (kernel_size,)
        check_kernel_size(kernel_size)
        axes = len(kernel_size)
        strides, dilations = _check_certified(
            axes,
            strides=strides,
            padding=padding,
            input_dilation=input_dilation,
            kernel_dilation=kernel_dilation,
            feature_group_count=feature_group_count,
            mask=mask,
        )
        shape = (*kernel_size, in_features, out_features)
        held = _checked_kernel(kernel, shape, strides)
        super().__init__(
            in_features,
            out_features,
            tuple(kernel_size),
            strides,
            padding=padding,
            kernel_dilation=dilations,
            use_bias=use_bias,
            kernel_init=nnx.initializers.zeros_init(),
            bias_init=bias_init,
            dtype=dtype,
            param_dtype=held.param_dtype,
            precision=precision,
            rngs=rngs,
        )
        self.kernel: Any = held

    def __call__(
        self, inputs: Inexact[Array, "*pixels in"], out_sharding: Any = None
    ) -> Inexact[Array, "*places out"]:
        """Applies the layer.

        Args:
            inputs: x, of shape (*batch, *pixels, in_features).
            out_sharding: see Flax.

        Returns:
            y.

        Raises:
            ValueError: if `inputs` has another number of features, too few axes, or
                with circular padding sizes that the strides do not divide.
        """
        axes = len(self.kernel_size)
        if inputs.ndim < axes + 1 or inputs.shape[-1] != self.in_features:
            raise ValueError(
                f"`inputs` must have {axes} axes of pixels and {self.in_features} "
                f"features on the last axis, got shape {inputs.shape}."
            )
        image = inputs.shape[-axes - 1 : -1]
        strides = _sizes(self.strides)
        pairs = zip(image, strides, strict=True)
        if self.padding == "CIRCULAR" and any(n % s for n, s in pairs):
            raise ValueError(
                "`inputs` must have sizes that the strides divide for circular "
                f"padding, got {image} and {strides}; crop them or pad with zeros."
            )
        if isinstance(self.kernel, Parametrization):
            return materialize(self)(inputs, out_sharding)
        return super().__call__(inputs, out_sharding)

    def flax_twin(self) -> nnx.Conv | None:
        """Returns the `nnx.Conv` with the same weights; None for a subclass."""
        if type(self) is not Conv:
            return None
        twin = nnx.Conv(
            self.in_features,
            self.out_features,
            self.kernel_size,
            self.strides,
            padding=self.padding,
            kernel_dilation=self.kernel_dilation,
            use_bias=self.use_bias,
            kernel_init=nnx.initializers.zeros_init(),
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            precision=self.precision,
            rngs=nnx.Rngs(0),
        )
        twin.kernel = nnx.Param(jnp.asarray(self.kernel()))
        if self.bias is not None:
            twin.bias = nnx.Param(self.bias[...])
        return twin


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
    strides, _ = _check_certified(
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


def _check_certified(
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
        if any(size != 1 for size in _sizes(value)):
            raise ValueError(
                f"`{name}` must be 1, got {value!r}: the norm of any other "
                "convolution is not certified."
            )
    if mask is not None:
        raise ValueError("`mask` must be None: it changes the singular values.")
    return strides, dilations


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


def _sizes(sizes: Any) -> tuple[Any, ...]:
    """Makes a tuple of what Flax takes for the sizes of several axes."""
    if sizes is None:
        return (1,)
    return tuple(sizes) if isinstance(sizes, tuple | list) else (sizes,)


def _checked_kernel(
    kernel: Any, shape: tuple[int, ...], strides: tuple[int, ...]
) -> ConvKernel:
    """Makes the kernel of what the layer was given, or refuses that."""
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
