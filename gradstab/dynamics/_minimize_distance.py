"""Euler steps along the gradient flow, each as long as the loss allows."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from gradstab._checks import check_integer, check_positive, check_real
from gradstab.dynamics._descent import (
    Code,
    Descended,
    Descent,
    Objective,
    frozen,
    plain_numbers,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MinimizeDistance(Descent):
    r"""Adaptive minimize-distance steps: explicit Euler that never ascends.

    .. math:: z' = z - h \alpha \nabla \ell(z) \quad\text{if}\quad
        \ell(z) - \ell(z') \ge \sigma h \alpha \| \nabla \ell(z) \|^2

    is a step of length h along the flow dz/dt = -α ∇ℓ(z), accepted by Armijo's rule: it
    gains a share σ of what the slope at z promises. If it does not, or ℓ or ∇ℓ is not
    finite at z', h shrinks and the step is tried again; if it does, h grows. So ℓ falls
    or stays with each step. The descent ends at t = τ, or at the first point where the
    flow is flat, α‖∇ℓ‖² = -dℓ/dt <= `tolerance`, both of which count as converged; and
    when it is out of tries, or no step length is left that gains anything.

    A try costs a loss with its gradient. For `differentiable` the accepted steps are
    taken once more, `max_steps` gradients; the backward pass stores a code a step and
    has a Hessian-vector product each. Step lengths are constants of it.

    What differs from the authors' code: they accept a step for a batch together, on
    σ h h_max ‖∇ℓ(z')‖², the gradient at the end; they force a step where ours stops for
    want of any that gains; after an acceptance they lift h to at least the first step;
    and they stop by the mean slope of the last losses, of which ours is the limit.

    Args:
        duration: the time τ.
        rate: the factor α.
        first_step: the step length h at the start, a time.
        max_step: its upper limit.
        growth: factor of h after an accepted step, at least 1.
        shrink: factor of h after a rejected one, in (0, 1).
        sufficient_decrease: the share σ, in [0, 1).
        tolerance: the slope at which the flow counts as flat, of the loss per time. It
            is absolute: a loss that is a mean over many pixels has small slopes, and
            needs a lower one, or 0.
        max_steps: tries in all, accepted or not.
        max_rejections: tries in a row that may be rejected.

    Raises:
        ValueError: if a number lies outside its range.

    References:
        Flouris, Volokitin, Bredell & Konukoglu, "Gradient flow encoding with distance
        optimization adaptive step size", 2021, arXiv:2105.05031, and "Explicit and
        data-Efficient Encoding via Gradient Flow", 2024, arXiv:2412.00864. The rule is
        Armijo, "Minimization of functions having Lipschitz continuous first partial
        derivatives", Pacific Journal of Mathematics 16, 1966.
    """

    duration: float = 1e4
    rate: float = 1.0
    first_step: float = 1.0
    max_step: float = 10.0
    growth: float = 1.1
    shrink: float = 0.5
    sufficient_decrease: float = 1e-4
    tolerance: float = 1e-5
    max_steps: int = 60
    max_rejections: int = 20

    def __post_init__(self) -> None:
        for name in ("duration", "rate", "first_step", "max_step"):
            check_positive(name, getattr(self, name))
        check_real("growth", self.growth, 1.0)
        check_real("shrink", self.shrink, 0.0, 1.0)
        check_real("sufficient_decrease", self.sufficient_decrease, 0.0, 1.0)
        for name in ("shrink", "sufficient_decrease"):
            if getattr(self, name) == 1.0:
                raise ValueError(f"`{name}` must be below 1, got 1.0.")
        check_positive("shrink", self.shrink)
        check_real("tolerance", self.tolerance, 0.0)
        check_integer("max_steps", self.max_steps, 1)
        check_integer("max_rejections", self.max_rejections, 1)
        plain_numbers(self)

    def __call__(self, objective: Objective, start: Code) -> Descended:
        """Descends; what comes out is never differentiated.

        Args:
            objective: ℓ, a pure function.
            start: z at t = 0.

        Returns:
            The last point, and how many steps it took.
        """
        return self._search(objective, start)[0]

    def differentiable(self, objective: Objective, start: Code) -> Descended:
        """Descends; the code has a derivative in all that `objective` closes over.

        Args:
            objective: ℓ, a pure function.
            start: z at t = 0, which gradients reach too.

        Returns:
            The same.
        """
        found, steps = self._search(frozen(objective, start), lax.stop_gradient(start))

        # Steps that were not taken have length 0, and so are the identity. Their
        # gradient is that at the start: the Hessian at the end may be infinite.
        @jax.checkpoint
        def advance(code: Code, step: Array) -> tuple[Code, None]:
            at = jnp.where(step > 0, code, start)
            return code - step * self.rate * jax.grad(objective)(at), None

        code, _ = lax.scan(advance, start, lax.stop_gradient(steps))
        return found._replace(code=code)

    def _search(
        self, objective: Objective, start: Code
    ) -> tuple[Descended, Float[Array, " steps"]]:
        """Descends; returns the lengths of the accepted steps too, zeros after them."""
        evaluate = jax.value_and_grad(objective)

        def slope(gradient: Code) -> Array:
            return self.rate * jnp.sum(gradient**2)

        def is_converged(state: _State) -> Array:
            is_flat = slope(state.gradient) <= self.tolerance
            return is_flat | (state.time >= self.duration)

        def is_going(state: _State) -> Array:
            has_tries = state.accepted + state.rejected < self.max_steps
            return (has_tries & (state.in_a_row < self.max_rejections)) & ~is_converged(
                state
            )

        def attempt(state: _State) -> _State:
            step = jnp.minimum(state.step, self.duration - state.time)
            code = state.code - step * self.rate * state.gradient
            value, gradient = evaluate(code)
            promised = self.sufficient_decrease * step * slope(state.gradient)
            # NaN compares as False, and a loss of -inf is no gain.
            is_better = state.value - value >= promised
            is_better &= jnp.isfinite(value) & jnp.isfinite(slope(gradient))
            taken = _State(
                code=code,
                value=value,
                gradient=gradient,
                step=jnp.minimum(self.growth * step, self.max_step),
                time=state.time + step,
                steps=state.steps.at[state.accepted].set(step),
                accepted=state.accepted + 1,
                rejected=state.rejected,
                in_a_row=jnp.zeros_like(state.in_a_row),
            )
            refused = state._replace(
                step=self.shrink * step,
                rejected=state.rejected + 1,
                in_a_row=state.in_a_row + 1,
            )
            return jax.tree.map(
                lambda new, old: jnp.where(is_better, new, old), taken, refused
            )

        value, gradient = evaluate(start)
        none = jnp.zeros((), jnp.int32)
        last = lax.while_loop(
            is_going,
            attempt,
            _State(
                code=start,
                value=value,
                gradient=gradient,
                step=jnp.asarray(min(self.first_step, self.max_step), start.dtype),
                time=jnp.zeros((), start.dtype),
                steps=jnp.zeros(self.max_steps, start.dtype),
                accepted=none,
                rejected=none,
                in_a_row=none,
            ),
        )
        found = Descended(last.code, last.accepted, last.rejected, is_converged(last))
        return found, last.steps


class _State(NamedTuple):
    """Where the search stands."""

    code: Code
    value: Float[Array, ""]
    gradient: Code
    step: Float[Array, ""]
    time: Float[Array, ""]
    steps: Float[Array, " steps"]
    accepted: Int[Array, ""]
    rejected: Int[Array, ""]
    in_a_row: Int[Array, ""]  # of tries rejected
