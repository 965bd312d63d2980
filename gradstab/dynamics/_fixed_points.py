"""Where a vector field vanishes."""

import dataclasses
import warnings

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Complex, Float

from gradstab._checks import check_integer, check_positive
from gradstab.dynamics._extras import extra
from gradstab.dynamics._stability import Kind, stability
from gradstab.dynamics._vector_field import (
    State,
    VectorField,
    check_field,
    check_state,
)


@dataclasses.dataclass(frozen=True)
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
    tolerance is a root. Two of them are one point if f is within it between them, too:
    near a degenerate point every method stops somewhere in a region where f is zero to
    rounding. What is found does not depend on the order of `starts`; nothing says that
    it is all there is, so take more starts than points, such as `grid_points`.

    In single precision ‖f‖ stalls at 1e-7, and where the flow is slow that looks like
    a continuum: a warning says so. Classify in double.

    For a map take f(h) = map(h) - h. The states are its fixed points and 1 + eigenvalue
    its multipliers; `kind` does not apply.

    Takes at most `max_steps` Jacobians and solves of O(n³) a start, all starts together
    on the device. Runs at once, not under `jax.jit`. Needs optimistix, of the extra
    `dynamics`.

    Args:
        field: f, a pure function of one state of shape (n,).
        starts: where to search from, shape (starts, n).
        tolerance: the largest ‖f‖ of a root; if None, the rounding error of f,
            100 eps (1 + ‖J‖ ‖h‖).
        max_steps: steps from each start.

    Returns:
        The points, by their coordinates.

    Raises:
        ValueError: if an argument has another shape or dtype, or lies out of range.
        ModuleNotFoundError: without optimistix.
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
    eps = float(jnp.finfo(starts.dtype).eps)

    def measure(state: State) -> tuple[Array, Float[Array, "n n"], Array]:
        velocity, jacobian = field(state), jax.jacfwd(field)(state)
        rounding = 1 + jnp.linalg.norm(jacobian) * jnp.linalg.norm(state)
        limit = 100 * eps * rounding if tolerance is None else tolerance
        return jnp.linalg.norm(velocity), jacobian, jnp.asarray(limit, state.dtype)

    @jax.jit
    @jax.vmap
    def search(start: State) -> tuple[State, Array, Array, Array, Array]:
        state = _root(field, start, max_steps)
        return state, *measure(state), jnp.linalg.norm(field(start))

    found, residuals, jacobians, limits, speeds = map(np.asarray, search(starts))
    # Far away a field may vanish to its rounding and nothing be known of it.
    is_known = limits <= eps**0.5 * (1 + np.max(speeds))
    is_root = is_known & (residuals <= limits)  # not so for NaN
    if not np.any(is_root):
        return []
    roots, residuals = found[is_root], residuals[is_root]
    jacobians, limits = jacobians[is_root], limits[is_root]
    graph = extra("scipy.sparse.csgraph")
    _, labels = graph.connected_components(_are_one(field, roots, limits), False)
    points = []
    for label in range(max(labels) + 1):
        (members,) = np.nonzero(labels == label)
        center = np.mean(roots[members], axis=0)
        distances = np.linalg.norm(roots[members] - center, axis=-1)
        middle = members[np.argmin(distances)]
        values = np.linalg.eigvals(jacobians[middle]).astype(complex)
        points.append(
            FixedPoint(
                state=roots[middle],
                kind=stability(values, eps**0.5),
                eigenvalues=values[np.lexsort((-np.imag(values), -np.real(values)))],
                residual=float(residuals[middle]),
                spread=2 * float(np.max(distances)),
            )
        )
    if eps > 1e-10 and any(point.kind == "degenerate" for point in points):
        warnings.warn(
            "Single precision cannot tell slow states from fixed ones, and there are "
            "degenerate points; search in double precision.",
            stacklevel=2,
        )
    return sorted(points, key=lambda point: tuple(point.state))


def _root(field: VectorField, start: State, max_steps: int) -> State:
    solver = extra("optimistix")
    eps = float(jnp.finfo(start.dtype).eps)
    # Judged by its residual, not by the solver's tests, which a degenerate root fails.
    return solver.root_find(
        lambda state, _: field(state),
        solver.Dogleg(rtol=eps, atol=eps),
        start,
        max_steps=max_steps,
        throw=False,
    ).value


def _are_one(
    field: VectorField,
    roots: Float[np.ndarray, "roots n"],
    limits: Float[np.ndarray, " roots"],
) -> Bool[np.ndarray, "roots roots"]:
    """Tells which roots have nothing but roots between them."""

    # Two irrational shares: a third root may lie at the middle of two others.
    def speed(one: State, other: State) -> Array:
        shares = (0.5**0.5, 1 - 0.5**0.5)
        between = [one + share * (other - one) for share in shares]
        return jnp.max(jnp.stack([jnp.linalg.norm(field(state)) for state in between]))

    from_one = jax.vmap(speed, (None, 0))
    speeds = jax.jit(lambda x: jax.lax.map(lambda one: from_one(one, x), x))(roots)
    return np.asarray(speeds) <= np.minimum(limits[:, None], limits[None, :])
