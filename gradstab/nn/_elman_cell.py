"""One matrix product and one activation: what Elman recurrences share."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from flax import nnx
from flax.typing import Dtype, Initializer
from jaxtyping import Array, Inexact

from gradstab.nn._matmul_cell import MatmulCell
from gradstab.nn._methods import method_of, overrides
from gradstab.nn._modrelu import modrelu
from gradstab.nn._slopes import slope_from_value
from gradstab.recurrence import MatmulStep

Hidden = Inexact[Array, "*batch hidden"]


class ElmanCell(MatmulCell):
    r"""The Elman recurrence, whatever its recurrent matrix.

    .. math:: h' = \phi(W x + R h + b)

    If φ is `modrelu`, b is its bias: h' = modrelu(W x + R h, b). A subclass gives R in
    `recurrent_kernels`.

    Args:
        in_features: length of x.
        hidden_features: length of h.
        activation_fn: the function φ of one array, or `modrelu`.
        kernel_init: initializer of W, transposed.
        bias_init: initializer of b.
        dtype: dtype of the products with weights; `param_dtype` if None.
        param_dtype: dtype of the parameters, and of the state unless below float32.
        rngs: source of the `params` keys.
    """

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        *,
        activation_fn: Callable[..., Array],
        kernel_init: Initializer,
        bias_init: Initializer,
        dtype: Dtype | None,
        param_dtype: Dtype,
        rngs: nnx.Rngs,
    ):
        super().__init__(
            in_features, hidden_features, dtype=dtype, param_dtype=param_dtype
        )
        self.activation_fn = activation_fn
        self.dense = nnx.Linear(
            in_features,
            hidden_features,
            use_bias=not self._is_modrelu,
            kernel_init=kernel_init,
            bias_init=bias_init,
            dtype=self.dtype,
            param_dtype=param_dtype,
            rngs=rngs,
        )
        self.bias = nnx.data(None)
        if self._is_modrelu:
            real = jnp.finfo(param_dtype).dtype
            self.bias = nnx.Param(bias_init(rngs.params(), (hidden_features,), real))

    def project(self, inputs: Inexact[Array, " time *batch in"]) -> Any:
        """Computes W x + b; or W x and b side by side for `modrelu`."""
        projected = self.dense(inputs)
        if self.bias is None:
            return projected
        return projected, self.at_every_step(self.bias[...], projected)

    def activate(self, carry: Hidden, products: tuple[Hidden, ...], projected: Any):
        """Applies φ."""
        (product,) = products
        if self.bias is None:
            return self.activation_fn(product + projected.astype(product.dtype))
        projected, bias = projected
        bias = bias.astype(jnp.finfo(product.dtype).dtype)
        return modrelu(product + projected.astype(product.dtype), bias)

    @property
    def matmul_step(self) -> MatmulStep:
        """The step, with the derivative of φ from its value where that is known."""
        step = super().matmul_step
        kind = type(self)
        is_complex = jnp.issubdtype(self.param_dtype, jnp.complexfloating)
        known = self._is_modrelu or slope_from_value(self.activation_fn)
        if is_complex or not known or overrides(kind, ElmanCell, "activate"):
            return step
        return dataclasses.replace(step, pullback=method_of(kind, "pullback"))

    def pullback(self, carry: Hidden, cotangent: Hidden) -> tuple[tuple[Hidden], Any]:
        """Pulls a cotangent of the new carry back to the product and `projected`."""
        slope = slope_from_value(self.activation_fn)
        if slope is not None:
            cotangent = cotangent * slope(carry)
            return (cotangent,), cotangent.astype(self.dtype)
        # modReLU has slope 1 in x and sign(x) in b where its value is not 0.
        moving = jnp.where(carry == 0, jnp.zeros_like(cotangent), cotangent)
        batch = tuple(range(carry.ndim - 1))
        in_bias = jnp.sum(jnp.sign(carry) * cotangent, axis=batch, keepdims=True)
        in_bias = in_bias.astype(jnp.finfo(self.param_dtype).dtype)
        return (moving,), (moving.astype(self.dtype), in_bias)

    @property
    def _is_modrelu(self) -> bool:
        return self.activation_fn is modrelu
