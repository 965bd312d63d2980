"""The continuous-time network that starts on limit cycles, in Euler's steps."""

import jax.numpy as jnp
from flax import nnx
from flax.typing import Dtype, Initializer
from jaxtyping import Array, Float

from gradstab._checks import check_integer, check_param_dtype, check_real
from gradstab.nn._limit_cycle_init import limit_cycle_init
from gradstab.nn._matmul_cell import MatmulCell
from gradstab.nn._parametrization import Parametrization
from gradstab.nn._unconstrained import Unconstrained

Hidden = Float[Array, "*batch hidden"]


class LimitCycleCell(MatmulCell):
    r"""A leaky tanh network in steps of Euler, started on limit cycles.

    .. math:: h' = (1 - \Delta) h + \Delta \tanh(R h + W x + b)

    is a step of length Δ along dh/dt = -h + tanh(R h + W x + b). R starts as
    `limit_cycle_init` draws it: without input each plane of two units turns on a stable
    cycle, and a gradient sent back along it keeps its component in the direction of the
    phase for any number of steps. Nothing holds R there in training; give a `recurrent`
    that does, if it shall be held.

    Steps move the cycles. A plane σ R(θ) leaves the origin where
    |1 + Δ (σ exp(iθ) - 1)| > 1, at a rate that is some Δ Im(σ exp(iθ))² / 2 above that
    of the flow: at Δ = 0.1 the cycle of θ = 30° is 4 % wider than the flow's, that of
    45° 36 %, and cycles exist beyond the angle at which the flow has none.

    The zero state lies at the center of every cycle, where nothing moves without an
    input. To start away from it: `RNN(cell)(x, initial_carry=...)`, with what
    `cell.initialize_carry` draws by a `carry_init` in [-1, 1].

    Example:
        >>> from flax import nnx
        >>> import jax.numpy as jnp
        >>> import gradstab as gs
        >>> rnn = gs.nn.RNN(gs.nn.LimitCycleCell(3, 4, rngs=nnx.Rngs(0)))
        >>> rnn(jnp.ones((2, 5, 3))).shape  # (batch, time, features)
        (2, 5, 4)

    Args:
        in_features: length of x.
        hidden_features: length of h.
        recurrent: parametrization of R, shape (hidden_features, hidden_features);
            `Unconstrained`, started by `limit_cycle_init`, if None.
        dt: Δ, in [0, 1]: at 0 the state stays, at 1 the cell is Elman's.
        kernel_init: initializer of W, transposed.
        bias_init: initializer of b.
        dtype: dtype of the products with weights; `param_dtype` if None.
        param_dtype: dtype of the parameters, and of the state unless below float32.
        rngs: source of the `params` keys.

    Raises:
        ValueError: if `dt` lies outside [0, 1], or R has another shape or is complex.

    References:
        Sokol, Jordan, Kadile & Park, "Adjoint Dynamics of Stable Limit Cycle Neural
        Networks", Asilomar 2019, who solve the flow by an adaptive method.
    """

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        *,
        recurrent: Parametrization | None = None,
        dt: float = 0.1,
        kernel_init: Initializer = nnx.initializers.he_normal(),
        bias_init: Initializer = nnx.initializers.zeros_init(),
        dtype: Dtype | None = None,
        param_dtype: Dtype = jnp.float32,
        rngs: nnx.Rngs,
    ):
        check_param_dtype(param_dtype, real=True)
        check_integer("hidden_features", hidden_features, 1)
        check_real("dt", dt, 0.0, 1.0)
        super().__init__(
            in_features, hidden_features, dtype=dtype, param_dtype=param_dtype
        )
        self.dt = float(dt)
        if recurrent is None:
            recurrent = Unconstrained(
                (hidden_features, hidden_features),
                matrix_init=limit_cycle_init(),
                param_dtype=param_dtype,
                rngs=rngs,
            )
        self.recurrent = self.check_recurrent("recurrent", recurrent)
        self.dense = nnx.Linear(
            in_features,
            hidden_features,
            kernel_init=kernel_init,
            bias_init=bias_init,
            dtype=self.dtype,
            param_dtype=param_dtype,
            rngs=rngs,
        )

    def project(self, inputs: Float[Array, " time *batch in"]) -> Array:
        """Computes W x + b."""
        return self.dense(inputs)

    def recurrent_kernels(self) -> tuple[Float[Array, "hidden hidden"], ...]:
        """Returns R transposed."""
        return (self.recurrent().mT.astype(self.dtype),)

    def activate(
        self, carry: Hidden, products: tuple[Hidden, ...], projected: Array
    ) -> Hidden:
        """Takes the step."""
        (product,) = products
        target = jnp.tanh(product + projected.astype(product.dtype))
        return (1 - self.dt) * carry + self.dt * target

    @property
    def contraction_bound(self) -> float | None:
        """1 - Δ, and Δ times the largest singular value R may have.

        None once `materialize` or `export` has left a matrix in the place of its
        parametrization.
        """
        if not isinstance(self.recurrent, Parametrization):  # it has been built
            return None
        if self.dt == 0:
            return 1.0
        return 1 - self.dt + self.dt * self.recurrent.singular_value_bounds[1]
