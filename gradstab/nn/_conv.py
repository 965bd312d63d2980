"""A convolution with a constrained kernel."""

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
from flax import nnx
from flax.typing import Dtype, Initializer, PrecisionLike
from jaxtyping import Array, Inexact

from gradstab._checks import check_integer, check_kernel_size
from gradstab.nn._conv_certificate import as_sizes, check_certified, checked_kernel
from gradstab.nn._materialize import materialize
from gradstab.nn._parametrization import Parametrization


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
        strides, dilations = check_certified(
            axes,
            strides=strides,
            padding=padding,
            input_dilation=input_dilation,
            kernel_dilation=kernel_dilation,
            feature_group_count=feature_group_count,
            mask=mask,
        )
        shape = (*kernel_size, in_features, out_features)
        held = checked_kernel(kernel, shape, strides)
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
        strides = as_sizes(self.strides)
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
