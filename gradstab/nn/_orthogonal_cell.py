"""The Elman recurrence with a parametrized recurrent matrix."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from flax import nnx
from flax.typing import Dtype, Initializer
from jaxtyping import Array, Inexact

from gradstab._checks import check_integer
from gradstab.nn._cayley import Cayley
from gradstab.nn._elman_cell import ElmanCell, Hidden
from gradstab.nn._factored import Factored, factored
from gradstab.nn._materialize import materialize
from gradstab.nn._methods import method_of
from gradstab.nn._parametrization import Parametrization
from gradstab.nn._slopes import slope_from_value
from gradstab.recurrence import Feed, MatmulStep


class OrthogonalCell(ElmanCell):
    r"""The Elman recurrence with a parametrized recurrent matrix.

    .. math:: h' = \phi(W x + R h + b)

    with R built by `recurrent`. If φ is `modrelu`, b is its bias and h' =
    modrelu(W x + R h, b): with `ScaledCayley` that is scoRNN, or scuRNN when complex.
    Where R differs from a diagonal by a rank of at most hidden_features / 8, as `SVD`
    and `Householder` of few reflectors do, `RNN` on a CPU takes two thin products a
    step in the place of a square one, from 128 hidden features on.

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
        check_integer("hidden_features", hidden_features, 1)
        if recurrent is None:
            shape = (hidden_features, hidden_features)
            recurrent = Cayley(shape, param_dtype=param_dtype, rngs=rngs)
        super().__init__(
            in_features,
            hidden_features,
            activation_fn=activation_fn,
            kernel_init=kernel_init,
            bias_init=bias_init,
            dtype=dtype,
            param_dtype=param_dtype,
            rngs=rngs,
        )
        self.recurrent = self.check_recurrent("recurrent", recurrent)

    def _built(self) -> Any:
        """Returns the cell with R built, as factors where these are cheaper."""
        # Another step would not know what to do with factors.
        keeps = method_of(type(self), "keeps_equations_of")(self, OrthogonalCell)

        def replace(path: tuple[Any, ...], node: Any) -> Any:
            return factored(node) if keeps and path == ("recurrent",) else node

        return materialize(nnx.recursive_map(replace, self))

    def recurrent_kernels(self) -> tuple[Inexact[Array, "..."], ...]:
        """Returns R transposed, or the factors of what it adds to its diagonal."""
        if isinstance(self.recurrent, Factored):
            kernels = self.recurrent.rows().mT, self.recurrent.columns().mT
        else:
            kernels = (self.recurrent().mT,)
        return tuple(kernel.astype(self.dtype) for kernel in kernels)

    @property
    def matmul_step(self) -> MatmulStep:
        """The step: with factors, the second meets what the first has made."""
        step = super().matmul_step
        if not isinstance(self.recurrent, Factored):
            return step
        kind = type(self)
        return dataclasses.replace(
            step,
            activate=method_of(kind, "activate_beside_diagonal"),
            pullback=None,
            feeds=(Feed(method_of(kind, "reduced")),),
        )

    def reduced(
        self, carry: Hidden, products: tuple[Array, ...], projected: Any
    ) -> Array:
        """Selects what the first factor has made of h."""
        return products[0]

    def activate_beside_diagonal(
        self, carry: Hidden, products: tuple[Array, ...], projected: Any
    ) -> Hidden:
        """Applies φ to the sum of what the factors and the diagonal make of h."""
        assert isinstance(self.recurrent, Factored)
        diagonal = self.recurrent.diagonal[...].astype(carry.dtype)
        product = carry * jnp.broadcast_to(diagonal, carry.shape) + products[1]
        return self.activate(carry, (product,), projected)

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
