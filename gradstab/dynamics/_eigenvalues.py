"""Eigenvalues, and how far rounding moves each."""

from typing import Any

import numpy as np
import scipy.linalg
from jaxtyping import Complex, Float


def eigenvalues_and_errors(
    matrix: Float[np.ndarray, "n n"],
) -> tuple[Complex[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Computes eigenvalues, and a bound on the rounding error of each.

    To first order an error E of A moves λ by yᴴEx / yᴴx, with its left and right
    eigenvectors y and x. E is taken as 10 eps |A| entry by entry, which is how A was
    rounded, so that a slow unit beside a fast one keeps its digits, with double
    precision's eps ‖A‖ for the solver. Where eigenvectors nearly coincide the first
    order says too much, and √eps ‖A‖ is the bound.

    Args:
        matrix: A, in the precision it was computed in.

    Returns:
        The eigenvalues by falling real part, then falling imaginary one, and the
        bounds.
    """
    eps = np.finfo(matrix.dtype).eps
    double = matrix.astype(np.float64)
    found: Any = scipy.linalg.eig(double, left=True, right=True)
    values, left, right = found
    size = np.linalg.norm(double)
    moved = np.sum(np.abs(left) * (np.abs(double) @ np.abs(right)), axis=0)
    moved = 10 * float(eps) * moved + np.finfo(np.float64).eps * size
    overlap = np.abs(np.sum(np.conj(left) * right, axis=0))
    most = float(eps) ** 0.5 * size
    errors = np.minimum(moved / np.maximum(overlap, np.finfo(float).tiny), most)
    order = np.lexsort((-np.imag(values), -np.real(values)))
    return values[order], errors[order]
