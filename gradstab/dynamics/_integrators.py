"""Ways to follow a vector field for a time."""

import dataclasses
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Array, Float

from gradstab._checks import check_integer, check_positive, check_real
from gradstab.dynamics._extras import extra
from gradstab.dynamics._vector_field import check_field

States = Float[Array, "..."]
Field = Callable[[States], States]


@dataclasses.dataclass(frozen=True)
class Integrator:
    """A way to follow dh/dt = f(h) from one time to another.

    A subclass supplies `__call__`. Objects are constants: equal ones do not compile a
    program again. So a subclass is a `dataclass(frozen=True)`.
    """

    def __call__(self, field: Field, start: States, duration: float) -> States:
        """Follows the field.

        Args:
            field: f, from a state to its velocity, of the same shape and dtype.
            start: the state at first, of single or double precision.
            duration: for how long, a number; below 0 to go back in time.

        Returns:
            The state at last.

        Raises:
            ValueError: if an argument has another dtype, or `field` gives another shape
                or dtype than it gets.
        """
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class _EqualSteps(Integrator):
    """Steps of one length."""

    dt: float

    def __post_init__(self) -> None:
        check_positive("dt", self.dt)
        object.__setattr__(self, "dt", float(self.dt))

    def __call__(self, field: Field, start: States, duration: float) -> States:
        """Follows the field in equal steps, as few as are no longer than `dt`.

        Args:
            field: f, from a state to its velocity, of the same shape and dtype.
            start: the state at first, of single or double precision.
            duration: for how long, a number; below 0 to go back in time.

        Returns:
            The state at last, which has derivatives in forward and reverse mode.

        Raises:
            ValueError: if an argument has another dtype, `field` gives another shape
                or dtype than it gets, or `duration` is no finite number, or not known
                when the program is compiled.
        """
        _check_flow(field, start)
        check_real("duration", duration)
        # 0.3 / 0.1 is just under 3: a rounding error is no reason for another step.
        count = max(1, math.ceil(abs(duration) / self.dt * (1 - 1e-9)))
        length = duration / count

        def advance(state: States, _: None) -> tuple[States, None]:
            return self._step(field, state, length), None

        return jax.lax.scan(advance, start, length=count)[0]

    def _step(self, field: Field, state: States, length: float) -> States:
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class Euler(_EqualSteps):
    r"""Euler's explicit steps, :math:`h' = h + \Delta f(h)`.

    A step costs one f and has an error of O(Δ²).

    Args:
        dt: Δ, the longest step; a duration is divided evenly.

    Raises:
        ValueError: if `dt` is no number above 0.
    """

    dt: float = 0.1

    def _step(self, field: Field, state: States, length: float) -> States:
        return state + length * field(state)


@dataclasses.dataclass(frozen=True)
class RungeKutta(_EqualSteps):
    """The classical Runge-Kutta steps of order 4.

    A step costs four f and has an error of O(Δ⁵).

    Args:
        dt: Δ, the longest step; a duration is divided evenly.

    Raises:
        ValueError: if `dt` is no number above 0.
    """

    dt: float = 0.01

    def _step(self, field: Field, state: States, length: float) -> States:
        first = field(state)
        second = field(state + length / 2 * first)
        third = field(state + length / 2 * second)
        fourth = field(state + length * third)
        return state + length / 6 * (first + 2 * (second + third) + fourth)


@dataclasses.dataclass(frozen=True)
class Tsitouras(Integrator):
    """Tsitouras' pair of orders 5 and 4, with steps as long as the error allows.

    A step costs six f. The derivative is that of the steps that were taken, in reverse
    mode alone, by checkpoints: the state is never integrated backwards, where what
    contracts would explode. A state that a solver cannot follow becomes NaN. Needs
    diffrax, of the extra `dynamics`.

    Args:
        rtol: error allowed in a step, relative to the state.
        atol: the same, absolute. On slow manifolds it has to lie below the drift that
            is to be seen.
        max_steps: steps in all, accepted or not.

    Raises:
        ValueError: if a number lies outside its range.
        ModuleNotFoundError: without diffrax.
    """

    rtol: float = 1e-4
    atol: float = 1e-6
    max_steps: int = 4096

    def __post_init__(self) -> None:
        check_real("rtol", self.rtol, 0.0)
        check_positive("atol", self.atol)
        check_integer("max_steps", self.max_steps, 1)
        object.__setattr__(self, "rtol", float(self.rtol))
        object.__setattr__(self, "atol", float(self.atol))
        object.__setattr__(self, "max_steps", int(self.max_steps))
        extra("diffrax")

    def __call__(self, field: Field, start: States, duration: float) -> States:
        """Follows the field.

        Args:
            field: f, from a state to its velocity, of the same shape and dtype.
            start: the state at first, of single or double precision. Its entries share
                their steps.
            duration: for how long, a number; below 0 to go back in time. It may be
                traced.

        Returns:
            The state at last; NaN where that was out of reach.

        Raises:
            ValueError: if an argument has another dtype, `field` gives another shape
                or dtype than it gets, or `duration` is not finite.
        """
        _check_flow(field, start)
        if not isinstance(duration, Tracer):
            check_real("duration", duration)
        solver = extra("diffrax")
        solution = solver.diffeqsolve(
            solver.ODETerm(lambda time, state, _: field(state)),
            solver.Tsit5(),
            t0=jnp.zeros((), start.dtype),
            t1=jnp.asarray(duration, start.dtype),
            dt0=None,
            y0=start,
            stepsize_controller=solver.PIDController(
                self.rtol,
                self.atol,
                # Else a field of NaN would be tried until no steps are left.
                dtmin=abs(duration) * float(jnp.finfo(start.dtype).eps) ** 2,
                force_dtmin=False,
            ),
            max_steps=self.max_steps,
            throw=False,
        )
        is_there = solution.result == solver.RESULTS.successful
        return jnp.where(is_there, solution.ys[0], jnp.nan)


def check_integrator(integrator: Integrator) -> None:
    """Checks that an argument `integrator` is one.

    Args:
        integrator: its value.

    Raises:
        ValueError: if it is none.
    """
    if not isinstance(integrator, Integrator):
        raise ValueError(
            f"`integrator` must be an Integrator, such as `RungeKutta(0.01)`, got "
            f"{integrator!r}."
        )


def _check_flow(field: Field, start: States) -> None:
    if start.dtype not in (jnp.float32, jnp.float64):
        # In lower precision a short step would be lost in the state it is added to.
        raise ValueError(
            f"`start` must have dtype float32 or float64, got {start.dtype.name}."
        )
    check_field(field, start)
