"""Where a vector field vanishes."""

import dataclasses
import warnings
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float, Int

from gradstab._checks import check_integer, check_positive
from gradstab.dynamics._eigenvalues import eigenvalues_and_errors
from gradstab.dynamics._roots import Roots, find_roots
from gradstab.dynamics._stability import Kind, stability
from gradstab.dynamics._vector_field import (
    State,
    VectorField,
    check_field,
    check_state,
)


@dataclasses.dataclass(frozen=True, eq=False)
class FixedPoint:
    """A state that does not move.

    Attributes:
        state: h, shape (n,).
        kind: what it is to the flow about it.
        eigenvalues: those of the Jacobian ∂f/∂h, by falling real part.
        residual: ‖f(h)‖.
        spread: the diameter of what was merged into it. A point has one near the
            rounding error over its smallest eigenvalue; a larger one is a slow region,
            or a continuum, that this precision cannot resolve.
    """

    state: Float[np.ndarray, " n"]
    kind: Kind
    eigenvalues: Complex[np.ndarray, " n"]
    residual: float
    spread: float


def fixed_points(
    field: VectorField,
    starts: Float[Array, "starts n"],
    *,
    tolerance: float | None = None,
    max_steps: int = 100,
) -> list[FixedPoint]:
    r"""Finds the fixed points of dh/dt = f(h) that Newton's method reaches.

    From every start Newton's step is taken within a region of trust (Powell's dogleg),
    since from afar the plain one may leave for good. What ends with ‖f‖ within the
    tolerance is a root, unless f only falls along Newton's step, as where it decays at
    infinity and is not yet 0 to the last bit. Two of them are one point if f is within
    it between them, too: near a degenerate point every method stops somewhere in a
    region where f is zero to rounding. Where f is NaN or infinite nothing is found.
    What is found does not depend on the order of `starts`; nothing says that it is all
    there is, so take more starts than points, such as `grid_points`.

    Where the flow is at rest to rounding over a hundredth of the extent of `starts`, a
    warning says so: a slow region then looks like a continuum. So it does sooner in
    single precision, which warns of any degenerate point. Classify in double.

    For a map take f(h) = map(h) - h. The states are its fixed points and 1 + eigenvalue
    its multipliers; `kind` does not apply.

    Takes at most `max_steps` Jacobians and solves of O(n³) a start, all starts together
    on the device, and a comparison of every root with every point: time and memory grow
    with starts, but on a continuum, where every root is a point, time with their
    square. Runs at once, not under `jax.jit`. Needs optimistix, of the extra
    `dynamics`.

    Args:
        field: f, a pure function of one state of shape (n,).
        starts: where to search from, shape (starts, n).
        tolerance: the largest ‖f‖ of a root; if None, the rounding error of each
            component, 100 eps (|∂f/∂h| |h| + median |f|) with the median over `starts`.
        max_steps: steps from each start.

    Returns:
        The points, by their coordinates.

    Raises:
        ValueError: if an argument has another shape or dtype, or lies out of range.
        ModuleNotFoundError: without optimistix.
    """
    points = find_fixed_points(field, starts, tolerance, max_steps)
    warn_of_rest(points, starts, stacklevel=3)
    return points


def find_fixed_points(
    field: VectorField,
    starts: Float[Array, "starts n"],
    tolerance: float | None = None,
    max_steps: int = 100,
) -> list[FixedPoint]:
    """Finds fixed points as `fixed_points` does, without its warning.

    Args:
        field: f.
        starts: where to search from.
        tolerance: the largest ‖f‖ of a root.
        max_steps: steps from each start.

    Returns:
        The points, by their coordinates.

    Raises:
        ValueError: if an argument has another shape or dtype, or lies out of range.
    """
    starts = jnp.asarray(starts)
    if starts.ndim != 2 or 0 in starts.shape:
        raise ValueError(
            f"`starts` must have shape (starts, n), got {starts.shape}; "
            "`grid_points` makes some."
        )
    check_state("starts", starts.reshape(-1))
    check_field(field, starts[0])
    if tolerance is not None:
        check_positive("tolerance", tolerance)
    check_integer("max_steps", max_steps, 1)
    roots = find_roots(field, starts, tolerance, max_steps)
    points = [_point(roots, members) for members in _groups(field, roots)]
    return sorted(points, key=lambda point: tuple(point.state))


def warn_of_rest(
    points: Sequence[FixedPoint], starts: Float[Array, "starts n"], stacklevel: int
) -> None:
    """Warns where points cannot be told from slow states.

    Args:
        points: what was found.
        starts: from where.
        stacklevel: how far above this function the line is that is at fault.
    """
    extent = float(np.max(np.ptp(np.asarray(starts), axis=0)))
    wide = [point for point in points if point.spread > 0.01 * extent]
    is_single = any(point.state.dtype == np.float32 for point in points)
    if is_single and (wide or any(point.kind == "degenerate" for point in points)):
        warnings.warn(
            "Single precision cannot tell slow states from fixed ones, and there are "
            "points that are degenerate or wide; search in double precision.",
            stacklevel=stacklevel,
        )
    elif wide:
        point = max(wide, key=lambda point: point.spread)
        warnings.warn(
            f"The flow is at rest to rounding over {point.spread:.1e} about the fixed "
            f"point {point.state.tolist()}: a slow region, or a continuum.",
            stacklevel=stacklevel,
        )


def _groups(field: VectorField, roots: Roots) -> Iterator[Int[np.ndarray, " members"]]:
    """Gathers the roots that have nothing but roots between them and the best one."""

    # A chain from root to root would join points that have faster states between them.
    # Two irrational shares: a third root may lie at the middle of two others.
    @jax.jit
    def are_one(state: State, limits: State, others: Float[Array, "roots n"]) -> Array:
        shares = (0.5**0.5, 1 - 0.5**0.5)
        between = [state + share * (others - state) for share in shares]
        speeds = jax.vmap(field)(jnp.concatenate(between)) / limits
        # Both ends may be at the limit, and rounding adds to it.
        return jnp.all(jnp.linalg.norm(speeds, axis=-1).reshape(2, -1) <= 2, axis=0)

    is_left = np.ones(len(roots.states), bool)
    while np.any(is_left):
        best = int(np.argmax(is_left))
        joined = are_one(roots.states[[best]], roots.limits[[best]], roots.states)
        (members,) = np.nonzero(is_left & np.asarray(joined))
        members = np.union1d(members, [best])
        is_left[members] = False
        yield members


def _point(roots: Roots, members: Int[np.ndarray, " members"]) -> FixedPoint:
    states = roots.states[members]
    distances = np.linalg.norm(states - np.mean(states, axis=0), axis=-1)
    middle = members[np.argmin(distances)]
    values, errors = eigenvalues_and_errors(roots.jacobians[middle, 0])
    # Where the root lies is known up to what was merged, and what Newton's step misses;
    # so are the eigenvalues, which at a degenerate point change sign nearby.
    one = np.argmax(np.linalg.norm(states - roots.states[middle], axis=-1))
    other = np.argmax(np.linalg.norm(states - states[one], axis=-1))
    near = roots.jacobians[[middle, members[one], members[other]]]
    nearby = np.sort(np.real(np.linalg.eigvals(near)), axis=-1)[..., ::-1]
    errors = errors + 2 * np.max(np.abs(nearby - np.real(values)), axis=(0, 1))
    return FixedPoint(
        state=roots.states[middle],
        kind=stability(values, errors),
        eigenvalues=values,
        residual=float(np.linalg.norm(roots.velocities[middle])),
        spread=2 * float(np.max(distances)),
    )
