r"""A wide matrix of orthonormal rows, made of few rows of a Fourier matrix.

.. math:: B = \frac{1}{\sqrt n} \begin{pmatrix}
    \operatorname{Re} F & -\operatorname{Im} F \\
    \operatorname{Im} F & \operatorname{Re} F \end{pmatrix}

of shape (d, N), with F the d/2 chosen rows of the n-point DFT, n = N/2. In complex
numbers, of which a real vector holds first all real and then all imaginary parts, B is
"transform and keep d/2 frequencies". So B Bᵀ = I, and since the entries of F have
modulus 1 every column has the norm √(d/N). It is never multiplied out: with the
coefficients left in their places among all n, a product is one FFT, O(N log N).

Which frequencies are kept decides how much columns look alike: the inner products of
the complex ones are the Fourier transform of the kept set. Without the frequency 0 all
columns sum to 0, so that some combination of them without a negative factor gives any
vector; with it, one without a negative factor never has its first number below 0.
"""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Complex, Float


@cache
def low_coherence_frequencies(size: int, count: int) -> tuple[int, ...]:
    """Chooses frequencies so that the columns of B look little alike.

    Each in turn is the one that adds least to the additive energy of the set, the
    number of ways to write a + b = c + d with its members, modulo `size`; the smallest
    of several. That energy is the sum of the fourth powers of the inner products of
    columns, up to a factor, and an integer: the choice is the same on every machine.
    All are then shifted, so that 0 is none of them if it need not be.
    The largest inner product comes out at 1.3 to 1.9 times the lower bound of Welch for
    sizes of 16 to 2048 and an eighth to three quarters of the frequencies, and at up to
    2.4 times for few. O(count · size log size), once in a process.

    Args:
        size: how many frequencies there are.
        count: how many to choose.

    Returns:
        The frequencies, in ascending order.

    References:
        Derived here. The goal is that of Lyu, "Spherical Structured Feature Maps for
        Kernel Approximation", ICML 2017, who descends another energy.
    """
    kept = np.zeros(size)
    doubled = 2 * np.arange(size) % size
    for _ in range(count):
        transform = np.fft.fft(kept)
        # How many pairs of members sum to each number, and how many triples are a sum
        # of two less a third: integers, which rounding makes exact again.
        pairs = np.rint(np.fft.ifft(transform**2).real)
        triples = np.rint(np.fft.ifft(np.abs(transform) ** 2 * transform).real)
        added = 2 * triples + pairs[doubled]
        kept[np.argmin(np.where(kept == 0, added, np.inf))] = 1
    # A common shift changes no modulus.
    free = np.flatnonzero(kept == 0)
    shift = size - free[-1] if count < size else 0
    return tuple(np.flatnonzero(np.roll(kept, shift)).tolist())


def place(
    x: Float[Array, "*batch d"], kept: Bool[Array, " n"]
) -> Complex[Array, "*batch n"]:
    """Puts the coefficients x at the frequencies that are kept, zeros elsewhere."""
    # What stands at the other frequencies does not matter.
    order = jnp.maximum(jnp.cumsum(kept) - 1, 0)
    return _among(kept, jnp.take(_to_complex(x), order, axis=-1))


def analyze(
    y: Float[Array, "*batch code"], kept: Bool[Array, " n"]
) -> Complex[Array, "*batch n"]:
    """Computes B y, its coefficients placed among zeros."""
    return _among(kept, jnp.fft.fft(_to_complex(y), norm="ortho"))


def synthesize(spectrum: Complex[Array, "*batch n"]) -> Float[Array, "*batch code"]:
    """Computes Bᵀ of coefficients placed among zeros."""
    signal = jnp.fft.ifft(spectrum, norm="ortho")
    return jnp.concatenate([signal.real, signal.imag], axis=-1)


def _to_complex(x: Float[Array, "*batch m"]) -> Complex[Array, "*batch half"]:
    real, imaginary = jnp.split(x, 2, axis=-1)
    return jax.lax.complex(real, imaginary)


def _among(kept: Array, spectrum: Array) -> Array:
    kept = jnp.broadcast_to(kept, spectrum.shape)
    return jnp.where(kept, spectrum, jnp.zeros_like(spectrum))
