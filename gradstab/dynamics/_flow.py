"""A flow and its derivative, to nearly the precision of the state."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gradstab.dynamics._extras import extra
from gradstab.dynamics._vector_field import State, VectorField

_CHUNK = 4096  # steps of one call; more calls follow where they do not reach the end


class Path(NamedTuple):
    """What a flow passes through, step by step.

    Attributes:
        times: rising from 0, shape (steps + 1,).
        states: the states there, shape (steps + 1, n).
        velocities: f of them, of the same shape.
    """

    times: Float[np.ndarray, " times"]
    states: Float[np.ndarray, "times n"]
    velocities: Float[np.ndarray, "times n"]


Follow = Callable[[State, float, int], Iterator[Path]]


def error_per_step(dtype: jnp.dtype) -> float:
    """Returns the relative error that a step may have."""
    return max(1e-11, 16 * float(jnp.finfo(dtype).eps))


def follower(field: VectorField) -> Follow:
    """Prepares to follow a field by the steps that a solver takes.

    Tsitouras' pair of orders 5 and 4. Its steps are short against all that the flow
    does, whatever the unit of time, so a cubic between them is exact to about 1e-8.

    Args:
        field: f.

    Returns:
        A function of a start, a duration and a number of steps, which yields the path
        piece by piece, each from 0 on, until the duration or at least that many steps
        are over. It raises FloatingPointError where the flow cannot be followed.
    """
    solver = extra("diffrax")

    @jax.jit
    def chunk(start: State, duration: Array) -> Any:
        speed = jnp.max(jnp.abs(field(start)))
        save = solver.SaveAt(t0=True, steps=True, fn=lambda t, h, _: (h, field(h)))
        term = solver.ODETerm(lambda time, state, _: field(state))
        return _solve(solver.Tsit5(), term, start, speed, duration, save, _CHUNK)

    def follow(start: State, duration: float, budget: int) -> Iterator[Path]:
        used = 0
        while duration > 0 and used < budget:
            solution = chunk(start, jnp.asarray(duration, start.dtype))
            passed = np.isfinite(solution.ts)
            times = np.asarray(solution.ts, np.float64)[passed]
            states, velocities = (np.asarray(x)[passed] for x in solution.ys)
            is_over = bool(solution.result == solver.RESULTS.successful)
            is_cut = bool(solution.result == solver.RESULTS.max_steps_reached)
            if not (is_over or (is_cut and len(times) > 1)):
                raise FloatingPointError("The flow could not be followed.")
            yield Path(times, states, velocities)
            start, used = jnp.asarray(states[-1]), used + _CHUNK
            duration = 0.0 if is_over else duration - times[-1]

    return follow


def flow_and_tangent(
    field: VectorField, start: State, duration: Float[Array, ""]
) -> tuple[State, Float[Array, "n n"]]:
    r"""Follows a field together with the derivative of its flow.

    .. math:: \frac{dM}{dt} = J(h(t)) M, \qquad M(0) = I

    Dormand and Prince's pair of orders 8 and 7, with adaptive steps.

    Args:
        field: f.
        start: h(0).
        duration: T.

    Returns:
        h(T) and M(T) = ∂h(T)/∂h(0); NaN where they could not be followed.
    """
    solver = extra("diffrax")

    def both(time: Array, state: tuple[State, Array], _: None) -> tuple[State, Array]:
        velocity, push = jax.linearize(field, state[0])
        return velocity, jax.vmap(push, 1, 1)(state[1])

    first = (start, jnp.eye(start.shape[0], dtype=start.dtype))
    speed = jnp.max(jnp.abs(field(start)))
    save, term = solver.SaveAt(t1=True), solver.ODETerm(both)
    solution = _solve(solver.Dopri8(), term, first, speed, duration, save, 2**18)
    is_there = solution.result == solver.RESULTS.successful
    state, tangent = jax.tree.map(
        lambda last: jnp.where(is_there, last[0], jnp.nan), solution.ys
    )
    return state, tangent


def in_own_unit(field: VectorField, state: State) -> tuple[VectorField, float]:
    """Measures a field in the unit of a state, which absolute errors refer to.

    Args:
        field: f.
        state: what is of the size 1, but for a factor of 2, in the new unit.

    Returns:
        f(u h) / u, and the unit u, a power of 2.
    """
    largest = float(jnp.max(jnp.abs(state)))
    unit = float(2.0 ** np.round(np.log2(largest))) if largest else 1.0
    return lambda scaled: field(scaled * unit) / unit, unit


def _solve(
    pair: Any,
    term: Any,
    start: Any,
    speed: Array,
    duration: Array,
    save: Any,
    steps: int,
) -> Any:
    solver = extra("diffrax")
    rtol = error_per_step(duration.dtype)
    # In the unit of the duration: an absolute limit would stop fast flows.
    shortest = duration * float(jnp.finfo(duration.dtype).eps) ** 2
    # The solver's own guess overflows in single precision where the flow is fast.
    first = jnp.where(speed * duration > 0.01, 0.01 / speed, duration)
    return solver.diffeqsolve(
        term,
        pair,
        t0=jnp.zeros_like(duration),
        t1=duration,
        dt0=first,
        y0=start,
        saveat=save,
        stepsize_controller=solver.PIDController(
            rtol, rtol / 100, dtmin=shortest, force_dtmin=False
        ),
        adjoint=solver.ForwardMode(),
        max_steps=steps,
        throw=False,
    )
