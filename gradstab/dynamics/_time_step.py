"""A flow seen at equal times."""

from collections.abc import Callable

from jaxtyping import Array, Float

from gradstab._checks import check_positive
from gradstab.dynamics._integrators import Integrator, RungeKutta, check_integrator


def time_step(
    field: Callable[[Float[Array, "..."]], Float[Array, "..."]],
    duration: float,
    *,
    integrator: Integrator = RungeKutta(),
) -> Callable[[Float[Array, "..."]], Float[Array, "..."]]:
    """Turns a vector field f into the map h(t) -> h(t + τ) of dh/dt = f(h).

    What is made for maps and networks in discrete time then serves for flows. An
    exponent a step is one a time, times τ.

    Example:
        >>> import jax.numpy as jnp
        >>> from gradstab.dynamics import time_step
        >>> halve = time_step(lambda h: -h, 0.6931471805599453)
        >>> f"{halve(jnp.ones(()))[()]:.5f}"
        '0.50000'

    Args:
        field: f, from a state to its velocity, of the same shape and dtype.
        duration: τ.
        integrator: how the field is followed. `Euler` and `RungeKutta` have derivatives
            in both modes, `Tsitouras` in reverse mode.

    Returns:
        The map, a pure function of states of single or double precision.

    Raises:
        ValueError: if `duration` is no number above 0, or an argument of another kind.
    """
    check_positive("duration", duration)
    check_integrator(integrator)
    if not callable(field):
        raise ValueError(f"`field` must be callable, got {field!r}.")

    def advance(state: Float[Array, "..."]) -> Float[Array, "..."]:
        return integrator(field, state, float(duration))

    return advance
