"""The closed orbit that a flow settles on."""

import dataclasses
import itertools
from typing import NoReturn

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gradstab._checks import check_integer, check_positive, check_real
from gradstab.dynamics._first_return import Lap, distance, interpolate, returns, size_of
from gradstab.dynamics._flow import Follow, Path, error_per_step, follower, in_own_unit
from gradstab.dynamics._product_spectrum import eigenvalues_of_product
from gradstab.dynamics._shooting import (
    SEGMENTS,
    Loop,
    Shoot,
    close,
    shooter,
    states_at,
)
from gradstab.dynamics._vector_field import (
    State,
    VectorField,
    check_field,
    check_state,
)

_SETTLE_STEPS = 2**21
_PATH_STEPS, _PATH_NUMBERS = 2**18, 2**25  # each of the path, which is kept
_TRIES = 4  # laps that Newton's method is started from


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, eq=False)
class PeriodicOrbit:
    """A closed orbit of a flow; a pytree, equal to itself alone.

    Attributes:
        state: a state h on it, shape (n,).
        period: P, the time after which it first comes back.
        residual: the largest gap that is left in it.
        times: equally spaced from 0 to P, shape (samples + 1,).
        states: the orbit at `times`, from h on.
    """

    state: Float[Array, " n"]
    period: float
    residual: float
    times: Float[Array, " times"]
    states: Float[Array, "times n"]


def periodic_orbit(
    field: VectorField,
    start: State,
    *,
    settle: float = 200.0,
    max_period: float = 100.0,
    samples: int = 256,
) -> PeriodicOrbit:
    r"""Finds the periodic orbit of dh/dt = f(h) that a start settles on.

    The flow is followed for `settle`, then from a point a until it comes back through
    the plane across it (Poincaré's section). Newton's method then solves

    .. math:: \phi_{P/K}(h_k) = h_{k+1}, \qquad h_{K+1} = h_1, \qquad
        f(a) \cdot (h_1 - a) = 0

    for the states h_k that cut the loop into K = 16 segments (multiple shooting) and
    the period P, with the derivative of the flow φ by its variational equation. So it
    closes loops that pass a saddle too near for one shot around. A loop of several
    laps of one orbit is cut down to one.

    What is found attracts the start: a chaotic attractor is full of unstable orbits,
    near which a path comes back without staying. So an orbit with a multiplier outside
    of the unit circle, or whose surroundings the path leaves later, is refused. With
    `settle=0` it is not: an unstable orbit is found from nearby. Flows that conserve
    an energy settle on nothing: their orbits come in families, and what is found is
    the orbit next to the path, at nearly the start's energy.

    The flow has an error of 1e-11 a step in double precision (Dormand and Prince's
    pair of orders 8 and 7); in single, of 2e-6, which blurs weakly stable orbits, and
    hides that a spiral does not close which moves by less than 1e-4 of its size a lap.
    Runs at once, not under `jax.jit`, and compiles for each call. Costs the explicit
    steps of a time of `settle` + 2 `max_period`, the path of at most 2¹⁸ of which is
    kept, and O(K³ n³) a step of Newton's. Needs diffrax, of the extra `dynamics`.

    Args:
        field: f, a pure function of one state of shape (n,).
        start: where to begin, near no fixed point. It sets the unit of length: errors
            are small against it.
        settle: for how long to follow the flow first.
        max_period: the longest period to look for.
        samples: intervals between the states that are returned.

    Returns:
        The orbit. Its period is the least, at most `max_period`.

    Raises:
        ValueError: if no closed orbit was found: the flow comes to rest, or away, or
            not back within `max_period`, or does not stay near the orbit, or is too
            fast to follow for `settle`, or Newton's method fails; and if an argument
            has another shape or dtype, or lies out of range.
        ModuleNotFoundError: without diffrax.
    """
    start = check_state("start", start)
    check_field(field, start)
    check_real("settle", settle, 0.0)
    check_positive("max_period", max_period)
    check_integer("samples", samples, 1)
    field, unit = in_own_unit(field, start)
    start = start / unit
    path = _settled_path(follower(field), start, settle, max_period)
    if _is_at_rest(path, start, max_period):
        rest = np.round(path.states[-1] * unit, 4).tolist()
        _refuse(f"the flow came to rest at {rest}.")
    shoot = shooter(field, start.dtype)
    reason = _no_return(path, max_period)
    for lap in itertools.islice(returns(path, max_period), _TRIES):
        loop = _closed(shoot, path, lap)
        reason = _fault(loop, path, lap, max_period, settles=settle > 0)
        if not reason:
            break
    else:
        _refuse(reason)
    times = np.linspace(0, loop.period, samples + 1)
    states = jnp.asarray(states_at(shoot, loop, times) * unit, start.dtype)
    times = jnp.asarray(times, start.dtype)
    return PeriodicOrbit(states[0], loop.period, loop.residual * unit, times, states)


def _settled_path(
    follow: Follow, start: State, settle: float, max_period: float
) -> Path:
    """Follows the flow for twice the longest period, once it has settled."""
    try:
        settled, passed = start, 0.0
        for piece in follow(start, settle, _SETTLE_STEPS):
            settled, passed = jnp.asarray(piece.states[-1]), passed + piece.times[-1]
        if passed < 0.999 * settle:
            _refuse(
                f"{_SETTLE_STEPS} steps of the flow took it to a time of {passed:.3g} "
                f"of `settle` = {settle:.3g}; a smaller `settle` may do."
            )
        # Twice: wherever the first half is left, it comes back.
        budget = min(_PATH_STEPS, _PATH_NUMBERS // len(start))
        pieces = list(follow(settled, 2 * max_period, budget))
    except FloatingPointError:
        _refuse("the flow left for infinity, or came to where it is not finite.")
    starts = np.cumsum([0.0] + [piece.times[-1] for piece in pieces])
    times = [piece.times[1:] + t for piece, t in zip(pieces, starts, strict=False)]
    return Path(
        np.concatenate([np.zeros(1), *times]),
        *(
            np.concatenate([pieces[0][i][:1], *(piece[i][1:] for piece in pieces)])
            for i in (1, 2)
        ),
    )


def _is_at_rest(path: Path, start: State, max_period: float) -> bool:
    """Tells whether the path would not get anywhere within the longest period."""
    late = path.times >= path.times[-1] / 2
    speed = np.max(np.linalg.norm(path.velocities[late], axis=1))
    scale = max(np.max(np.abs(path.states)), np.max(np.abs(np.asarray(start))))
    return bool(speed * max_period <= 1e3 * error_per_step(start.dtype) * scale)


def _no_return(path: Path, max_period: float) -> str:
    if path.times[-1] < 1.999 * max_period:
        return (
            f"the flow does not come back within a time of {path.times[-1]:.3g}, which "
            "took as many steps as are kept: it is too fast, or too stiff."
        )
    return "the flow does not come back; a longer `settle` or `max_period` may help."


def _closed(shoot: Shoot, path: Path, lap: Lap) -> Loop:
    """Closes a lap, and cuts what closes down to the orbit's shortest period."""
    shares = np.arange(SEGMENTS) / SEGMENTS
    states = interpolate(path, lap.start + lap.period * shares)
    normal = path.velocities[np.searchsorted(path.times, lap.start)]
    error = error_per_step(path.states.dtype)
    loop = close(shoot, states, lap.period, normal, error)
    same = 1e3 * error * size_of(path.states)
    for count in range(lap.passes, 1, -1):
        period = loop.period / count
        later = (shares * loop.period + period) % loop.period
        moved = states_at(shoot, loop, later) - loop.states
        if np.max(np.linalg.norm(moved, axis=1)) <= same:
            states = states_at(shoot, loop, shares * period)
            return close(shoot, states, period, normal, error)
    return loop


def _fault(
    loop: Loop, path: Path, lap: Lap, max_period: float, *, settles: bool
) -> str:
    """Says why a loop is not the orbit that the path settles on, if it is not."""
    error, size = error_per_step(path.states.dtype), size_of(path.states)
    ends = np.searchsorted(path.times, [lap.start, lap.start + lap.period])
    around = path.states[ends[0] : ends[1] + 1]
    away = distance(loop.states, around)
    if not loop.residual <= 1e3 * error * size:
        return (
            "Newton's method finds none from where it comes back: the loop stays open "
            f"by {loop.residual / size:.1e} of its size; a longer `settle` may help."
        )
    if away > size / 4:
        return (
            "Newton's method finds one far from where it comes back; a longer `settle` "
            "may help."
        )
    if loop.period > max_period:
        return (
            f"its period of {loop.period:.6g} is above `max_period` = {max_period:.6g}."
        )
    if settles:
        largest = np.max(np.abs(eigenvalues_of_product(loop.tangents)))
        late = path.states[path.times >= path.times[-1] - lap.period]
        late = late[:: -(-len(late) // 256)]
        if (
            largest > 1 + 30 * error**0.5
            or distance(late, around) > 3 * away + 0.02 * size
        ):
            return (
                f"it does not stay near the one of period {loop.period:.6g}, whose "
                f"largest multiplier is {largest:.4g}; a longer `settle` may help, or "
                "`settle=0` from nearby for an orbit that is unstable."
            )
    return ""


def _refuse(reason: str) -> NoReturn:
    raise ValueError(f"`start` settles on no periodic orbit: {reason}")
