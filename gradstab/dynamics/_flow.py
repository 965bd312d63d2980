"""A flow and its derivative, to nearly the precision of the state."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gradstab.dynamics._extras import extra
from gradstab.dynamics._vector_field import State, VectorField


def error_per_step(dtype: jnp.dtype) -> float:
    """Returns the relative error that a step may have."""
    return max(1e-11, 16 * float(jnp.finfo(dtype).eps))


def trajectory(
    field: VectorField, start: State, times: Float[Array, " times"]
) -> Float[Array, "times n"]:
    """Follows a field from the first of some times to the last.

    Tsitouras' pair of orders 5 and 4, whose steps are short enough for its interpolant
    to be as exact as they are: that of orders 8 and 7 has errors of 1e-3 between its.

    Args:
        field: f.
        start: the state at the first.
        times: rising times.

    Returns:
        The state at each; NaN where it could not be followed.
    """
    solver = extra("diffrax").Tsit5()
    return _solve(solver, lambda time, state, _: field(state), start, times)


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
        h(T) and M(T) = ∂h(T)/∂h(0).
    """

    def both(time: Array, state: tuple[State, Array], _: None) -> tuple[State, Array]:
        velocity, push = jax.linearize(field, state[0])
        return velocity, jax.vmap(push, 1, 1)(state[1])

    identity = jnp.eye(start.shape[0], dtype=start.dtype)
    times = jnp.stack([jnp.zeros_like(duration), duration])
    states, tangents = _solve(extra("diffrax").Dopri8(), both, (start, identity), times)
    return states[1], tangents[1]


def _solve(pair: Any, field: Any, start: Any, times: Float[Array, " times"]) -> Any:
    solver = extra("diffrax")
    rtol = error_per_step(times.dtype)
    solution = solver.diffeqsolve(
        solver.ODETerm(field),
        pair,
        t0=times[0],
        t1=times[-1],
        dt0=None,
        y0=start,
        saveat=solver.SaveAt(ts=times),
        stepsize_controller=solver.PIDController(
            rtol, rtol / 100, dtmin=1e-12, force_dtmin=False
        ),
        adjoint=solver.ForwardMode(),
        max_steps=2**18,
        throw=False,
    )
    is_there = solution.result == solver.RESULTS.successful
    return jax.tree.map(lambda path: jnp.where(is_there, path, jnp.nan), solution.ys)
