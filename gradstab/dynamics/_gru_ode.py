"""The gated recurrent unit in continuous time."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from flax.typing import Dtype, Initializer
from jaxtyping import Array, Float

from gradstab._checks import check_positive
from gradstab.dynamics._integrators import Euler, Integrator, check_integrator
from gradstab.nn._gru import GRUCell
from gradstab.nn._materialize import materialize
from gradstab.nn._parametrization import Parametrization
from gradstab.nn._recurrent_cell import RecurrentCell

Hidden = Float[Array, "*batch hidden"]


class GRUODECell(RecurrentCell):
    r"""The gated recurrent unit as the flow that it takes steps of.

    .. math::
        r &= \sigma(W_r x + b_r + R_r h) \\
        z &= \sigma(W_z x + b_z + R_z h) \\
        \frac{dh}{dt} &= (1 - z) * (\tanh(W_n x + b_n + R_n (r * h)) - h)

    A call follows it for `duration` with x held. One step of `Euler` as long as 1 is
    the `gradstab.nn.GRUCell` in the attribute `gru`, which holds the weights. With
    `reset_after` the candidate is tanh(W_n x + b_n + r * (R_n h)), another flow; it is
    the default of `GRUCell`, as of `nnx.GRUCell` and cuDNN, and not here.

    The cube [-1, 1]ⁿ is invariant and attracts every state. Where the flow rests does
    not depend on the update gate: z scales the speed of each coordinate, which in one
    dimension cannot change what is stable, in two it can. For the tools that take a
    field of one state, hold x: `lambda h: cell.field(h, x)`.

    Example:
        >>> from flax import nnx
        >>> import jax.numpy as jnp
        >>> import gradstab as gs
        >>> cell = gs.dynamics.GRUODECell(3, 4, duration=0.5, rngs=nnx.Rngs(0))
        >>> gs.nn.RNN(cell)(jnp.ones((2, 5, 3))).shape  # (batch, time, features)
        (2, 5, 4)

    Args:
        in_features: length of x.
        hidden_features: length of h.
        reset: parametrization of R_r, shape (hidden_features, hidden_features);
            `Unconstrained`, which starts orthogonal, if None.
        update: the same for R_z.
        candidate: the same for R_n.
        reset_after: whether r multiplies the product with R_n, not h before it.
        duration: the time that a call covers.
        integrator: how the flow is followed, for each sequence by itself.
        kernel_init: initializer of W_r, W_z and W_n, transposed.
        bias_init: initializer of the biases.
        dtype: dtype of the products with weights; `param_dtype` if None.
        param_dtype: dtype of the parameters, and of the state unless below float32.
        rngs: source of the `params` keys.

    Raises:
        ValueError: if `duration` is no number above 0, `integrator` none, or a matrix
            has another shape.

    References:
        Jordan, Sokol & Park, "Gated Recurrent Units Viewed Through the Lens of
        Continuous Time Dynamical Systems", Frontiers in Computational Neuroscience 15,
        2021, arXiv:1906.01005. De Brouwer, Simm, Arany & Moreau, "GRU-ODE-Bayes",
        NeurIPS 2019, arXiv:1905.12374.
    """

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        *,
        reset: Parametrization | None = None,
        update: Parametrization | None = None,
        candidate: Parametrization | None = None,
        reset_after: bool = False,
        duration: float = 1.0,
        integrator: Integrator = Euler(),
        kernel_init: Initializer = nnx.initializers.lecun_normal(),
        bias_init: Initializer = nnx.initializers.zeros_init(),
        dtype: Dtype | None = None,
        param_dtype: Dtype = jnp.float32,
        rngs: nnx.Rngs,
    ):
        super().__init__(
            in_features, hidden_features, dtype=dtype, param_dtype=param_dtype
        )
        check_positive("duration", duration)
        check_integrator(integrator)
        self.duration = float(duration)
        self.integrator = integrator
        self.gru = GRUCell(
            in_features,
            hidden_features,
            reset=reset,
            update=update,
            candidate=candidate,
            reset_after=reset_after,
            kernel_init=kernel_init,
            bias_init=bias_init,
            dtype=dtype,
            param_dtype=param_dtype,
            rngs=rngs,
        )

    def field(
        self, carry: Hidden, inputs: Float[Array, "*batch in"]
    ) -> Float[Array, "*batch hidden"]:
        """Computes dh/dt.

        Parametrizations are built at every call: `gradstab.nn.materialize` the cell
        first where that is dear.

        Args:
            carry: h.
            inputs: x.

        Returns:
            The velocity, in the dtype of h.
        """
        self.check_inputs(inputs)
        self._check_carry(carry)
        projected = self.project(inputs[None])
        gates = jax.tree.map(lambda x: x[0], projected)
        return self._velocity(self.gru.recurrent_kernels(), carry, gates)

    def project(self, inputs: Float[Array, " time *batch in"]) -> Any:
        """Computes W x + b for each gate."""
        return self.gru.project(inputs)

    def step(self, carry: Hidden, projected: Any) -> tuple[Hidden, Hidden]:
        """Follows the flow for `duration`."""
        self._check_carry(carry)
        # A step takes several velocities.
        kernels = materialize(self.gru).recurrent_kernels()

        def advance(carry: Hidden, projected: Any) -> Hidden:
            return self.integrator(
                lambda carry: self._velocity(kernels, carry, projected),
                carry,
                self.duration,
            )

        gates = jax.tree.leaves(projected)
        batch = jnp.broadcast_shapes(*(x.shape[:-1] for x in (carry, *gates)))
        carry, projected = jax.tree.map(
            lambda x: jnp.broadcast_to(x, (*batch, x.shape[-1])), (carry, projected)
        )
        for _ in batch:
            advance = jax.vmap(advance)
        carry = advance(carry, projected)
        return carry, carry

    def _velocity(
        self, kernels: tuple[Array, ...], carry: Hidden, projected: Any
    ) -> Hidden:
        by_reset, by_update, by_candidate = kernels
        in_reset, in_update, in_candidate, *_ = jax.tree.map(
            lambda x: x.astype(carry.dtype), projected
        )

        def meet(state: Hidden, kernel: Array) -> Hidden:
            return jnp.matmul(
                state.astype(kernel.dtype), kernel, preferred_element_type=carry.dtype
            )

        reset = jax.nn.sigmoid(in_reset + meet(carry, by_reset))
        if self.gru.reset_after:
            product = reset * meet(carry, by_candidate)
        else:
            product = meet(reset * carry, by_candidate)
        # The difference of two steps of `gru` would cancel where z is near 1.
        speed = jax.nn.sigmoid(-in_update - meet(carry, by_update))
        return speed * (jnp.tanh(in_candidate + product) - carry)

    def _check_carry(self, carry: Hidden) -> None:
        if carry.ndim == 0 or carry.shape[-1] != self.hidden_features:
            raise ValueError(
                f"`carry` must have {self.hidden_features} features on the last axis, "
                f"got shape {carry.shape}."
            )
