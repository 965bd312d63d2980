"""The long short-term memory."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from flax.typing import Dtype, Initializer
from jaxtyping import Array, Float

from gradstab.nn._gated_cell import GatedCell
from gradstab.nn._parametrization import Parametrization

Hidden = Float[Array, "*batch hidden"]


class LSTMCell(GatedCell):
    r"""The long short-term memory, with a parametrized matrix for each gate.

    .. math::
        i &= \sigma(W_i x + b_i + R_i h) \\
        f &= \sigma(W_f x + b_f + R_f h) \\
        g &= \tanh(W_g x + b_g + R_g h) \\
        o &= \sigma(W_o x + b_o + R_o h) \\
        c' &= f * c + i * g \\
        h' &= o * \tanh(c')

    with gates `input` (i), `forget` (f), `candidate` (g) and `output` (o): the
    equations of `nnx.LSTMCell`. The carry is the pair (c, h).

    Args:
        in_features: length of x.
        hidden_features: length of h and of c.
        input: parametrization of R_i, shape (hidden_features, hidden_features);
            `Unconstrained`, which starts orthogonal, if None.
        forget: the same for R_f.
        candidate: the same for R_g.
        output: the same for R_o.
        gate_fn: the function σ.
        activation_fn: the function tanh.
        kernel_init: initializer of W_i, W_f, W_g and W_o, transposed.
        bias_init: initializer of the biases.
        dtype: dtype of the products with weights; `param_dtype` if None.
        param_dtype: dtype of the parameters, and of the state unless below float32.
        rngs: source of the `params` keys.

    References:
        Hochreiter & Schmidhuber, "Long Short-Term Memory", Neural Computation 9(8),
        1997. The forget gate is of Gers, Schmidhuber & Cummins, "Learning to Forget:
        Continual Prediction with LSTM", Neural Computation 12(10), 2000.
    """

    gates = ("input", "forget", "candidate", "output")

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        *,
        input: Parametrization | None = None,
        forget: Parametrization | None = None,
        candidate: Parametrization | None = None,
        output: Parametrization | None = None,
        gate_fn: Callable[[Array], Array] = jax.nn.sigmoid,
        activation_fn: Callable[[Array], Array] = jnp.tanh,
        kernel_init: Initializer = nnx.initializers.lecun_normal(),
        bias_init: Initializer = nnx.initializers.zeros_init(),
        dtype: Dtype | None = None,
        param_dtype: Dtype = jnp.float32,
        rngs: nnx.Rngs,
    ):
        super().__init__(
            in_features,
            hidden_features,
            {
                "input": input,
                "forget": forget,
                "candidate": candidate,
                "output": output,
            },
            kernel_init=kernel_init,
            bias_init=bias_init,
            biased=self.gates,
            dtype=dtype,
            param_dtype=param_dtype,
            rngs=rngs,
        )
        self.gate_fn = gate_fn
        self.activation_fn = activation_fn

    def activate(
        self,
        carry: tuple[Hidden, Hidden],
        products: tuple[Hidden, ...],
        projected: tuple[Array, ...],
    ) -> tuple[Hidden, Hidden]:
        """Opens the gates."""
        memory, _ = carry
        input_, forget, candidate, output = (
            product + x.astype(product.dtype)
            for product, x in zip(products, projected, strict=True)
        )
        memory = self.gate_fn(forget) * memory
        memory += self.gate_fn(input_) * self.activation_fn(candidate)
        return memory, self.gate_fn(output) * self.activation_fn(memory)

    def recurrent_state(self, carry: tuple[Hidden, Hidden]) -> Hidden:
        """Selects h."""
        return carry[1]

    @property
    def carry_features(self) -> Any:
        """The lengths of c and h."""
        return self.hidden_features, self.hidden_features

    def flax_twin(self) -> nnx.OptimizedLSTMCell | None:
        """Returns the `nnx.OptimizedLSTMCell` with the same weights.

        None for a subclass with other equations.
        """
        return self.fused() if self.keeps_equations_of(LSTMCell) else None

    def fused(self) -> nnx.OptimizedLSTMCell:
        """Returns the `nnx.OptimizedLSTMCell` with the same weights."""
        twin = nnx.OptimizedLSTMCell(
            self.in_features,
            self.hidden_features,
            gate_fn=self.gate_fn,
            activation_fn=self.activation_fn,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            recurrent_kernel_init=nnx.initializers.zeros_init(),
            rngs=nnx.Rngs(0),
        )
        weights = self.side_by_side()
        twin.dense_i.kernel = nnx.Param(weights["input"])
        twin.dense_h.kernel = nnx.Param(weights["recurrent"])
        twin.dense_h.bias = nnx.Param(weights["bias"])
        return twin
