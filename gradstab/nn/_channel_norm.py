"""Normalizing each channel of each example over its positions."""

from typing import Literal, get_args

import jax.numpy as jnp
from flax import nnx
from flax.typing import Dtype, Initializer
from jax import lax
from jaxtyping import Array, Float

from gradstab._checks import check_integer, check_param_dtype, check_real
from gradstab._precision import at_least_single

ChannelNormMode = Literal["full", "no_scale", "center", "bias", "identity"]


def check_mode(name: str, mode: str) -> None:
    """Checks that an argument is a mode of `ChannelNorm`.

    Args:
        name: the argument, as the caller knows it.
        mode: its value.

    Raises:
        ValueError: if it is none.
    """
    if mode not in get_args(ChannelNormMode):
        choices = ", ".join(map(repr, get_args(ChannelNormMode)))
        raise ValueError(f"`{name}` must be one of {choices}, got {mode!r}.")


class ChannelNorm(nnx.Module):
    r"""Normalizes each channel of each example over its positions.

    .. math:: y_c = \gamma_c \frac{x_c - \operatorname{mean} x_c}
        {\sqrt{\operatorname{var} x_c + \epsilon}} + \beta_c

    with mean and variance over the positions of one example and channel alone: nothing
    is shared by a batch, and evaluation is training. The modes are `full`; `no_scale`,
    without γ; `center`, which subtracts the mean, divides by nothing and adds β;
    `bias`, which only adds β, the control of the same expressive power; and `identity`.

    After a linear map without bias and a positively homogeneous activation, such as a
    convolution and a ReLU, `full` and `no_scale` make the network independent of the
    norm of the weights W (where ε does not count): ⟨W, ∂L/∂W⟩ = 0, and the gradient is
    divided by what W is multiplied by. In chains of linear layers it then neither
    vanishes nor explodes with depth, as the paper proves of one channel. With ReLUs
    between it does not vanish either, but grows with depth toward the input.

    A constant channel gives β. There the gradient is multiplied by γ/√ε, and by 0 if ε
    is 0. Two passes, so that a mean k times the deviation costs log₂ k bits, and not
    twice as many; float32 at least inside. O(size of x).

    Args:
        features: number of channels, the last axis.
        mode: see above.
        spatial_axes: how many axes before the last hold positions; all before are
            examples.
        epsilon: ε, at least 0.
        unbiased: whether the variance divides by one position less than there are.
        scale_init: initializer of γ.
        bias_init: initializer of β.
        param_dtype: dtype of both.
        rngs: source of the `params` keys.

    Attributes:
        scale: γ, or None.
        bias: β, or None.

    Raises:
        ValueError: if `features` or `spatial_axes` is no integer >= 1, `mode` is none
            of these, `epsilon` is negative, or `param_dtype` no real one.

    References:
        Dai & Heckel, "Channel Normalization in Convolutional Neural Network avoids
        Vanishing Gradients", ICML workshop 2019, arXiv:1907.09539. Their code divides
        by the unbiased variance in one dimension and by the biased one in two. It is
        instance normalization: Ulyanov, Vedaldi & Lempitsky, arXiv:1607.08022.
    """

    def __init__(
        self,
        features: int,
        *,
        mode: ChannelNormMode = "full",
        spatial_axes: int = 2,
        epsilon: float = 1e-5,
        unbiased: bool = False,
        scale_init: Initializer = nnx.initializers.ones_init(),
        bias_init: Initializer = nnx.initializers.zeros_init(),
        param_dtype: Dtype = jnp.float32,
        rngs: nnx.Rngs,
    ):
        check_integer("features", features, 1)
        check_integer("spatial_axes", spatial_axes, 1)
        check_real("epsilon", epsilon, 0.0)
        check_param_dtype(param_dtype, real=True)
        check_mode("mode", mode)
        self.features = features
        self.mode = mode
        self.spatial_axes = spatial_axes
        self.epsilon = epsilon
        self.unbiased = unbiased

        def param(initializer: Initializer) -> nnx.Param:
            return nnx.Param(initializer(rngs.params(), (features,), param_dtype))

        scaled, shifted = mode == "full", mode != "identity"
        self.scale = param(scale_init) if scaled else nnx.data(None)
        self.bias = param(bias_init) if shifted else nnx.data(None)

    def __call__(
        self, inputs: Float[Array, "*examples features"]
    ) -> Float[Array, "*examples features"]:
        """Normalizes.

        Args:
            inputs: x, of shape (*examples, *positions, features).

        Returns:
            y, in the dtype of x.

        Raises:
            ValueError: if `inputs` has not these axes, or is not of a real dtype.
        """
        if inputs.ndim <= self.spatial_axes or inputs.shape[-1] != self.features:
            raise ValueError(
                f"`inputs` must have {self.spatial_axes} axes of positions and "
                f"{self.features} features on the last one, got shape {inputs.shape}."
            )
        if not jnp.issubdtype(inputs.dtype, jnp.floating):
            raise ValueError(f"`inputs` must be of a real dtype, got {inputs.dtype}.")
        if self.bias is None:
            return inputs
        dtype = at_least_single(inputs.dtype)
        outputs = inputs.astype(dtype)
        positions = tuple(range(-1 - self.spatial_axes, -1))
        if self.mode != "bias":
            # From one of them on: the mean of equal numbers is not exactly they.
            first = [
                slice(1) if a in positions else slice(None)
                for a in range(-inputs.ndim, 0)
            ]
            outputs -= lax.stop_gradient(outputs[tuple(first)])
            outputs -= jnp.mean(outputs, axis=positions, keepdims=True)
        if self.mode in ("full", "no_scale"):
            outputs *= self._gain(outputs, positions)
        if self.scale is not None:
            outputs *= self._along(self.scale[...].astype(dtype), inputs.ndim)
        outputs += self._along(self.bias[...].astype(dtype), inputs.ndim)
        return outputs.astype(inputs.dtype)

    def _gain(self, centered: Array, positions: tuple[int, ...]) -> Array:
        """Gives what centered inputs are multiplied by."""
        squares = jnp.sum(centered**2, axis=positions, keepdims=True)
        count = centered.size // max(squares.size, 1)
        variance = squares / max(count - self.unbiased, 1) + self.epsilon
        is_flat = variance == 0
        gain = 1 / jnp.sqrt(jnp.where(is_flat, 1, variance))
        return jnp.where(is_flat, 0, gain)

    @staticmethod
    def _along(vector: Array, axes: int) -> Array:
        return vector[(None,) * (axes - 1)]
