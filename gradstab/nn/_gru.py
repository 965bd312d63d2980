"""The gated recurrent unit."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from flax.typing import Dtype, Initializer
from jaxtyping import Array, Float

from gradstab.nn._gated_cell import GatedCell
from gradstab.nn._parametrization import Parametrization

Hidden = Float[Array, "*batch hidden"]


class GRUCell(GatedCell):
    r"""The gated recurrent unit, with a parametrized matrix for each gate.

    .. math::
        r &= \sigma(W_r x + b_r + R_r h) \\
        z &= \sigma(W_z x + b_z + R_z h) \\
        n &= \tanh(W_n x + b_n + r * (R_n h + b'_n)) \\
        h' &= (1 - z) * n + z * h

    with gates `reset` (r), `update` (z) and `candidate` (n): the equations of
    `nnx.GRUCell`, where b'_n is absent, and of PyTorch with `candidate_bias`, where the
    other two recurrent biases are added to b_r and b_z.

    Example:
        >>> from flax import nnx
        >>> import jax.numpy as jnp
        >>> import gradstab as gs
        >>> rngs = nnx.Rngs(0)
        >>> turn = gs.nn.Cayley((4, 4), rngs=rngs)
        >>> rnn = gs.nn.RNN(gs.nn.GRUCell(3, 4, candidate=turn, rngs=rngs))
        >>> rnn(jnp.ones((2, 5, 3))).shape  # (batch, time, features)
        (2, 5, 4)

    Args:
        in_features: length of x.
        hidden_features: length of h.
        reset: parametrization of R_r, shape (hidden_features, hidden_features);
            `Unconstrained`, which starts orthogonal, if None.
        update: the same for R_z.
        candidate: the same for R_n.
        candidate_bias: whether there is b'_n.
        gate_fn: the function σ.
        activation_fn: the function tanh.
        kernel_init: initializer of W_r, W_z and W_n, transposed.
        bias_init: initializer of the biases.
        dtype: dtype of the products with weights; `param_dtype` if None.
        param_dtype: dtype of the parameters, and of the state unless below float32.
        rngs: source of the `params` keys.

    References:
        Cho et al., "Learning Phrase Representations using RNN Encoder-Decoder for
        Statistical Machine Translation", EMNLP 2014, arXiv:1406.1078. They reset h
        before the product with R_n, not after.
    """

    gates = ("reset", "update", "candidate")

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        *,
        reset: Parametrization | None = None,
        update: Parametrization | None = None,
        candidate: Parametrization | None = None,
        candidate_bias: bool = False,
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
            {"reset": reset, "update": update, "candidate": candidate},
            kernel_init=kernel_init,
            bias_init=bias_init,
            dtype=dtype,
            param_dtype=param_dtype,
            rngs=rngs,
        )
        self.gate_fn = gate_fn
        self.activation_fn = activation_fn
        self.candidate_bias = nnx.data(None)
        if candidate_bias:
            bias = bias_init(rngs.params(), (hidden_features,), param_dtype)
            self.candidate_bias = nnx.Param(bias)

    def project(self, inputs: Float[Array, " time *batch in"]) -> tuple[Array, ...]:
        """Computes W x + b for each gate, with b'_n at the end if there is one."""
        projected = super().project(inputs)
        if self.candidate_bias is None:
            return projected
        return *projected, self.at_every_step(self.candidate_bias[...], inputs)

    def activate(
        self,
        carry: Hidden,
        products: tuple[Hidden, ...],
        projected: tuple[Array, ...],
    ) -> Hidden:
        """Opens the gates."""
        in_reset, in_update, in_candidate, *bias = (
            x.astype(carry.dtype) for x in projected
        )
        by_reset, by_update, by_candidate = products
        if bias:
            by_candidate += jnp.broadcast_to(bias[0], by_candidate.shape)
        reset = self.gate_fn(in_reset + by_reset)
        update = self.gate_fn(in_update + by_update)
        candidate = self.activation_fn(in_candidate + reset * by_candidate)
        return (1 - update) * candidate + update * carry

    def flax_twin(self) -> nnx.GRUCell | None:
        """Returns the `nnx.GRUCell` with the same weights.

        None with b'_n, and for a subclass with other equations.
        """
        if self.candidate_bias is not None or not self.keeps_equations_of(GRUCell):
            return None
        twin = nnx.GRUCell(
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
        twin.dense_i.bias = nnx.Param(weights["bias"])
        twin.dense_h.kernel = nnx.Param(weights["recurrent"])
        return twin
