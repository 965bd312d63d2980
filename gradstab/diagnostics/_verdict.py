"""Whether gradients vanish, explode, or depend on chaos."""

import math
from typing import Any, Literal, get_args

import numpy as np

from gradstab.diagnostics._depth_gradient_profile import DepthProfile
from gradstab.diagnostics._summary import (
    LOST,
    RecurrenceSummary,
    logarithm,
    slope_back,
)

Kind = Literal["stable", "vanishing", "exploding", "chaotic"]
FACTOR = 100.0
FEWEST_LAYERS = 4
BOUNDED = 3.0


class Verdict(str):
    """What becomes of gradients: stable, vanishing, exploding or chaotic.

    A string, to be compared with one of the four; beside it what lies behind it.

    - vanishing: the largest singular value of ∂h_T/∂h_0 is below 1/100: a change of the
      first state, whatever its direction, changes the last one by no more. Or what the
      loss sends back is lost: ‖∂L/∂h_t‖ falls below 1e-7 of its largest on the way to
      the first step. Or the gradient at the first layer is below 1/100 of that at the
      last, by the line through the logarithms of all layers, or 0.
    - chaotic: it is above 100, the leading Lyapunov exponent is above 0 by two standard
      errors, and the state moves and stays bounded: its size in the last quarter of the
      run is at most three times that in the second.
    - exploding: it is above 100 without that, or the loss, a state or a gradient is not
      finite.
    - stable: none of these, over as many steps as the batch has. Depth is judged from
      four layers on, as one chain in the order of the calls: branches that run beside
      each other, and gradients that are stopped on purpose, it cannot tell from depth.

    Attributes:
        kind: the string itself.
        where: the recurrence, or "depth".
        number: the logarithm of that factor; its sign tells growth.
        evidence: the number, in words.
        remedy: what gradstab has for it; empty where nothing is wrong.
    """

    kind: Kind
    where: str
    number: float
    evidence: str
    remedy: str

    def __new__(
        cls, kind: Kind, where: str, number: float, evidence: str, remedy: str
    ) -> "Verdict":
        """Makes a string of the kind, and attaches the rest."""
        assert kind in get_args(Kind)
        self = super().__new__(cls, kind)
        self.kind, self.where, self.number = kind, where, number
        self.evidence, self.remedy = evidence, remedy
        return self

    def __getnewargs__(self) -> tuple[Any, ...]:
        """Returns what a copy is made of."""
        return self.kind, self.where, self.number, self.evidence, self.remedy

    @property
    def sentence(self) -> str:
        """The verdict with its evidence and its remedy, in words."""
        words = f"{self.kind} ({self.where}): {self.evidence}."
        return f"{words} {self.remedy}" if self.remedy else words


_HOLD = (
    "`nn.OrthogonalCell`, `nn.NCGRUCell`, or `nn.constrain` with a parametrization "
    "such as `nn.ScaledCayley`"
)
_REMEDIES = {
    "vanishing": (
        f"Hold the recurrent matrix orthogonal: {_HOLD}, or move its exponents to 0 "
        "before training: `diagnostics.lyapunov_penalty`."
    ),
    "exploding": (
        f"Hold the recurrent matrix: {_HOLD}, or `optim.project_spectral_norm`; "
        "`optim.safe_clip_by_global_norm` bounds a step meanwhile."
    ),
    "chaotic": (
        "Hold the norm of the recurrent matrix down: `nn.SpectralClipped`, "
        "`nn.SpectralGRUCell` or `optim.project_spectral_norm`, or penalize positive "
        "exponents: `diagnostics.lyapunov_penalty`."
    ),
}
_DEPTH_REMEDIES = {
    "vanishing": (
        "Normalize channels (`nn.ChannelNorm`), or hold kernels orthogonal: "
        "`nn.Linear` with `nn.SVD` or `nn.Householder`, `nn.Conv` with "
        "`nn.OrthogonalConvKernel`."
    ),
    "exploding": (
        "Hold kernels orthogonal (`nn.Linear` with `nn.SVD`, `nn.Conv` with "
        "`nn.OrthogonalConvKernel`) or their norms down: `optim.project_spectral_norm`."
    ),
}


def judge_recurrence(found: RecurrenceSummary, keeps: float | None) -> Verdict:
    """Judges a recurrence.

    Args:
        found: its numbers.
        keeps: the median time in which its gates forget, where they are known.

    Returns:
        The verdict.
    """

    def verdict(kind: Kind, number: float, evidence: str) -> Verdict:
        remedy = _REMEDIES.get(kind, "")
        if kind == "vanishing" and keeps is not None and keeps < found.steps:
            remedy += (
                f" Its gates forget in {keeps:.3g} steps of {found.steps}: a larger "
                "bias of the gate that keeps the state lengthens that."
            )
        return Verdict(kind, found.name, number, evidence, remedy)

    if found.state_lost is not None:
        words = f"the state is not finite from step {found.state_lost} on"
        return verdict("exploding", math.inf, words)
    if found.not_finite_at is not None:
        words = f"the gradient is not finite before step {found.not_finite_at + 1}"
        return verdict("exploding", math.inf, words)
    growth = found.growth
    if found.steps == 0:
        return verdict("stable", 0.0, "the sequences that were followed have no step")
    if math.isnan(growth):
        return verdict("exploding", math.inf, "∂h_T/∂h_0 is not finite")
    words = (
        f"over {found.steps} steps the largest singular value of ∂h_T/∂h_0 is "
        f"{_power(growth)}"
    )
    if growth < -math.log(FACTOR):
        return verdict("vanishing", growth, words)
    if growth <= math.log(FACTOR) and math.isfinite(found.lost_after):
        lost = math.log(LOST)
        words = (
            f"{found.lost_after:.0f} steps back the gradient is below 1e-7 of its peak"
        )
        return verdict("vanishing", lost, words)
    if growth <= math.log(FACTOR):
        return verdict("stable", growth, words)
    leading, error = found.exponents[0], found.errors[0]
    bounded = found.state_growth <= BOUNDED
    if leading > 2 * error and bounded and found.moves:
        words += f", and the leading Lyapunov exponent {leading:.3g} ± {error:.1g}"
        return verdict("chaotic", growth, words + " nats a step")
    return verdict("exploding", growth, words)


def judge_depth(profile: DepthProfile) -> Verdict | None:
    """Judges a deep network; None for a sound one of fewer than four layers."""
    norms = np.asarray(profile.gradients, float)
    if not np.isfinite(norms).all():
        name = profile.names[int(np.flatnonzero(~np.isfinite(norms))[-1])]
        words = f"the gradient at {name} is not finite"
        return Verdict(
            "exploding", "depth", math.inf, words, _DEPTH_REMEDIES["exploding"]
        )
    if len(norms) < FEWEST_LAYERS:
        return None
    if not norms.any():
        return Verdict("stable", "depth", 0.0, "the loss sends no gradient back", "")
    logs = logarithm(norms)
    growth = slope_back(logs) * (len(norms) - 1)
    if norms[0] == 0:
        name = profile.names[int(np.flatnonzero(norms)[0]) - 1]
        words = f"no gradient reaches {name}: it is lost, or stopped"
        return Verdict(
            "vanishing", "depth", -math.inf, words, _DEPTH_REMEDIES["vanishing"]
        )
    words = (
        f"from the last of {len(norms)} layers to the first the gradient changes by "
        f"{_power(growth)}"
    )
    kind: Kind = "stable"
    if abs(growth) > math.log(FACTOR):
        kind = "vanishing" if growth < 0 else "exploding"
    return Verdict(kind, "depth", growth, words, _DEPTH_REMEDIES.get(kind, ""))


def worst(verdicts: list[Verdict]) -> Verdict:
    """Selects the verdict that matters most: what grows before what vanishes."""
    rank = {"stable": 0, "vanishing": 1, "chaotic": 2, "exploding": 3}
    return max(verdicts, key=lambda one: (rank[one.kind], abs(one.number)))


def _power(logarithm: float) -> str:
    """Writes a number of any size, given its logarithm."""
    if not math.isfinite(logarithm):
        return "0" if logarithm < 0 else "not finite"
    if abs(logarithm) < 9:
        return f"{math.exp(logarithm):.3g}"
    exponent = logarithm / math.log(10)
    whole = math.floor(exponent)
    return f"{10 ** (exponent - whole):.1f}e{whole:+d}"
