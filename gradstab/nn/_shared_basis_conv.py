"""A convolution whose filters combine a basis that it shares with others."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import jax.numpy as jnp
from flax import nnx
from flax.typing import Dtype, Initializer
from jax import lax
from jaxtyping import Array, Float

from gradstab._checks import check_integer, check_kernel_size, check_param_dtype

# He, Zhang, Ren & Sun, ICCV 2015, as the authors start all but the shared bases.
he_normal = nnx.initializers.variance_scaling(2.0, "fan_out", "normal")


@runtime_checkable
class NormFactory(Protocol):
    """Makes a normalization of so many channels, as `nnx.BatchNorm` does."""

    def __call__(
        self, num_features: int, *, rngs: nnx.Rngs
    ) -> Callable[..., Array]: ...


class SharedBasisConv(nnx.Module):
    r"""A convolution by a shared basis of filters, a few of its own, and combinations.

    .. math:: y = \operatorname{norm}(A \operatorname{norm}([U * x, W * x]))

    with W the basis, which is given to each call and held by none, U the convolution's
    own filters and A the combinations, a convolution of one position. There are no
    biases. Without normalization between the two it is one convolution whose kernel is
    the product of [U, W] and A.

    Its gradient with respect to x holds W once, so that L convolutions in a row hold
    the same W L times: singular values far from 1 make gradients vanish or explode. The
    operator W * x has at most k times the spectral norm of the matrix of W, of
    (positions · in) rows, for kernels of k² positions: an orthonormal W bounds it by k.

    Args:
        in_features: channels C of x.
        out_features: channels of y.
        kernel_size: positions of a filter along each spatial axis.
        shared_features: filters s of the basis.
        private_features: filters u of its own; there may be none.
        strides: of the convolution by the filters.
        padding: as Flax's and XLA's names: `SAME` or `VALID`.
        norm: makes each of the two normalizations, as `nnx.BatchNorm` does; None for
            none.
        normalize_outputs: whether `norm` makes the second one too.
        kernel_init: initializer of U and A.
        param_dtype: dtype of both.
        rngs: source of the `params` keys.

    Raises:
        ValueError: if a number of channels is no integer >= 1 (of private filters, >=
            0), `kernel_size` no tuple of such, `padding` neither of these, or
            `param_dtype` no real one.

    References:
        Kang & Kim, "Deeply Shared Filter Bases for Parameter-Efficient Convolutional
        Neural Networks", NeurIPS 2021, arXiv:2006.05066. The bound by k is ours:
        a pixel is in at most k² patches.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: Sequence[int],
        *,
        shared_features: int,
        private_features: int = 1,
        strides: int = 1,
        padding: str = "SAME",
        norm: NormFactory | None = None,
        normalize_outputs: bool = True,
        kernel_init: Initializer = he_normal,
        param_dtype: Dtype = jnp.float32,
        rngs: nnx.Rngs,
    ):
        for name, value in (
            ("in_features", in_features),
            ("out_features", out_features),
            ("shared_features", shared_features),
            ("strides", strides),
        ):
            check_integer(name, value, 1)
        check_kernel_size(kernel_size)
        if padding not in ("SAME", "VALID"):
            raise ValueError(f"`padding` must be 'SAME' or 'VALID', got {padding!r}.")
        check_integer("private_features", private_features)
        check_param_dtype(param_dtype, real=True)
        self.basis_shape = (*kernel_size, in_features, shared_features)
        self.strides = strides
        self.padding = padding

        def param(shape: Sequence[int]) -> nnx.Param:
            return nnx.Param(kernel_init(rngs.params(), shape, param_dtype))

        features = shared_features + private_features
        ones = (1,) * len(kernel_size)
        own = (*kernel_size, in_features, private_features)
        self.private = param(own) if private_features else nnx.data(None)
        self.combinations = param((*ones, features, out_features))
        self.inner_norm: Any = norm(features, rngs=rngs) if norm else nnx.data(None)
        outer = norm if normalize_outputs else None
        self.outer_norm: Any = (
            outer(out_features, rngs=rngs) if outer else nnx.data(None)
        )

    def __call__(
        self,
        inputs: Float[Array, "*examples in"],
        basis: Float[Array, "*positions in s"],
    ) -> Float[Array, "*places out"]:
        """Applies the convolution.

        Args:
            inputs: x, of shape (examples, *positions, in_features).
            basis: W, of shape (*kernel_size, in_features, shared_features).

        Returns:
            y, in the dtype of x.

        Raises:
            ValueError: if `inputs` or `basis` has another shape, or `inputs` is not of
                a real dtype.
        """
        axes = len(self.basis_shape) - 2
        if inputs.ndim != axes + 2 or inputs.shape[-1] != self.basis_shape[-2]:
            raise ValueError(
                f"`inputs` must have one axis of examples, {axes} of positions and "
                f"{self.basis_shape[-2]} features on the last, got {inputs.shape}."
            )
        if not jnp.issubdtype(inputs.dtype, jnp.floating):
            raise ValueError(f"`inputs` must be of a real dtype, got {inputs.dtype}.")
        outputs = convolve(inputs, self.filters(basis), self.strides, self.padding)
        if self.inner_norm is not None:
            outputs = self.inner_norm(outputs)
        outputs = convolve(outputs, self.combinations[...])
        if self.outer_norm is not None:
            outputs = self.outer_norm(outputs)
        return outputs.astype(inputs.dtype)

    def filters(
        self, basis: Float[Array, "*positions in s"]
    ) -> Float[Array, "*positions in r"]:
        """Puts its own filters before those of the basis.

        Args:
            basis: W.

        Returns:
            [U, W], in the dtype of W.

        Raises:
            ValueError: if `basis` has another shape.
        """
        if basis.shape != self.basis_shape:
            raise ValueError(
                f"`basis` must have shape {self.basis_shape}, got {basis.shape}."
            )
        if self.private is None:
            return basis
        return jnp.concatenate([self.private[...].astype(basis.dtype), basis], axis=-1)

    def dense_kernel(
        self, basis: Float[Array, "*positions in s"]
    ) -> Float[Array, "*positions in out"]:
        """Multiplies the filters and their combinations, without normalizations.

        Args:
            basis: W.

        Returns:
            The kernel of the convolution that this one is if `norm` is None.
        """
        filters = self.filters(basis)
        matrix = self.combinations[...].reshape(filters.shape[-1], -1)
        return jnp.matmul(
            filters, matrix.astype(filters.dtype), precision=lax.Precision.HIGHEST
        )


def convolve(
    inputs: Float[Array, "*examples in"],
    kernel: Float[Array, "*positions in out"],
    strides: int = 1,
    padding: str = "SAME",
) -> Float[Array, "*places out"]:
    """Convolves channels-last, in the dtype of the inputs."""
    axes = kernel.ndim - 2
    last, positions = axes + 1, range(axes)
    images = (0, last, *(1 + place for place in positions))
    kernels = (last, axes, *positions)
    return lax.conv_general_dilated(
        inputs,
        kernel.astype(inputs.dtype),
        (strides,) * axes,
        padding,
        dimension_numbers=lax.ConvDimensionNumbers(images, kernels, images),
    )
