"""The Elman recurrence with a parametrized recurrent matrix."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from flax import nnx
from flax.typing import Dtype, Initializer
from jaxtyping import Array, Inexact

from gradstab.nn._cayley import Cayley
from gradstab.nn._matmul_cell import MatmulCell
from gradstab.nn._methods import method_of, overrides
from gradstab.nn._modrelu import modrelu
from gradstab.nn._parametrization import Parametrization
from gradstab.nn._slopes import slope_from_value
from gradstab.recurrence import MatmulStep

Hidden = Inexact[Array, "*batch hidden"]


class OrthogonalCell(MatmulCell):
    r"""The Elman recurrence with a parametrized recurrent matrix.

    .. math:: h' = \phi(W x + R h + b)

    with R built by `recurrent`. If φ is `modrelu`, b is its bias and h' =
    modrelu(W x + R h, b): with `ScaledCayley` that is scoRNN, or scuRNN when complex.

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
        recurrent: parametrization of R, shape (hidden_features, hidden_features);
            `Cayley` if None.
        activation_fn: the function φ of one array, or `modrelu`. Pass a named function:
            every new lambda is compiled anew.
        kernel_init: initializer of W, transposed. scoRNN takes it uniform in ±0.01.
        bias_init: initializer of b.
        dtype: dtype of the products with weights; `param_dtype` if None.
        param_dtype: dtype of the parameters, and of the state unless below float32.
        rngs: source of the `params` keys.

    References:
        Helfrich, Willmott & Ye, "Orthogonal Recurrent Neural Networks with Scaled
        Cayley Transform", ICML 2018, arXiv:1707.09520.
        Maduranga, Helfrich & Ye, "Complex Unitary Recurrent Neural Networks Using
        Scaled Cayley Transform", AAAI 2019, arXiv:1811.04142.
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
        self.activation_fn = activation_fn
        if recurrent is None:
            shape = (hidden_features, hidden_features)
            recurrent = Cayley(shape, param_dtype=param_dtype, rngs=rngs)
        self.recurrent = self.check_recurrent("recurrent", recurrent)
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

    def recurrent_kernels(self) -> tuple[Inexact[Array, "hidden hidden"], ...]:
        """Returns R transposed."""
        return (self.recurrent().mT.astype(self.dtype),)

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
        if is_complex or not known or overrides(kind, OrthogonalCell, "activate"):
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
    def contraction_bound(self) -> float | None:
        """The largest singular value R may have.

        None if |φ'| may pass 1, and once `materialize` or `export` has left a matrix in
        the place of its parametrization.
        """
        is_complex = jnp.issubdtype(self.param_dtype, jnp.complexfloating)
        if is_complex or slope_from_value(self.activation_fn) is None:
            return None
        if not isinstance(self.recurrent, Parametrization):  # it has been built
            return None
        return self.recurrent.singular_value_bounds[1]

    def flax_twin(self) -> nnx.SimpleCell | None:
        """Returns the `nnx.SimpleCell` with the same weights.

        None for `modrelu`, for a subclass with other equations, and where products are
        taken below the precision of the state, which that cell cannot.
        """
        is_low = jnp.finfo(self.dtype).bits < jnp.finfo(self.carry_dtype).bits
        if self._is_modrelu or is_low or not self.keeps_equations_of(OrthogonalCell):
            return None
        twin = nnx.SimpleCell(
            self.in_features,
            self.hidden_features,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            activation_fn=self.activation_fn,
            recurrent_kernel_init=nnx.initializers.zeros_init(),
            rngs=nnx.Rngs(0),
        )
        twin.dense_i.kernel = nnx.Param(self.dense.kernel[...])
        if self.dense.bias is not None:
            twin.dense_i.bias = nnx.Param(self.dense.bias[...])
        twin.dense_h.kernel = nnx.Param(self.recurrent().mT)
        return twin

    @property
    def _is_modrelu(self) -> bool:
        return self.activation_fn is modrelu
