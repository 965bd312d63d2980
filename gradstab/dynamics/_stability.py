"""The names of fixed points."""

from typing import Literal

import numpy as np
from jaxtyping import Complex, Float

Kind = Literal[
    "stable node",
    "stable focus",
    "saddle",
    "unstable node",
    "unstable focus",
    "center",
    "degenerate",
]


def stability(
    eigenvalues: Complex[np.ndarray, " n"], errors: Float[np.ndarray, " n"]
) -> Kind:
    """Names a fixed point of a flow by the eigenvalues of its Jacobian.

    A focus has a complex pair among them, a node none; a saddle has both signs of real
    parts. Where a real part is 0 the linear flow does not decide: a pair ±iω in the
    plane is a center, all else degenerate.

    Args:
        eigenvalues: the eigenvalues.
        errors: of each, up to which a part of it counts as 0.

    Returns:
        The name.
    """
    real = np.real(eigenvalues)
    turns = bool(np.any(np.abs(np.imag(eigenvalues)) > errors))
    if np.any(np.abs(real) <= errors):
        return "center" if turns and len(real) == 2 else "degenerate"
    if np.any(real > 0) and np.any(real < 0):
        return "saddle"
    if real[0] < 0:
        return "stable focus" if turns else "stable node"
    return "unstable focus" if turns else "unstable node"
