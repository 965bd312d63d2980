"""The gated recurrent unit with a bounded candidate matrix."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from flax.typing import Dtype, Initializer
from jaxtyping import Array, Float

from gradstab._checks import check_integer
from gradstab.nn._gru import GRUCell
from gradstab.nn._materialize import materialize
from gradstab.nn._parametrization import Parametrization
from gradstab.nn._unconstrained import Unconstrained


class SpectralGRUCell(GRUCell):
    r"""The gated recurrent unit of which zero is a stable fixed point.

    .. math::
        r &= \sigma(W_r x + R_r h) \\
        z &= \sigma(W_z x + R_z h) \\
        n &= \tanh(W_n x + R_n (r * h)) \\
        h' &= (1 - z) * n + z * h

    without biases. At h = 0 and x = 0 both gates are 1/2 and the Jacobian is
    I / 2 + R_n / 4: zero attracts what is near it if ‖R_n‖₂ < 2, and where an
    eigenvalue of R_n passes 2 the fixed point splits, a small change of a weight
    changes whole trajectories, and gradients explode. Hold ‖R_n‖₂ at 2 - δ by
    `optim.project_spectral_norm` after each step, as the paper does, or by construction
    with `candidate=SpectralClipped(shape, maximum=2 - δ, rngs=rngs)`; then
    ‖J‖₂ <= 1 - δ/4. The guarantee is that, and no more: it is local, for x = 0, and the
    other weights are free. See `NCGRUCell` for a bound at any state.

    With biases or other gates the 2 is another number: `origin_jacobian` gives the
    matrix whose spectral radius must be below 1.

    Args:
        in_features: length of x.
        hidden_features: length of h.
        reset: parametrization of R_r, shape (hidden_features, hidden_features);
            `Unconstrained` if None, which starts normal with deviation 1 /
            hidden_features, as W_r, W_z and W_n do by default.
        update: the same for R_z.
        candidate: parametrization of R_n; `Unconstrained`, which starts orthogonal, if
            None.
        reset_after: whether r multiplies the product with R_n, not h before it.
        use_bias: whether there are biases, as in `GRUCell`.
        gate_fn: the function σ.
        activation_fn: the function tanh.
        kernel_init: initializer of W_r, W_z and W_n, transposed; see `reset` if None.
        bias_init: initializer of the biases.
        dtype: dtype of the products with weights; `param_dtype` if None.
        param_dtype: dtype of the parameters, and of the state unless below float32.
        rngs: source of the `params` keys.

    References:
        Kanai, Fujiwara & Iwamura, "Preventing Gradient Explosions in Gated Recurrent
        Units", NeurIPS 2017.
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
        use_bias: bool = False,
        gate_fn: Callable[[Array], Array] = jax.nn.sigmoid,
        activation_fn: Callable[[Array], Array] = jnp.tanh,
        kernel_init: Initializer | None = None,
        bias_init: Initializer = nnx.initializers.zeros_init(),
        dtype: Dtype | None = None,
        param_dtype: Dtype = jnp.float32,
        rngs: nnx.Rngs,
    ):
        check_integer("hidden_features", hidden_features, 1)
        small = nnx.initializers.normal(1 / hidden_features)

        def small_matrix() -> Parametrization:
            shape = (hidden_features, hidden_features)
            return Unconstrained(
                shape, matrix_init=small, param_dtype=param_dtype, rngs=rngs
            )

        super().__init__(
            in_features,
            hidden_features,
            reset=small_matrix() if reset is None else reset,
            update=small_matrix() if update is None else update,
            candidate=candidate,
            reset_after=reset_after,
            use_bias=use_bias,
            gate_fn=gate_fn,
            activation_fn=activation_fn,
            kernel_init=kernel_init or small,
            bias_init=bias_init,
            dtype=dtype,
            param_dtype=param_dtype,
            rngs=rngs,
        )

    def origin_jacobian(self) -> Float[Array, "hidden hidden"]:
        """Computes ∂h'/∂h at h = 0 and x = 0.

        Returns:
            The matrix J, I / 2 + R_n / 4 without biases. Zero is a stable fixed point
            if `linalg.spectral_radius(J)` is below 1 and, where there are biases, if it
            is a fixed point at all.
        """
        cell = materialize(self)
        nothing = cell.project(jnp.zeros((1, self.in_features), self.param_dtype))
        nothing = jax.tree.map(lambda x: x[0], nothing)
        origin = jnp.zeros(self.hidden_features, self.carry_dtype)
        return jax.jacfwd(lambda state: cell.step(state, nothing)[0])(origin)
