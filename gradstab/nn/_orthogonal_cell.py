"""The Elman recurrence with a parametrized recurrent matrix."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from flax.typing import Dtype, Initializer
from jaxtyping import Array, Inexact

from gradstab.nn._cayley import Cayley
from gradstab.nn._matmul_cell import MatmulCell
from gradstab.nn._modrelu import modrelu
from gradstab.nn._parametrization import Parametrization

_CONTRACTIONS = (jnp.tanh, jax.nn.relu, jax.nn.leaky_relu, jax.nn.sigmoid)


class OrthogonalCell(MatmulCell):
    r"""The Elman recurrence with a parametrized recurrent matrix.

    .. math:: h' = \phi(W x + R h + b)

    with R built by `recurrent`. With `ScaledCayley` and `modrelu` it is scoRNN, where
    the bias is that of the activation: h' = modrelu(W x + R h, b).

    Example:
        >>> from flax import nnx
        >>> import jax.numpy as jnp
        >>> import gradstab as gs
        >>> rngs = nnx.Rngs(0)
        >>> recurrent = gs.nn.ScaledCayley((4, 4), rngs=rngs)
        >>> cell = gs.nn.OrthogonalCell(
        ...     3, 4, recurrent=recurrent, activation_fn=gs.nn.modrelu, rngs=rngs
        ... )
        >>> gs.nn.RNN(cell)(jnp.ones((2, 5, 3))).shape  # (batch, time, features)
        (2, 5, 4)

    Args:
        in_features: length of x.
        hidden_features: length of h.
        recurrent: parametrization of R, shape (hidden_features, hidden_features).
            `Cayley` if None.
        activation_fn: the function φ of one array, or `modrelu`. Pass a named function:
            every new lambda is compiled anew.
        kernel_init: initializer of W, transposed.
        bias_init: initializer of b.
        dtype: dtype of the products with weights; `param_dtype` if None.
        param_dtype: dtype of the parameters, and of the state unless below float32.
        rngs: source of the `params` keys.

    References:
        Helfrich, Willmott & Ye, "Orthogonal Recurrent Neural Networks with Scaled
        Cayley Transform", ICML 2018, arXiv:1707.09520.
    """

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        *,
        recurrent: Parametrization | None = None,
        activation_fn: Callable[..., Array] = jnp.tanh,
        kernel_init: Initializer = nnx.initializers.lecun_normal(),
        bias_init: Initializer = nnx.initializers.zeros_init(),
        dtype: Dtype | None = None,
        param_dtype: Dtype = jnp.float32,
        rngs: nnx.Rngs,
    ):
        super().__init__(
            in_features, hidden_features, dtype=dtype, param_dtype=param_dtype
        )
        shape = (hidden_features, hidden_features)
        if recurrent is None:
            recurrent = Cayley(shape, param_dtype=param_dtype, rngs=rngs)
        if recurrent.shape != shape:
            raise ValueError(
                f"`recurrent` must have shape {shape}, got {recurrent.shape}."
            )
        self.recurrent = recurrent
        self.activation_fn = activation_fn
        moved = activation_fn is modrelu
        self.dense = nnx.Linear(
            in_features,
            hidden_features,
            use_bias=not moved,
            kernel_init=kernel_init,
            bias_init=bias_init,
            dtype=self.dtype,
            param_dtype=param_dtype,
            rngs=rngs,
        )
        self.bias = nnx.data(None)
        if moved:
            real = jnp.finfo(param_dtype).dtype
            self.bias = nnx.Param(bias_init(rngs.params(), (hidden_features,), real))

    def project(self, inputs: Inexact[Array, " time *batch in"]) -> Any:
        """Computes W x + b; or W x and b side by side for `modrelu`."""
        projected = self.dense(inputs)
        if self.bias is None:
            return projected
        one_each = (projected.shape[0], *[1] * (projected.ndim - 2), self.bias.size)
        return projected, jnp.broadcast_to(self.bias[...], one_each)

    def recurrent_kernels(self) -> tuple[Inexact[Array, "hidden hidden"]]:
        """Returns R transposed."""
        return (self.recurrent().mT.astype(self.dtype),)

    def activate(
        self,
        carry: Inexact[Array, "*batch hidden"],
        products: tuple[Inexact[Array, "*batch hidden"], ...],
        projected: Any,
    ) -> Inexact[Array, "*batch hidden"]:
        """Applies φ."""
        (product,) = products
        if self.bias is None:
            return self.activation_fn(product + projected.astype(product.dtype))
        projected, bias = projected
        return modrelu(
            product + projected.astype(product.dtype), bias.astype(product.real.dtype)
        )

    @property
    def contraction_bound(self) -> float | None:
        """The largest singular value that R may have, where |φ'| <= 1 is known."""
        if self.activation_fn not in _CONTRACTIONS:
            return None
        return self.recurrent.singular_value_bounds[1]

    def flax_twin(self) -> nnx.SimpleCell | None:
        """Returns the `nnx.SimpleCell` with these weights, or None for `modrelu`."""
        if self.bias is not None:
            return None
        twin = nnx.SimpleCell(
            self.in_features,
            self.hidden_features,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            activation_fn=self.activation_fn,
            rngs=nnx.Rngs(0),
        )
        twin.dense_i.kernel = self.dense.kernel
        twin.dense_i.bias = self.dense.bias
        twin.dense_h.kernel[...] = self.recurrent().mT
        return twin
