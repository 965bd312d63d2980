"""The numbers by which a recurrence is judged."""

import dataclasses
import math

import numpy as np
from jaxtyping import Float

from gradstab.diagnostics._recurrence_measurement import RecurrenceMeasurement

LOST = 1e-7  # relative: what rounding in float32 leaves nothing of


@dataclasses.dataclass(frozen=True)
class RecurrenceSummary:
    """What a measurement comes to. Medians are over sequences.

    Attributes:
        name: the path of the layer.
        steps: how many steps the followed sequences have, the median.
        gradient_first: the median of ‖∂L/∂h_0‖.
        gradient_last: the median norm at the carry that enters the last step.
        gradient_slope: growth of the logarithm of the median norm a step back in time,
            by least squares over the steps where it is finite and above 0.
        lost_after: how many steps back from the largest median norm it first falls
            below 1e-7 of it; infinite if it never does.
        not_finite_at: the last step at which a norm is not finite, which a backward
            pass meets first; None if all are finite.
        reach_slope: growth of log ‖∂h_T/∂h_t‖_F / √n a step back in time, by least
            squares.
        growth: the logarithm of the largest singular value of ∂h_T/∂h_0, median.
        exponents: Lyapunov exponents, means over sequences.
        errors: their standard errors.
        largest_singular_value: of the Jacobians that were built; NaN if none was.
        smallest_singular_value: the same; NaN if they were not built in full.
        spectral_radius: the largest of them.
        state_growth: the size of the state in the last quarter of the run over that in
            the second quarter, median.
        moves: whether the state still changes in the last quarter of the run.
        state_lost: the first step after which a state is not finite; None if all are.
    """

    name: str
    steps: int
    gradient_first: float
    gradient_last: float
    gradient_slope: float
    lost_after: float
    not_finite_at: int | None
    reach_slope: float
    growth: float
    exponents: Float[np.ndarray, " k"]
    errors: Float[np.ndarray, " k"]
    largest_singular_value: float
    smallest_singular_value: float
    spectral_radius: float
    state_growth: float
    moves: bool
    state_lost: int | None


def summarize(found: RecurrenceMeasurement) -> RecurrenceSummary:
    """Reduces a measurement, whose arrays are NumPy's."""
    norms = np.asarray(found.gradients, float)
    middle = np.median(norms, axis=1)
    faulty = np.flatnonzero(~np.isfinite(norms).all(axis=1))
    taken = np.asarray(found.lengths) > 0
    exponents, errors = mean_exponents(found)
    mean = np.asarray(found.reach.log_mean, float)[taken]
    largest = np.asarray(found.reach.log_largest, float)[taken]
    values = np.asarray(found.jacobians.singular_values, float)
    radii = np.asarray(found.jacobians.spectral_radius, float)
    exact = values.size and found.jacobians.is_exact
    states = np.asarray(found.states, float)[taken]
    lost = np.flatnonzero(~np.isfinite(states).all(axis=0))
    return RecurrenceSummary(
        name=found.name,
        steps=int(np.median(np.asarray(found.lengths))),
        gradient_first=float(middle[0]),
        gradient_last=float(middle[-1]),
        gradient_slope=slope_back(logarithm(middle)),
        lost_after=_lost_after(middle),
        not_finite_at=int(faulty[-1]) if faulty.size else None,
        reach_slope=slope_back(np.median(mean, axis=0)) if len(mean) else math.nan,
        growth=float(np.median(largest[:, 0])) if len(largest) else math.nan,
        exponents=exponents,
        errors=errors,
        largest_singular_value=float(np.max(values)) if values.size else math.nan,
        smallest_singular_value=float(np.min(values)) if exact else math.nan,
        spectral_radius=float(np.max(radii)) if radii.size else math.nan,
        state_growth=_state_growth(states),
        moves=_moves(states, np.asarray(found.changes, float)[taken]),
        state_lost=int(lost[0]) if lost.size else None,
    )


def mean_exponents(
    found: RecurrenceMeasurement,
) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"]]:
    """Averages the exponents over sequences, with their standard errors."""
    taken = np.asarray(found.lyapunov.counted, float).sum(axis=1) > 0
    values = np.asarray(found.lyapunov.values, float)[taken]
    errors = np.asarray(found.lyapunov.standard_error, float)[taken]
    number = len(values)
    if not number:
        nothing = np.full(found.lyapunov.values.shape[1], math.nan)
        return nothing, nothing
    with np.errstate(invalid="ignore"):
        return values.mean(axis=0), np.sqrt((errors**2).sum(axis=0)) / number


def slope_back(logs: Float[np.ndarray, " steps"]) -> float:
    """Fits a line to logarithms over time, counted back from the end.

    Args:
        logs: one for each step; what is not finite does not count.

    Returns:
        The growth a step back in time, NaN with fewer than two points.
    """
    back = np.arange(len(logs))[::-1]
    finite = np.isfinite(logs)
    if finite.sum() < 2:
        return math.nan
    x, y = back[finite] - back[finite].mean(), logs[finite] - logs[finite].mean()
    return float(x @ y / (x @ x))


def logarithm(x: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Returns log x, -inf at 0 without a warning."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log(x)


def _moves(
    states: Float[np.ndarray, "sequences moments"],
    changes: Float[np.ndarray, "sequences steps"],
) -> bool:
    late = max(changes.shape[1] // 4, 1)
    return bool(np.any(changes[:, -late:].max(axis=1) > 1e-6 * states.max(axis=1)))


def _lost_after(middle: Float[np.ndarray, " steps"]) -> float:
    finite = np.where(np.isfinite(middle), middle, 0)
    peak = int(np.argmax(finite))
    below = np.flatnonzero(finite[:peak] < LOST * finite[peak])
    return float(peak - below[-1]) if below.size else math.inf


def _state_growth(states: Float[np.ndarray, "sequences moments"]) -> float:
    quarter = max(states.shape[1] // 4, 1)
    early, late = states[:, quarter : 2 * quarter], states[:, -quarter:]
    if not early.size:
        return math.nan
    with np.errstate(divide="ignore", invalid="ignore"):
        growth = late.mean(axis=1) / early.mean(axis=1)
    return float(np.median(growth))
