"""A gradient on its way back through networks that nothing drives, by their start."""

import functools
import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from flax.typing import Initializer
from jaxtyping import Array, Float

import gradstab as gs
from gradstab.dynamics import Euler, adjoint_trace, time_step

VectorField = Callable[[Array], Array]
RELAXATION = 300  # units of time before anything is measured
WITHIN = 3  # standard errors: an exponent as near to 0 counts as 0


def starts(hidden: int) -> Mapping[str, Initializer]:
    """Makes the recurrent matrices that are compared, as initializers.

    Args:
        hidden: units of the network, n.

    Returns:
        Each by its name.
    """
    init = nnx.initializers

    def gaussian(gain: float) -> Initializer:
        return init.normal(gain * hidden**-0.5)

    return {
        "limit cycles": gs.nn.limit_cycle_init(),
        "limit cycles, narrow angles": gs.nn.limit_cycle_init(
            angles=(math.pi / 6, math.pi / 3.8)
        ),
        "0.9 × orthogonal": init.orthogonal(0.9),
        "Gaussian, g = 0.8": gaussian(0.8),
        "Gaussian, g = 3": gaussian(3.0),
    }


class Gradients(NamedTuple):
    """What networks of one start do to a gradient.

    Attributes:
        norms: of the gradient, so many units of time before the end: 0, 1, ..., T.
        exponents: the n // 2 + 1 largest Lyapunov exponents, nats a unit of time.
        errors: their standard errors.
        verdicts: of `diagnostics.diagnose`, one for each seed.
    """

    norms: Float[np.ndarray, "seeds times"]
    exponents: Float[np.ndarray, "seeds k"]
    errors: Float[np.ndarray, "seeds k"]
    verdicts: tuple[str, ...]

    @property
    def zeros(self) -> np.ndarray:
        """How many exponents are 0 within their errors, for each seed."""
        return np.sum(np.abs(self.exponents) <= WITHIN * self.errors, axis=1)

    @property
    def grows(self) -> np.ndarray:
        """Whether the leading exponent is above 0 by as much, for each seed."""
        return self.exponents[:, 0] > WITHIN * self.errors[:, 0]


def gradients(
    start: Initializer,
    hidden: int,
    duration: int,
    seeds: tuple[int, ...],
    *,
    dt: float = 0.1,
) -> Gradients:
    """Sends a random unit vector back through networks of one start.

    Args:
        start: of the recurrent matrix.
        hidden: units of the network, n.
        duration: how far back, T, in units of time.
        seeds: one network each.
        dt: length of Euler's steps.

    Returns:
        What becomes of it, in double precision.
    """
    steps = round(duration / dt)
    with jax.enable_x64(True):
        keys = jax.vmap(jax.random.key)(jnp.asarray(seeds, jnp.uint32))
        *others, own = jnp.moveaxis(
            jax.vmap(lambda k: jax.random.split(k, 4))(keys), 1, 0
        )
        cells = [build(start, hidden, dt, key) for key in own]
        matrices = jnp.stack([cell.recurrent() for cell in cells])
        found = _measure(matrices, tuple(others), duration, dt)
        norms, exponents, errors, states = map(np.asarray, found)
        verdicts = tuple(
            verdict(cell, state, steps)
            for cell, state in zip(cells, states, strict=True)
        )
    return Gradients(norms, exponents, errors, verdicts)


@functools.partial(jax.jit, static_argnums=(2, 3))
def _measure(
    matrices: Float[Array, "seeds n n"],
    keys: tuple[Array, ...],
    duration: int,
    dt: float,
) -> tuple[Array, ...]:
    """Measures norms, exponents, their errors, and the state they start from."""
    steps, hidden = round(duration / dt), matrices.shape[-1]

    def measure(drawn: tuple[Array, ...]) -> tuple[Array, ...]:
        matrix, by_state, by_vector, by_tangent = drawn
        field = velocity(matrix)
        state = jax.random.uniform(by_state, (hidden,), minval=-1.0, maxval=1.0)
        state = time_step(field, RELAXATION, integrator=Euler(dt))(state)
        vector = jax.random.normal(by_vector, (hidden,))
        trace = adjoint_trace(
            field,
            state,
            duration,
            vector / jnp.linalg.norm(vector),
            integrator=Euler(dt),
            intervals=duration,
        )
        advance = time_step(field, dt, integrator=Euler(dt))
        found = gs.diagnostics.lyapunov_exponents(
            lambda h, _: advance(h),
            state,
            steps=steps,
            count=hidden // 2 + 1,
            burn_in=steps // 10,
            orthonormalize_every=10,
            duration=dt,
            key=by_tangent,
        )
        return trace.norms[::-1], found.values, found.standard_error, state

    return jax.lax.map(measure, (matrices, *keys))


def build(
    start: Initializer, hidden: int, dt: float, key: Array
) -> gs.nn.LimitCycleCell:
    """Builds the cell of one seed."""
    rngs = nnx.Rngs(key)
    recurrent = gs.nn.Unconstrained(
        (hidden, hidden), matrix_init=start, param_dtype=jnp.float64, rngs=rngs
    )
    return gs.nn.LimitCycleCell(
        1, hidden, recurrent=recurrent, dt=dt, param_dtype=jnp.float64, rngs=rngs
    )


def velocity(matrix: Float[Array, "n n"]) -> VectorField:
    """Gives the flow dh/dt that a cell without inputs takes Euler's steps along."""
    return lambda h: -h + jnp.tanh(matrix @ h)


def verdict(cell: gs.nn.LimitCycleCell, state: Array, steps: int) -> str:
    """Diagnoses a cell that reads zeros from a state on."""
    batch = jnp.zeros((1, steps, 1)), jnp.asarray(state)[None]
    return gs.diagnostics.diagnose(
        gs.nn.RNN(cell), batch, last_size, exponents=1, jacobians=1
    ).verdict.kind


def last_size(rnn: gs.nn.RNN, batch: tuple[Array, Array]) -> Float[Array, ""]:
    """A loss that reads the last state alone."""
    inputs, start = batch
    return jnp.sum(rnn(inputs, initial_carry=start)[:, -1] ** 2)
