"""Two units that learn to flow as a teacher does: van der Pol's, and towards a ring."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float

from experiments.gru_flows import Field, autonomous
from experiments.gru_portraits import rests
from gradstab.dynamics import (
    FixedPoint,
    GRUODECell,
    PeriodicOrbit,
    RungeKutta,
    periodic_orbit,
    time_step,
)

# Of van der Pol's orbit at μ = 1 the coordinates reach 2.009 and 2.672.
REACH = (2.00862, 2.67248)
SIZE = 0.6
# No unit is faster than 1 + |h|: time runs at half the speed.
PACE = 0.5
RADIUS = 0.5
HOP = 0.5  # between the samples of a window
WINDOW = 6  # samples
STEPS = RungeKutta(0.1)
PERIODS = 10  # of a free run
NOISE = 0.05  # of the starts of windows about the orbit
NEAR = 1e-3  # an end is at the fixed point that it is so near to


@dataclass(frozen=True)
class CycleRun:
    """A unit that learned a cycle.

    Attributes:
        loss: mean square over the last windows of training.
        path: ten periods of the teacher's, run freely from its orbit.
        orbit: the cycle that it then is on, or None if it is on none.
    """

    loss: float
    path: Float[np.ndarray, "times 2"]
    orbit: PeriodicOrbit | None

    def aside(self, teacher: PeriodicOrbit) -> float:
        """How far the cycle comes from the teacher's, NaN if there is none."""
        if self.orbit is None:
            return math.nan
        ours, theirs = np.asarray(self.orbit.states), np.asarray(teacher.states)
        gaps = np.linalg.norm(ours[:, None] - theirs, axis=-1)
        return float(np.max(np.min(gaps, axis=1)))


@dataclass(frozen=True)
class RingRun:
    """A unit that learned a ring.

    Attributes:
        field: what it learned.
        loss: mean square over the last windows of training.
        times: of the free run.
        paths: of states that start on the ring.
        rests: its fixed points.
    """

    field: Field
    loss: float
    times: Float[np.ndarray, " times"]
    paths: Float[np.ndarray, "times starts 2"]
    rests: Sequence[FixedPoint]

    @property
    def held_by(self) -> list[int]:
        """For each fixed point, how many runs ended at it."""
        ends = self.paths[-1]
        return [
            int(np.sum(np.linalg.norm(ends - point.state, axis=1) < NEAR))
            for point in self.rests
        ]

    @property
    def moved(self) -> float:
        """How far the runs came from where they began, their median."""
        gaps = np.linalg.norm(self.paths[-1] - self.paths[0], axis=1)
        return float(np.median(gaps))


def van_der_pol(state: Float[Array, "2"]) -> Float[Array, "2"]:
    """The teacher of a cycle: x' = v, v' = (1 - x²) v - x, scaled and slowed."""
    scale = jnp.asarray(REACH, state.dtype) / SIZE
    x, v = state * scale
    return PACE * jnp.stack([v, (1 - x**2) * v - x]) / scale


def ring(state: Float[Array, "2"]) -> Float[Array, "2"]:
    """The teacher of a ring: states go straight to a radius of 0.5, and stay."""
    radius = jnp.maximum(jnp.linalg.norm(state), 1e-9)
    return (RADIUS / radius - 1) * state


class Pupil:
    """Units of two states without input, and their training by a teacher's windows.

    Args:
        teacher: the field to learn.
        starts: draws where windows start.
        steps: of training, by Adam.
        learning_rate: of training.
    """

    def __init__(
        self,
        teacher: Field,
        starts: Callable[[Array], Float[Array, "windows 2"]],
        steps: int,
        learning_rate: float,
    ):
        self._teacher = teacher
        self._starts = starts
        self._steps = steps
        self._adam = optax.adam(learning_rate)
        build = partial(GRUODECell, 1, 2, param_dtype=jnp.float64)
        self._build = build
        outline = nnx.eval_shape(lambda: build(rngs=nnx.Rngs(0)))
        self._graph, _, self._rest = nnx.split(outline, nnx.Param, ...)

    def field(self, params: Any) -> Field:
        """Puts a unit together and returns what it flows along."""
        return autonomous(nnx.merge(self._graph, params, self._rest, copy=True))

    def train(self, key: Array) -> tuple[Any, Float[Array, " steps"]]:
        """Trains a unit; returns its parameters and the losses."""
        _, params, _ = nnx.split(self._build(rngs=nnx.Rngs(key)), nnx.Param, ...)

        def step(state: Any, number: Array) -> tuple[Any, Array]:
            params, moments = state
            own = jax.random.fold_in(key, number)
            loss, slopes = jax.value_and_grad(self._loss)(params, own)
            updates, moments = self._adam.update(slopes, moments, params)
            return (optax.apply_updates(params, updates), moments), loss

        state = params, self._adam.init(params)
        (params, _), losses = jax.lax.scan(step, state, jnp.arange(self._steps))
        return params, losses

    def _loss(self, params: Any, key: Array) -> Float[Array, ""]:
        starts = self._starts(key)
        found, wanted = (
            jax.vmap(partial(window, field))(starts)
            for field in (self.field(params), self._teacher)
        )
        return jnp.mean((found - wanted) ** 2)


def window(
    field: Field, start: Float[Array, "2"], samples: int = WINDOW, hop: float = HOP
) -> Float[Array, "samples 2"]:
    """Follows a field; returns the states after each hop."""
    advance = time_step(field, hop, integrator=STEPS)

    def move(state: Array, _: None) -> tuple[Array, Array]:
        state = advance(state)
        return state, state

    return jax.lax.scan(move, start, length=samples)[1]


def free_run(
    field: Field,
    starts: Float[Array, "starts 2"],
    duration: float,
    hop: float = HOP,
) -> tuple[Float[np.ndarray, " times"], Float[np.ndarray, "times starts 2"]]:
    """Follows a field from several starts, these included."""
    samples = math.ceil(duration / hop)
    follow = jax.vmap(lambda start: window(field, start, samples, hop), out_axes=1)
    paths = np.concatenate([starts[None], jax.jit(follow)(starts)])
    return hop * np.arange(samples + 1), paths


def learned(
    pupil: Pupil, seeds: Sequence[int]
) -> list[tuple[Field, float, Float[np.ndarray, " steps"]]]:
    """Trains a unit for each seed.

    Args:
        pupil: what is trained.
        seeds: they draw the weights and the windows.

    Returns:
        For each the field, the mean loss of the last 100 steps, and the losses.
    """
    keys = jax.vmap(jax.random.key)(jnp.asarray(seeds, jnp.uint32))
    params, losses = jax.jit(jax.vmap(pupil.train))(keys)
    own = [jax.tree.map(lambda x, i=i: x[i], params) for i in range(len(seeds))]
    losses = np.asarray(losses)
    return [
        (pupil.field(one), float(np.mean(loss[-100:])), loss)
        for one, loss in zip(own, losses, strict=True)
    ]


def fit_cycle(
    windows: int, steps: int, learning_rate: float, seeds: Sequence[int]
) -> tuple[PeriodicOrbit, list[CycleRun]]:
    """Trains units on windows about van der Pol's orbit, and lets them run freely.

    Args:
        windows: of a step of training.
        steps: of training.
        learning_rate: of training.
        seeds: a unit each.

    Returns:
        The teacher's orbit and what came of the units.
    """
    orbit = periodic_orbit(van_der_pol, jnp.asarray([0.3, 0.3]), max_period=40.0)

    def starts(key: Array) -> Float[Array, "windows 2"]:
        place, noise = jax.random.split(key)
        chosen = jax.random.choice(place, orbit.states, (windows,))
        return chosen + NOISE * jax.random.normal(noise, chosen.shape)

    runs = []
    pupil = Pupil(van_der_pol, starts, steps, learning_rate)
    for field, loss, _ in learned(pupil, seeds):
        duration = PERIODS * orbit.period
        _, paths = free_run(field, orbit.state[None], duration, hop=0.1)
        try:
            found = periodic_orbit(
                field, orbit.state, settle=duration, max_period=3 * orbit.period
            )
        except ValueError:
            found = None
        runs.append(CycleRun(loss, paths[:, 0], found))
    return orbit, runs


def fit_ring(
    windows: int,
    steps: int,
    learning_rate: float,
    seeds: Sequence[int],
    duration: float,
    starts: int,
) -> list[RingRun]:
    """Trains units on windows towards a ring, and lets them run freely from it.

    Args:
        windows: of a step of training.
        steps: of training.
        learning_rate: of training.
        seeds: a unit each.
        duration: of the free run.
        starts: how many, evenly on the ring.

    Returns:
        What came of the units.
    """

    def about(key: Array) -> Float[Array, "windows 2"]:
        far, turned = jax.random.split(key)
        radii = jax.random.uniform(far, (windows, 1), jnp.float64, 0.1, 0.9)
        angles = jax.random.uniform(turned, (windows,), jnp.float64, 0, 2 * jnp.pi)
        return radii * jnp.stack([jnp.cos(angles), jnp.sin(angles)], axis=1)

    angles = np.linspace(0, 2 * np.pi, starts, endpoint=False)
    on_ring = RADIUS * jnp.asarray(np.stack([np.cos(angles), np.sin(angles)], axis=1))
    runs = []
    for field, loss, _ in learned(Pupil(ring, about, steps, learning_rate), seeds):
        times, paths = free_run(field, on_ring, duration)
        runs.append(RingRun(field, loss, times, paths, rests(field)))
    return runs
