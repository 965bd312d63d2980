"""The long short-term memory whose gradient does not always pass through h."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from flax.typing import Dtype, Initializer
from jaxtyping import Array, Float

from gradstab._checks import check_real
from gradstab.gradients import scale_gradient
from gradstab.nn._lstm import Hidden, LSTMCell
from gradstab.nn._methods import method_of
from gradstab.nn._parametrization import Parametrization
from gradstab.recurrence import Feed, MatmulStep


class HDetachLSTMCell(LSTMCell):
    r"""The long short-term memory, its gradient through h stopped by chance.

    .. math::
        \tilde h &= h, \qquad \partial \tilde h / \partial h = \xi I \\
        (c', h') &= \operatorname{LSTM}(c, \tilde h, x)

    with ξ = 0 with probability `p_detach` and else 1: one coin for a time step, the
    same for all units and all sequences. Values are those of `LSTMCell`, bit for bit.
    The cell state is never stopped, nor is what reads h'. Where recurrent weights are
    large, the paths through h drown the gradient that the cell state carries over long
    times; stopping them lets it through. In expectation the gradient is that of the
    network with `scale_gradient(h, 1 - p_detach)` in the place of h̃, exactly: it is not
    the gradient of the LSTM.

    `RNN` draws the coins, from the stream `draw` of its `rngs`. With `deterministic`
    set, as `model.eval()` does, it needs none and this is an LSTM; so it is wherever a
    single step is called, and in stock `nnx.RNN`.

    Args:
        in_features: length of x.
        hidden_features: length of h and of c.
        p_detach: the probability of stopping, in [0, 1]. The paper takes 0.25 to 0.5.
        deterministic: whether nothing is stopped.
        input: parametrization of R_i, as in `LSTMCell`.
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

    Raises:
        ValueError: if `p_detach` is no number in [0, 1].

    References:
        Arpit et al., "h-detach: Modifying the LSTM Gradient Towards Better
        Optimization", ICLR 2019, arXiv:1810.03023.
    """

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        *,
        p_detach: float = 0.25,
        deterministic: bool = False,
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
        check_real("p_detach", p_detach, 0.0, 1.0)
        super().__init__(
            in_features,
            hidden_features,
            input=input,
            forget=forget,
            candidate=candidate,
            output=output,
            gate_fn=gate_fn,
            activation_fn=activation_fn,
            kernel_init=kernel_init,
            bias_init=bias_init,
            dtype=dtype,
            param_dtype=param_dtype,
            rngs=rngs,
        )
        self.p_detach = float(p_detach)
        self.deterministic = deterministic

    def draw(self, key: Array, steps: int) -> Float[Array, " steps"]:
        """Draws ξ for each time step."""
        stopped = jax.random.bernoulli(key, self.p_detach, (steps,))
        return (~stopped).astype(self.carry_dtype)

    @property
    def draws(self) -> bool:
        """Whether there is anything to draw: not where `deterministic`."""
        return self.p_detach > 0 and not self.deterministic

    def __call__(
        self, carry: tuple[Hidden, Hidden], inputs: Array
    ) -> tuple[tuple[Hidden, Hidden], Hidden]:
        """Advances one time step from raw inputs, and stops no gradient."""
        self.check_inputs(inputs)
        projected = jax.tree.map(lambda x: x[0], self.project(inputs[None]))
        return super().matmul_step(self, carry, projected)

    @property
    def matmul_step(self) -> MatmulStep:
        """The step: where coins are drawn, every kernel meets h̃ in the place of h."""
        step = super().matmul_step
        if not self.draws:
            return step
        kind = type(self)
        feed = Feed(method_of(kind, "detached_state"), len(self.gates))
        return dataclasses.replace(
            step, activate=method_of(kind, "activate_beside"), feeds=(feed,)
        )

    def flax_twin(self) -> nnx.OptimizedLSTMCell | None:
        """Returns the `nnx.OptimizedLSTMCell` with the same weights and values.

        None for a subclass with other equations.
        """
        return self.fused() if self.keeps_equations_of(HDetachLSTMCell) else None

    def detached_state(
        self, carry: tuple[Hidden, Hidden], products: tuple[()], projected: Any
    ) -> Hidden:
        """Selects h̃."""
        _, coin = projected
        return scale_gradient(carry[1], coin)

    def activate_beside(
        self, carry: tuple[Hidden, Hidden], products: tuple[Hidden, ...], projected: Any
    ) -> tuple[Hidden, Hidden]:
        """Opens the gates, beside the coin."""
        return self.activate(carry, products, projected[0])
