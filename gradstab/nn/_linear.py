"""A linear layer with a constrained kernel."""

from typing import Any

import jax.numpy as jnp
from flax import nnx
from flax.typing import Dtype, Initializer
from jaxtyping import Array, Inexact

from gradstab._checks import check_integer
from gradstab.nn._materialize import materialize
from gradstab.nn._parametrization import Parametrization


class Linear(nnx.Linear):
    r"""Flax's linear layer with a parametrization for a kernel.

    .. math:: y = x K + b

    with K of shape (in_features, out_features), as in Flax: the transpose of the matrix
    that multiplies a column vector, with the same singular values. With
    `SVD((in_features, out_features), rngs=rngs)` every layer of a network, also a
    rectangular one, keeps the norm of what passes and of its gradient within the
    bounds of its spectrum. The layer is a Lipschitz map with the constant
    `kernel.singular_value_bounds[1]`.

    A call builds K; a layer that is called many times in a step is given to
    `materialize` first. To constrain layers of an existing model, see `constrain`.

    Args:
        in_features: length of x.
        out_features: length of y.
        kernel: K; its dtype is that of b.
        use_bias: whether b is added.
        bias_init: initializer of b.
        dtype: dtype of the product; if None, what Flax infers from x and K.
        rngs: source of the `params` key of b.

    Raises:
        ValueError: if `kernel` is no parametrization or of another shape.

    References:
        Zhang, Lei & Dhillon, "Stabilizing Gradients for Deep Neural Networks via
        Efficient SVD Parameterization", ICML 2018, arXiv:1803.09327.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        kernel: Parametrization,
        use_bias: bool = True,
        bias_init: Initializer = nnx.initializers.zeros_init(),
        dtype: Dtype | None = None,
        rngs: nnx.Rngs,
    ):
        check_integer("in_features", in_features, 1)
        check_integer("out_features", out_features, 1)
        if not isinstance(kernel, Parametrization):
            raise ValueError(
                f"`kernel` must be a Parametrization, got {type(kernel).__name__}; "
                "`nnx.Linear` has a plain one."
            )
        if kernel.shape != (in_features, out_features):
            raise ValueError(
                f"`kernel` must have shape {(in_features, out_features)}, "
                f"got {kernel.shape}."
            )
        super().__init__(
            in_features,
            out_features,
            use_bias=use_bias,
            kernel_init=nnx.initializers.zeros_init(),
            bias_init=bias_init,
            dtype=dtype,
            param_dtype=kernel.param_dtype,
            rngs=rngs,
        )
        self.kernel: Any = kernel

    def __call__(
        self, inputs: Inexact[Array, "*batch in"], out_sharding: Any = None
    ) -> Inexact[Array, "*batch out"]:
        """Applies the layer.

        Args:
            inputs: x.
            out_sharding: see Flax.

        Returns:
            y.

        Raises:
            ValueError: if the last axis of `inputs` is not `in_features` long.
        """
        if inputs.ndim == 0 or inputs.shape[-1] != self.in_features:
            raise ValueError(
                f"`inputs` must have {self.in_features} features on the last axis, "
                f"got shape {inputs.shape}."
            )
        if isinstance(self.kernel, Parametrization):
            return materialize(self)(inputs, out_sharding)
        return super().__call__(inputs, out_sharding)

    def flax_twin(self) -> nnx.Linear | None:
        """Returns the `nnx.Linear` with the same weights; None for a subclass."""
        if type(self) is not Linear:
            return None
        twin = nnx.Linear(
            self.in_features,
            self.out_features,
            use_bias=self.use_bias,
            kernel_init=nnx.initializers.zeros_init(),
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            rngs=nnx.Rngs(0),
        )
        twin.kernel = nnx.Param(jnp.asarray(self.kernel()))
        if self.bias is not None:
            twin.bias = nnx.Param(self.bias[...])
        return twin
