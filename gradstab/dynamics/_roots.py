"""Roots of a vector field, judged by its own rounding."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gradstab.dynamics._extras import extra
from gradstab.dynamics._vector_field import State, VectorField


class Roots(NamedTuple):
    """Where searches ended well, the best first.

    Attributes:
        states: h, shape (roots, n).
        velocities: f(h).
        limits: for each component of f, up to where it counts as 0.
        jacobians: ∂f/∂h there, and where twice Newton's step leads: the second of shape
            (roots, 2, n, n). They differ where the root is degenerate.
    """

    states: Float[np.ndarray, "roots n"]
    velocities: Float[np.ndarray, "roots n"]
    limits: Float[np.ndarray, "roots n"]
    jacobians: Float[np.ndarray, "roots 2 n n"]


def find_roots(
    field: VectorField,
    starts: Float[Array, "starts n"],
    tolerance: float | None,
    max_steps: int,
) -> Roots:
    """Searches for roots with Powell's dogleg.

    Every component of f is measured in its median over the starts, and every
    coordinate in its largest start: neither a unit of time nor a gate that slows one
    component moves a root. A root ends ‖f / limits‖ <= 1, where the limits are
    `tolerance`, or the rounding error 100 eps (|∂f/∂h| |h| + median |f|) and the noise
    of f, by which it leaves its tangent within √eps |h| / 8: map(h) - h of a slow map
    has more. Beyond a root f grows again: along Newton's step, followed up to 64 times,
    f only falls where it decays at infinity.

    Args:
        field: f.
        starts: where to search from.
        tolerance: the largest ‖f‖ of a root; if None, its rounding error.
        max_steps: steps from each start.

    Returns:
        The roots, in an order that does not depend on that of `starts`.
    """
    dtype = starts.dtype
    eps = float(jnp.finfo(dtype).eps)
    speeds = np.abs(np.asarray(jax.jit(jax.vmap(field))(starts)))
    # Powers of 2 scale without rounding.
    unit = jnp.asarray(_medians(speeds), dtype)
    # So far apart f leaves its tangent by its rounding, and by no more than some eps
    # for its curvature; nearer, a slow map(h) - h is rounded to one value.
    far = eps**0.5 / 8
    shifts = np.random.default_rng(0).uniform(-far, far, (8, starts.shape[1]))
    shifts = jnp.asarray(shifts, dtype)
    length = jnp.asarray(_medians(np.max(np.abs(starts), axis=0)[None]), dtype)

    def solve(start: State) -> State:
        solver = extra("optimistix")
        # Judged below, not by the solver's tests, which a degenerate root fails.
        scaled = solver.root_find(
            lambda state, _: field(state * length) / unit,
            solver.Dogleg(rtol=eps, atol=eps),
            start / length,
            max_steps=max_steps,
            throw=False,
        ).value
        return scaled * length

    def noise(state: State, velocity: State, jacobian: Float[Array, "n n"]) -> State:
        near = state[None] + shifts * jnp.abs(state)[None]
        moved = jax.vmap(field)(near) - velocity[None]
        return 4 * jnp.max(jnp.abs(moved - (near - state[None]) @ jacobian.mT), axis=0)

    @jax.jit
    @jax.vmap
    def search(start: State) -> tuple[tuple[Array, ...], Array, Array]:
        state = solve(start)
        velocity, jacobian = field(state), jax.jacfwd(field)(state)
        rounding = 100 * eps * (jnp.abs(jacobian) @ jnp.abs(state))
        error = noise(state, velocity, jacobian) + rounding + 100 * eps * unit
        # Far away rounding may exceed f.
        limits = jnp.minimum(error, eps**0.5 * unit)
        if tolerance is not None:
            limits = jnp.full_like(state, tolerance)
        step = jnp.linalg.solve(jacobian / unit[:, None], velocity / unit)
        # Without a step it is still to be told whether f decays outward.
        step = jnp.where(jnp.all(jnp.isfinite(step)), step, -state)
        excess = jnp.linalg.norm(velocity / limits)
        # Where one component fell far below another, that one's rounding would count.
        own = jnp.where(jnp.abs(velocity) > rounding, 1 / limits, 0)
        beyond = [field(state - 2.0**power * step) * own for power in range(1, 7)]
        grows = jnp.linalg.norm(jnp.stack(beyond), axis=-1) >= jnp.linalg.norm(
            velocity * own
        )
        other = jax.jacfwd(field)(state - 2 * step)
        other = jnp.where(jnp.all(jnp.isfinite(other)), other, jacobian)
        root = state, velocity, limits, jnp.stack([jacobian, other])
        return root, excess, jnp.any(grows)

    found, excess, grows = jax.tree.map(np.asarray, search(starts))
    (is_root,) = np.nonzero((excess <= 1) & grows)  # not so for NaN
    order = np.lexsort((*found[0][is_root].T, excess[is_root]))
    return Roots(*(part[is_root[order]] for part in found))


def _medians(values: Float[np.ndarray, "rows n"]) -> Float[np.ndarray, " n"]:
    """Takes medians of what is neither 0 nor infinite, rounded to powers of 2."""

    def median(values: np.ndarray, default: float) -> float:
        known = values[np.isfinite(values) & (values > 0)].astype(np.float64)
        return float(np.median(known)) if known.size else default

    overall = median(values, 1.0)
    found = np.asarray([median(column, overall) for column in values.T])
    least: Any = np.finfo(values.dtype)
    return 2.0 ** np.round(np.log2(np.maximum(found, least.tiny / least.eps)))
