"""A gradient on its way back along a trajectory."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gradstab._checks import check_integer, check_positive
from gradstab.dynamics._integrators import Integrator, RungeKutta, check_integrator
from gradstab.dynamics._vector_field import (
    State,
    VectorField,
    check_field,
    check_state,
)


class AdjointTrace(NamedTuple):
    """A trajectory, and the gradient of a loss at its end.

    Attributes:
        times: from 0 to T.
        states: h(t).
        adjoints: λ(t) = ∂L/∂h(t).
        norms: ‖λ(t)‖.
        conserved: λ(t) · f(h(t)), constant but for the error of the steps.
    """

    times: Float[Array, " times"]
    states: Float[Array, "times n"]
    adjoints: Float[Array, "times n"]
    norms: Float[Array, " times"]
    conserved: Float[Array, " times"]


def adjoint_trace(
    field: VectorField,
    start: State,
    duration: float,
    cotangent: State,
    *,
    integrator: Integrator = RungeKutta(),
    intervals: int = 100,
) -> AdjointTrace:
    r"""Sends a gradient back along a trajectory of dh/dt = f(h).

    .. math:: \frac{d\lambda}{dt} = -J(h(t))^T \lambda, \qquad
        \lambda(T) = \frac{\partial L}{\partial h(T)}

    Since df/dt = J f along a trajectory, λ · f never changes: on a stable periodic
    orbit λ(t) tends, backwards, to a multiple of the orbit's phase response, which
    neither vanishes nor explodes. Towards a stable fixed point f vanishes, and λ with
    it; in chaos λ grows.

    What is computed is the exact adjoint of the integrator's steps. The states are
    kept at the ends of the intervals and recomputed within, never integrated backwards,
    which would make all that contracts explode. A pure function of `start` and
    `cotangent`, for `jax.jit` and `jax.vmap` too; what it returns has derivatives of
    its own if the integrator has second ones, as `Euler` and `RungeKutta` do.

    Args:
        field: f, a pure function of one state of shape (n,).
        start: h(0).
        duration: T, a number above 0, known when the program is compiled.
        cotangent: λ(T), of the shape and dtype of `start`.
        integrator: how the field is followed in each interval.
        intervals: how many equal intervals to report.

    Returns:
        The trace, at intervals + 1 times.

    Raises:
        ValueError: if an argument has another shape or dtype, or lies out of range.

    References:
        Sokol, Jordan, Kadile & Park, "Adjoint Dynamics of Stable Limit Cycle Neural
        Networks", Asilomar 2019. Pontryagin's adjoint, as in Chen, Rubanova,
        Bettencourt & Duvenaud, "Neural Ordinary Differential Equations", NeurIPS 2018,
        arXiv:1806.07366, Eq. 4.
    """
    start = check_state("start", start)
    cotangent = check_state("cotangent", cotangent)
    check_field(field, start)
    check_positive("duration", duration)
    check_integer("intervals", intervals, 1)
    check_integrator(integrator)
    if (cotangent.shape, cotangent.dtype) != (start.shape, start.dtype):
        raise ValueError(
            f"`cotangent` must be as `start`, of {start.dtype.name} and shape "
            f"{start.shape}, got {cotangent.dtype.name} and {cotangent.shape}."
        )

    def advance(state: State) -> State:
        return integrator(field, state, duration / intervals)

    def forward(state: State, _: None) -> tuple[State, State]:
        return advance(state), state

    def backward(adjoint: State, state: State) -> tuple[State, State]:
        (adjoint,) = jax.vjp(advance, state)[1](adjoint)
        return adjoint, adjoint

    end, states = jax.lax.scan(forward, start, length=intervals)
    _, adjoints = jax.lax.scan(backward, cotangent, states, reverse=True)
    states = jnp.concatenate([states, end[None]])
    adjoints = jnp.concatenate([adjoints, cotangent[None]])
    return AdjointTrace(
        times=jnp.linspace(0, duration, intervals + 1, dtype=start.dtype),
        states=states,
        adjoints=adjoints,
        norms=jnp.linalg.norm(adjoints, axis=-1),
        conserved=jnp.sum(adjoints * jax.vmap(field)(states), axis=-1),
    )
