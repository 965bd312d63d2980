"""The eigenvalues of a product of matrices that is better not formed."""

import numpy as np
from jaxtyping import Complex, Float

_SWEEPS = 100


def eigenvalues_of_product(
    pieces: Float[np.ndarray, "pieces n n"],
) -> Complex[np.ndarray, " n"]:
    """Computes the eigenvalues of M_K ... M_1 by simultaneous iteration.

    A frame is carried through the factors by QR factorizations, M_k Q_k = Q_{k+1} R_k,
    until it comes back to itself. Then products of diagonal blocks of R_k give each
    eigenvalue. Those of nearly equal modulus share a block. Costs O(K n³) for each of
    up to 100 sweeps.

    Args:
        pieces: M_1 to M_K, shape (K, n, n), each well conditioned.

    Returns:
        The eigenvalues, by falling modulus.
    """
    n = pieces.shape[-1]
    frame = np.linalg.qr(np.random.default_rng(0).standard_normal((n, n)))[0]
    values = np.zeros(n, complex)
    for _ in range(_SWEEPS):
        first, factors = frame, []
        for piece in pieces:
            frame, factor = np.linalg.qr(piece @ frame)
            factors.append(factor)
        # The last frame in terms of the first: block triangular once both agree.
        turn = first.T @ frame
        cuts = [0, *(i for i in range(1, n) if _is_small(turn[i:, :i])), n]
        before, values = values, []
        for low, high in zip(cuts[:-1], cuts[1:], strict=True):
            block = turn[low:high, low:high]
            for factor in reversed(factors):
                block = block @ factor[low:high, low:high]
            values.append(np.linalg.eigvals(block))
        values = np.concatenate(values).astype(complex)
        values = values[np.lexsort((np.imag(values), np.real(values), -np.abs(values)))]
        if np.all(np.abs(values - before) <= 1e-13 * np.abs(values)):
            break
    return values


def _is_small(block: Float[np.ndarray, "below above"]) -> bool:
    return bool(np.max(np.abs(block)) <= 1e-13)
