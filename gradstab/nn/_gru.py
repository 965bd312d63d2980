"""The gated recurrent unit."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from flax.typing import Dtype, Initializer
from jaxtyping import Array, Float

from gradstab.nn._gated_cell import GatedCell
from gradstab.nn._methods import method_of
from gradstab.nn._modrelu import modrelu
from gradstab.nn._parametrization import Parametrization
from gradstab.recurrence import Feed, MatmulStep

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
    other two recurrent biases are added to b_r and b_z. Without `reset_after` it is

    .. math:: n = \tanh(W_n x + b_n + R_n (r * h))

    as Cho et al. have it: another function, whatever the weights. If the activation is
    `modrelu`, b_n is its bias and is added to nothing.

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
        reset_after: whether r multiplies the product with R_n, not h before it.
        use_bias: whether there are b_r, b_z and b_n; with modReLU there is a b_n in any
            case.
        candidate_bias: whether there is b'_n; for `reset_after` alone.
        gate_fn: the function σ.
        activation_fn: the function tanh, or `modrelu`.
        kernel_init: initializer of W_r, W_z and W_n, transposed.
        bias_init: initializer of the biases.
        modulus_bias_init: initializer of the bias of modReLU; `bias_init` if None.
        dtype: dtype of the products with weights; `param_dtype` if None.
        param_dtype: dtype of the parameters, and of the state unless below float32.
        rngs: source of the `params` keys.

    Raises:
        ValueError: if there is to be a b'_n that would add to b_n alone.

    References:
        Cho et al., "Learning Phrase Representations using RNN Encoder-Decoder for
        Statistical Machine Translation", EMNLP 2014, arXiv:1406.1078.
    """

    gates = ("reset", "update", "candidate")
    reset: Parametrization
    update: Parametrization
    candidate: Parametrization
    dense_reset: nnx.Linear
    dense_update: nnx.Linear
    dense_candidate: nnx.Linear

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        *,
        reset: Parametrization | None = None,
        update: Parametrization | None = None,
        candidate: Parametrization | None = None,
        reset_after: bool = True,
        use_bias: bool = True,
        candidate_bias: bool = False,
        gate_fn: Callable[[Array], Array] = jax.nn.sigmoid,
        activation_fn: Callable[..., Array] = jnp.tanh,
        kernel_init: Initializer = nnx.initializers.lecun_normal(),
        bias_init: Initializer = nnx.initializers.zeros_init(),
        modulus_bias_init: Initializer | None = None,
        dtype: Dtype | None = None,
        param_dtype: Dtype = jnp.float32,
        rngs: nnx.Rngs,
    ):
        if candidate_bias and not reset_after:
            raise ValueError(
                "`candidate_bias` must be False where `reset_after` is: it would be "
                "added to the bias that the candidate has."
            )
        is_modrelu = activation_fn is modrelu
        biased = set(self.gates if use_bias else ())
        super().__init__(
            in_features,
            hidden_features,
            {"reset": reset, "update": update, "candidate": candidate},
            kernel_init=kernel_init,
            bias_init=bias_init,
            biased=biased - {"candidate"} if is_modrelu else biased,
            dtype=dtype,
            param_dtype=param_dtype,
            rngs=rngs,
        )
        self.gate_fn = gate_fn
        self.activation_fn = activation_fn
        self.reset_after = reset_after
        self.use_bias = use_bias

        def bias(exists: bool, init: Initializer) -> nnx.Param | None:
            if not exists:
                return nnx.data(None)
            return nnx.Param(init(rngs.params(), (hidden_features,), param_dtype))

        self.candidate_bias = bias(candidate_bias, bias_init)
        self.modulus_bias = bias(is_modrelu, modulus_bias_init or bias_init)

    def project(self, inputs: Float[Array, " time *batch in"]) -> tuple[Any, ...]:
        """Computes W x + b for each gate, then b'_n and the bias of modReLU."""
        biases = (
            None if bias is None else self.at_every_step(bias[...], inputs)
            for bias in (self.candidate_bias, self.modulus_bias)
        )
        return *super().project(inputs), *biases

    def activate(
        self, carry: Hidden, products: tuple[Hidden, ...], projected: tuple[Any, ...]
    ) -> Hidden:
        """Opens the gates."""
        projected = jax.tree.map(lambda x: x.astype(carry.dtype), projected)
        in_reset, in_update, in_candidate, candidate_bias, modulus_bias = projected
        by_reset, by_update, by_candidate = products
        if candidate_bias is not None:
            by_candidate += jnp.broadcast_to(candidate_bias, by_candidate.shape)
        if self.reset_after:
            by_candidate = self.gate_fn(in_reset + by_reset) * by_candidate
        update = self.gate_fn(in_update + by_update)
        candidate = in_candidate + by_candidate
        if modulus_bias is None:
            candidate = self.activation_fn(candidate)
        else:
            candidate = modrelu(candidate, modulus_bias)
        return (1 - update) * candidate + update * carry

    def reset_state(
        self, carry: Hidden, products: tuple[Hidden, ...], projected: tuple[Any, ...]
    ) -> Hidden:
        """Computes r * h, which R_n meets where the reset comes first."""
        return self.gate_fn(projected[0].astype(carry.dtype) + products[0]) * carry

    @property
    def matmul_step(self) -> MatmulStep:
        """The step: the candidate's kernel meets h, or r * h."""
        step = super().matmul_step
        if self.reset_after:
            return step
        feed = Feed(method_of(type(self), "reset_state"))
        return dataclasses.replace(step, feeds=(feed,))

    def flax_twin(self) -> nnx.GRUCell | None:
        """Returns the `nnx.GRUCell` with the same weights.

        None with b'_n, without b, for modReLU or a reset before the product, and for a
        subclass with other equations.
        """
        is_plain = self.use_bias and self.reset_after
        extra = self.candidate_bias is not None or self.modulus_bias is not None
        if extra or not is_plain or not self.keeps_equations_of(GRUCell):
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
