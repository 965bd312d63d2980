"""The gradient flow and its accelerated kin, by an adaptive solver."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gradstab._checks import check_integer, check_positive, check_real
from gradstab.dynamics._descent import (
    Code,
    Descended,
    Descent,
    Objective,
    plain_numbers,
)
from gradstab.dynamics._extras import extra

Slope = Callable[[Code], Code]


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Flow(Descent):
    """A differential equation that is solved from t = 0 to τ."""

    duration: float = 10.0
    rate: float = 1.0
    rtol: float = 1e-4
    atol: float = 1e-6
    max_steps: int = 4096

    def __post_init__(self) -> None:
        for name in ("duration", "rate", "atol"):
            check_positive(name, getattr(self, name))
        check_real("rtol", self.rtol, 0.0)
        plain_numbers(self)
        check_integer("max_steps", self.max_steps, 1)
        extra("diffrax")

    def __call__(self, objective: Objective, start: Code) -> Descended:
        """Descends.

        Args:
            objective: ℓ, a pure function.
            start: z(0).

        Returns:
            z(τ), and how many steps it took.
        """
        return self._follow(jax.grad(objective), start)

    def differentiable(self, objective: Objective, start: Code) -> Descended:
        """Descends; the code has a derivative in all that `objective` closes over.

        Args:
            objective: ℓ, a pure function.
            start: z(0), which gradients reach too.

        Returns:
            The same. The derivative is that of the solver's steps, by checkpoints, in
            reverse mode alone.
        """
        return self(objective, start)

    def _follow(self, slope: Slope, start: Code) -> Descended:
        """Solves the equation, given the gradient of the objective."""
        raise NotImplementedError

    def _integrate(self, field: Any, start: Any, dtype: Any) -> tuple[Any, Descended]:
        """Solves dy/dt = field(t, y) for a tree of arrays of one dtype."""
        solver = extra("diffrax")
        # Without a shortest step, a loss of NaN would be tried again until no steps are
        # left. A stiff start needs steps far shorter than the last digit of τ.
        shortest = self.duration * float(jnp.finfo(dtype).eps) ** 2
        solution = solver.diffeqsolve(
            solver.ODETerm(lambda time, state, _: field(time, state)),
            solver.Tsit5(),
            t0=jnp.zeros((), dtype),
            t1=jnp.asarray(self.duration, dtype),
            dt0=None,
            y0=start,
            stepsize_controller=solver.PIDController(
                self.rtol, self.atol, dtmin=shortest, force_dtmin=False
            ),
            max_steps=self.max_steps,
            throw=False,
        )
        end = jax.tree.map(lambda path: path[0], solution.ys)
        return end, Descended(
            end,
            solution.stats["num_accepted_steps"],
            solution.stats["num_rejected_steps"],
            solution.result == solver.RESULTS.successful,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class GradientFlow(_Flow):
    r"""The gradient flow, by Tsitouras' pair of orders 5 and 4 with adaptive steps.

    .. math:: \frac{dz}{dt} = -\alpha \nabla \ell(z)

    from t = 0 to τ. It is converged if it reached τ; else the code is the one at the
    last time it reached. With curvatures of very different size the largest decides how
    short the steps are. A step costs six gradients of ℓ; the backward pass recomputes
    them between checkpoints. Needs diffrax, of the extra `dynamics`. Call it under
    `jax.jit`: outside, it is compiled each time.

    Args:
        duration: the time τ.
        rate: the factor α.
        rtol: error allowed in a step, relative to the code.
        atol: the same, absolute.
        max_steps: steps in all, accepted or not.

    Raises:
        ValueError: if a number lies outside its range.
        ModuleNotFoundError: without diffrax.

    References:
        Flouris, Volokitin, Bredell & Konukoglu, "Gradient flow encoding with distance
        optimization adaptive step size", 2021, arXiv:2105.05031; Kidger, "On Neural
        Differential Equations", thesis, University of Oxford, 2021, whose diffrax
        solves it.
    """

    def _follow(self, slope: Slope, start: Code) -> Descended:
        return self._integrate(
            lambda _, code: -self.rate * slope(code), start, start.dtype
        )[1]


@dataclasses.dataclass(frozen=True, kw_only=True)
class NesterovFlow(_Flow):
    r"""The limit of Nesterov's accelerated descent, solved as `GradientFlow` is.

    .. math:: \frac{dz}{dt} = m, \qquad
        \frac{dm}{dt} = -\frac{3}{t} m - \alpha \nabla \ell(z), \qquad m(0) = 0

    from t = 0 to τ. At t = 0 the right side is its limit, -α ∇ℓ / 4, since there
    m / t tends to dm/dt; the authors' code has 3 / (t + 1e-5) instead, which is another
    equation. For a convex ℓ, ℓ(z(t)) - min ℓ falls as 1 / (α t²), where that of
    the gradient flow falls as 1 / (α t); on the way it may rise.

    Args:
        duration: the time τ.
        rate: the factor α.
        rtol: error allowed in a step, relative to the code and its speed.
        atol: the same, absolute.
        max_steps: steps in all, accepted or not.

    Raises:
        ValueError: if a number lies outside its range.
        ModuleNotFoundError: without diffrax.

    References:
        Su, Boyd & Candès, "A Differential Equation for Modeling Nesterov's Accelerated
        Gradient Method: Theory and Insights", JMLR 17, 2016, arXiv:1503.01243, where α
        is 1; Flouris, Volokitin, Bredell & Konukoglu, 2021, arXiv:2105.05031.
    """

    def _follow(self, slope: Slope, start: Code) -> Descended:
        def field(time: Float[Array, ""], state: tuple[Code, Code]) -> tuple:
            code, speed = state
            pull = -self.rate * slope(code)
            is_later = time > 0
            drag = 3 / jnp.where(is_later, time, 1) * speed
            return speed, jnp.where(is_later, pull - drag, pull / 4)

        state = start, jnp.zeros_like(start)
        (code, _), found = self._integrate(field, state, start.dtype)
        return found._replace(code=code)
