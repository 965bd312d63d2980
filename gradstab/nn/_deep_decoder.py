"""A decoder that is a prior for images without having seen any."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from flax.typing import Dtype, Initializer
from jaxtyping import Array, Float

from gradstab._checks import check_integer, check_kernel_size
from gradstab.nn._channel_norm import ChannelNorm, ChannelNormMode, check_mode


class DeepDecoder(nnx.Module):
    r"""Convolutions, ReLUs and channel normalizations from noise to an image.

    .. math:: x_i = \operatorname{cn}(\operatorname{relu}(U (W_i * x_{i-1}))), \qquad
        y = \operatorname{sigmoid}(W * x_d + b)

    with U the identity, or an upsampling by 2 (linear interpolation along each axis),
    W a combination of channels. Fitted to a single image by gradient descent from a
    fixed random x₀, it fits the image before its noise. With a kernel of one position
    and upsampling it is the deep decoder; with larger kernels, a deep image prior.

    Args:
        in_features: channels of x₀.
        hidden_features: channels of all x_i.
        out_features: channels of y.
        layers: their number d.
        kernel_size: positions of a kernel along each spatial axis, whose number it
            gives.
        upsample: whether every layer makes each spatial axis twice as long.
        norm: the mode of the channel normalization.
        padding: what lies beyond the edge, as Flax names it.
        kernel_init: initializer of the kernels.
        param_dtype: dtype of all parameters.
        rngs: source of the `params` keys.

    Raises:
        ValueError: if a number is no integer >= 1, or `norm` is no mode.

    References:
        Heckel & Hand, "Deep Decoder: Concise Image Representations from Untrained
        Non-convolutional Networks", ICLR 2019, arXiv:1810.03982; Ulyanov, Vedaldi &
        Lempitsky, "Deep Image Prior", CVPR 2018; Dai & Heckel, "Channel Normalization
        in Convolutional Neural Network avoids Vanishing Gradients", ICML workshop
        2019, arXiv:1907.09539, whose decoders do not upsample.
    """

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        out_features: int,
        *,
        layers: int = 5,
        kernel_size: Sequence[int] = (1, 1),
        upsample: bool = True,
        norm: ChannelNormMode = "full",
        padding: str = "REFLECT",
        kernel_init: Initializer = nnx.initializers.lecun_normal(),
        param_dtype: Dtype = jnp.float32,
        rngs: nnx.Rngs,
    ):
        check_integer("layers", layers, 1)
        for name, value in (
            ("in_features", in_features),
            ("hidden_features", hidden_features),
            ("out_features", out_features),
        ):
            check_integer(name, value, 1)
        check_kernel_size(kernel_size)
        check_mode("norm", norm)
        self.in_features = in_features
        self.upsample = upsample
        self.spatial_axes = len(kernel_size)

        def convolution(inputs: int) -> nnx.Conv:
            return nnx.Conv(
                inputs,
                hidden_features,
                kernel_size,
                padding=padding,
                use_bias=False,
                kernel_init=kernel_init,
                param_dtype=param_dtype,
                rngs=rngs,
            )

        sizes = [in_features] + [hidden_features] * (layers - 1)
        self.convolutions = nnx.List([convolution(size) for size in sizes])
        self.norms = nnx.List([
            ChannelNorm(
                hidden_features,
                mode=norm,
                spatial_axes=self.spatial_axes,
                param_dtype=param_dtype,
                rngs=rngs,
            )
            for _ in sizes
        ])
        self.readout = nnx.Conv(
            hidden_features,
            out_features,
            (1,) * self.spatial_axes,
            kernel_init=kernel_init,
            param_dtype=param_dtype,
            rngs=rngs,
        )

    def __call__(
        self, inputs: Float[Array, "*examples in"]
    ) -> Float[Array, "*places out"]:
        """Makes the image.

        Args:
            inputs: x₀, of shape (*examples, *positions, in_features).

        Returns:
            y, with entries between 0 and 1; with upsampling each spatial axis is 2^d
            times as long as that of x₀.

        Raises:
            ValueError: if `inputs` has not these axes.
        """
        if inputs.ndim <= self.spatial_axes or inputs.shape[-1] != self.in_features:
            raise ValueError(
                f"`inputs` must have {self.spatial_axes} axes of positions and "
                f"{self.in_features} features on the last one, got shape "
                f"{inputs.shape}."
            )
        x = inputs
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = convolution(x)
            x = norm(jax.nn.relu(self._upsampled(x) if self.upsample else x))
        return jax.nn.sigmoid(self.readout(x))

    def _upsampled(self, x: Array) -> Array:
        first = x.ndim - 1 - self.spatial_axes
        shape = [
            2 * size if first <= axis < x.ndim - 1 else size
            for axis, size in enumerate(x.shape)
        ]
        return jax.image.resize(x, shape, "linear")
