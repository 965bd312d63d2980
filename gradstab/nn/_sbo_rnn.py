"""The recurrence whose steps are those of an optimizer: SBO-RNN."""

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx
from flax.typing import Dtype, Initializer
from jaxtyping import Array, Float

from gradstab import linalg
from gradstab._checks import check_integer, check_param_dtype, check_real
from gradstab.nn._matmul_cell import MatmulCell
from gradstab.nn._methods import method_of
from gradstab.nn._parametrization import Parametrization
from gradstab.recurrence import Feed, MatmulStep

Hidden = Float[Array, "*batch hidden"]
Method = Literal["gradient", "heavy_ball", "nesterov"]
METHODS = ("gradient", "heavy_ball", "nesterov")


class SBORNNCell(MatmulCell):
    r"""A recurrence in which each step descends a function of the state.

    .. math::
        F(h) &= \tfrac12 \| \alpha h - \phi(R h + W x + b) \|^2 \\
        \nabla F(h) &= (\alpha I - R^T \Phi)(\alpha h - \phi(R h + W x + b))

    with φ the ReLU and Φ = diag(φ'). The state after a step is

    .. math::
        \text{gradient} &: \quad h' = h - \eta \nabla F(h) \\
        \text{heavy ball} &: \quad v' = \mu v - \eta \nabla F(h), \quad h' = h + v' \\
        \text{nesterov} &: \quad y' = h - \eta \nabla F(h), \quad h' = y' + \mu (y' - y)

    and the carry h, (h, v) or (h, y). The Jacobian of a gradient step is
    I - η K Kᵀ with K = α I - Rᵀ Φ, wherever it exists, so that a product of T of them
    has a norm of at most 1 if `relative_step_size` is at most 2, and no singular value
    below (1 - it)^T if it is below 1: with η of the order of 1/T gradients neither
    vanish nor explode. Where φ has its kink the step jumps, and so it has no Lipschitz
    constant. With momentum the Jacobians are not symmetric, and only a constant K keeps
    their products bounded.

    R is the identity plus a product of low rank; two products with the state where the
    rank is less than half of its length cost less than one.

    Args:
        in_features: length of x.
        hidden_features: length of h.
        method: "gradient", "heavy_ball" or "nesterov".
        step_size: the step size η, at least 0. States move by little in each step, and
            want a read-out that learns fast.
        momentum: what μ starts from; it is trained.
        decay: the number α, at least 0.
        rank: R = I + P Q with P and Qᵀ of shape (hidden_features, rank); at rank 0
            R = w I with a single number w. hidden_features // 4, at least 1, if None.
        recurrent: parametrization of R, in the place of a rank.
        dtype: dtype of the products with weights; `param_dtype` if None.
        param_dtype: dtype of the parameters, and of the state unless below float32.
        rngs: source of the `params` keys. W, b, P and Q are uniform in
            ±hidden_features^(-1/2), w is 0.

    Raises:
        ValueError: if an option is not what is said here, or both `rank` and
            `recurrent` are given.

    References:
        Zhang, Yue, Wu, Li & Zhang, "SBO-RNN: Reformulating Recurrent Neural Networks
        via Stochastic Bilevel Optimization", NeurIPS 2021. F is read from their code,
        which multiplies R out once, before training, and so never trains it.
    """

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        *,
        method: Method = "gradient",
        step_size: float = 1e-3,
        momentum: float = 0.5,
        decay: float = 1.0,
        rank: int | None = None,
        recurrent: Parametrization | None = None,
        dtype: Dtype | None = None,
        param_dtype: Dtype = jnp.float32,
        rngs: nnx.Rngs,
    ):
        if method not in METHODS:
            raise ValueError(
                f"`method` must be one of {', '.join(METHODS)}, got {method!r}."
            )
        check_param_dtype(param_dtype, real=True)
        check_real("step_size", step_size, 0.0)
        check_real("momentum", momentum)
        check_real("decay", decay, 0.0)
        super().__init__(
            in_features, hidden_features, dtype=dtype, param_dtype=param_dtype
        )
        self.method: Method = method
        self.step_size = step_size
        self.decay = decay
        uniform = _uniform(hidden_features**-0.5)
        self.dense = nnx.Linear(
            in_features,
            hidden_features,
            kernel_init=uniform,
            bias_init=uniform,
            dtype=self.dtype,
            param_dtype=param_dtype,
            rngs=rngs,
        )
        self.momentum = nnx.data(None)
        if method != "gradient":
            self.momentum = nnx.Param(jnp.asarray(momentum, param_dtype))
        self.recurrent = self.expand = self.reduce = self.scale = nnx.data(None)
        if recurrent is not None:
            if rank is not None:
                raise ValueError("`rank` must be None where `recurrent` is given.")
            self.recurrent = self.check_recurrent("recurrent", recurrent)
            return
        rank = max(1, hidden_features // 4) if rank is None else rank
        check_integer("rank", rank, 0, hidden_features)
        if rank == 0:
            self.scale = nnx.Param(jnp.zeros((), param_dtype))
        else:
            tall, wide = (hidden_features, rank), (rank, hidden_features)
            self.expand = nnx.Param(uniform(rngs.params(), tall, param_dtype))
            self.reduce = nnx.Param(uniform(rngs.params(), wide, param_dtype))

    def project(self, inputs: Float[Array, " time *batch in"]) -> Array:
        """Computes W x + b."""
        return self.dense(inputs)

    def recurrent_matrix(self) -> Float[Array, "hidden hidden"]:
        """Builds R."""
        if self.recurrent is not None:
            return self.recurrent()
        identity = jnp.eye(self.hidden_features, dtype=self.param_dtype)
        if self.scale is not None:
            return self.scale[...] * identity
        assert self.expand is not None
        assert self.reduce is not None
        return identity + self.expand[...] @ self.reduce[...]

    def relative_step_size(self) -> Float[Array, ""]:
        """Computes η (α + ‖R‖₂)², which bounds η ‖K‖₂²; it should stay below 2."""
        norm = linalg.spectral_norm(self.recurrent_matrix().astype(self.carry_dtype))
        return self.step_size * (self.decay + norm) ** 2

    def recurrent_kernels(self) -> tuple[Float[Array, "..."], ...]:
        """Returns Rᵀ and R, or the factors Qᵀ, Pᵀ, P and Q where they are cheaper."""
        if self.scale is not None:
            return ()
        if self._is_factored:
            assert self.expand is not None
            assert self.reduce is not None
            expand, reduce = self.expand[...], self.reduce[...]
            kernels = reduce.mT, expand.mT, expand, reduce
        else:
            matrix = self.recurrent_matrix()
            kernels = matrix.mT, matrix
        return tuple(kernel.astype(self.dtype) for kernel in kernels)

    def recurrent_state(self, carry: Any) -> Hidden:
        """Selects h."""
        return carry if self.momentum is None else carry[0]

    @property
    def carry_features(self) -> Any:
        """The length of h; with momentum, those of h and of v or y."""
        n = self.hidden_features
        return n if self.momentum is None else (n, n)

    @property
    def matmul_step(self) -> MatmulStep:
        """The step: first R meets h, then Rᵀ meets what is left of αh - φ."""
        kind = type(self)

        def feed(name: str) -> Feed:
            return Feed(method_of(kind, name))

        feeds: tuple[Feed, ...] = ()
        if self._is_factored:
            feeds = feed("reduced"), feed("open_residual"), feed("expanded")
        elif self.scale is None:
            feeds = (feed("open_residual"),)
        return dataclasses.replace(super().matmul_step, feeds=feeds)

    def reduced(self, carry: Any, products: tuple[Array, ...], projected: Any) -> Array:
        """Selects Q h, which P meets."""
        return products[0]

    def expanded(
        self, carry: Any, products: tuple[Array, ...], projected: Any
    ) -> Array:
        """Selects Pᵀ s, which Qᵀ meets."""
        return products[2]

    def open_residual(
        self, carry: Any, products: tuple[Array, ...], projected: Array
    ) -> Hidden:
        """Computes s = Φ (αh - φ), which Rᵀ meets."""
        return self._residual(carry, products, projected)[1]

    def activate(
        self, carry: Any, products: tuple[Array, ...], projected: Array
    ) -> Any:
        """Takes the step."""
        state = self.recurrent_state(carry)
        residual, opened = self._residual(carry, products, projected)
        # Rᵀ s, of which the products lack the identity if R has factors.
        if self.scale is not None:
            pulled = self._scale_like(opened) * opened
        else:
            pulled = products[-1] + opened if self._is_factored else products[-1]
        move = -self.step_size * (self.decay * residual - pulled)
        if self.momentum is None:
            return state + move
        momentum = jnp.broadcast_to(self.momentum[...].astype(state.dtype), state.shape)
        if self.method == "heavy_ball":
            velocity = momentum * carry[1] + move
            return state + velocity, velocity
        ahead = state + move
        return ahead + momentum * (ahead - carry[1]), ahead

    def _residual(
        self, carry: Any, products: tuple[Array, ...], projected: Array
    ) -> tuple[Hidden, Hidden]:
        """Returns αh - φ and Φ (αh - φ)."""
        state = self.recurrent_state(carry)
        if self.scale is not None:
            image = self._scale_like(state) * state
        else:
            image = state + products[1] if self._is_factored else products[0]
        before = image + projected.astype(state.dtype)
        residual = self.decay * state - jax.nn.relu(before)
        return residual, jnp.where(before > 0, residual, jnp.zeros_like(residual))

    def _scale_like(self, state: Hidden) -> Hidden:
        assert self.scale is not None
        return jnp.broadcast_to(self.scale[...].astype(state.dtype), state.shape)

    @property
    def _is_factored(self) -> bool:
        return (
            self.reduce is not None and 2 * self.reduce.shape[0] < self.reduce.shape[1]
        )


def _uniform(limit: float) -> Initializer:
    def init(key, shape, dtype=jnp.float32, out_sharding=None):
        return jax.random.uniform(key, shape, dtype, -limit, limit)

    return init
