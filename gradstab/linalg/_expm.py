"""The matrix exponential of skew-Hermitian matrices."""

import functools
import math

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Inexact, Int

from gradstab._checks import check_square
from gradstab.linalg._largest import largest_modulus
from gradstab.linalg._probe import sign_vectors
from gradstab.linalg._squaring import square_repeatedly

_matmul = functools.partial(jnp.matmul, precision=lax.Precision.HIGHEST)

# Coefficients on A, A², A³, A⁶ of the four factors and terms of `_taylor`, from those
# of the paper by taking all multiples of the identity out of its scheme.
_CONSTANT = -9.04316832390810593223e-02
_B1 = (
    -1.00365581030144618291e-01,
    -8.02924648241156932449e-03,
    -8.92138498045729985177e-04,
    0.0,
)
_B2 = (
    3.97849749499645077844e-01,
    1.36783778460411720168e00,
    4.98289622525382669416e-01,
    -6.37898194594723280150e-04,
)
_B3 = (
    1.68015813878906206114e00,
    5.71779846478865511061e-02,
    -6.98210122488052056106e-03,
    3.34975017086070470649e-05,
)
_B4 = (
    -6.76404519071381882256e-02,
    6.75961301770459654925e-02,
    2.95552570429315521194e-02,
    -1.39180257516060693404e-05,
)
_B5 = (
    0.0,
    -9.23364619367118555360e-02,
    -1.69364939002081722752e-02,
    -1.40086798182036094347e-05,
)
_SLOPE = _CONSTANT + 1 / _CONSTANT
_LEFT = tuple(b3 + b4 for b3, b4 in zip(_B3, _B4, strict=True))
_REST = tuple(
    b2 + _CONSTANT * b3 + _SLOPE * b4 for b2, b3, b4 in zip(_B2, _B3, _B4, strict=True)
)


def expm_skew(skew: Inexact[Array, "n n"]) -> Inexact[Array, "n n"]:
    r"""Maps a skew-Hermitian matrix to its exponential, a unitary matrix.

    .. math:: Q = \exp(A) = \exp(A / 2^s)^{2^s}, \qquad A^H = -A

    Reaches every unitary matrix, and every rotation: an eigenvalue i t of A turns by t.
    It is no bijection: turns that differ by 2π coincide.

    O(n³): the Taylor polynomial of degree 18 in five products, ten more for a gradient,
    and s squarings, s the smallest number that brings the norm of A / 2ˢ below the
    radius where the polynomial is exact to eps, about 3.1 in single and 1.1 in double
    precision. A squaring adds one product to the value and three to the gradient, and
    the first one brings two more that keep Q unitary.

    Q is unitary to the same accuracy for every finite A, but a turn is known only to
    eps |A|₂ radians: keep |A|₂ below about 100 in float32, by moving the base point of
    a trivialization for example. Past 1 / eps the turns are arbitrary. The same holds
    for gradients, whose size does not depend on that of A. They are nowhere singular,
    and vanish where two eigenvalues of A differ by a nonzero multiple of 2πi.

    Args:
        skew: the matrix A. Antisymmetry is assumed, not checked; see `skew`.

    Returns:
        Q with QᴴQ = I, and det Q = 1 if real, in the dtype of `skew`. Zero gives I
        exactly. A matrix that holds NaN or infinity gives a matrix of NaN.

    Raises:
        ValueError: if `skew` is not one square matrix of single or double precision.

    References:
        Bader, Blanes & Casas, "Computing the Matrix Exponential with an Optimized
        Taylor Polynomial Approximation", Mathematics 7(12):1174, 2019, for the
        polynomial. Their scheme adds multiples of I of size 11 that cancel; here they
        are taken out, which makes it some five times as accurate, and exact at zero.
        Their number of squarings comes from the 1-norm of A, here from a power
        iteration with A⁶.
    """
    check_square("skew", skew)
    return skew if skew.shape[0] == 0 else _exponential(skew)


# Compiled as one: called op by op, the squarings would compile at every call.
@jax.jit
def _exponential(skew: Inexact[Array, "n n"]) -> Inexact[Array, "n n"]:
    exponent, inverse_scale = _scale(lax.stop_gradient(skew))
    scaled = skew * inverse_scale
    square = _matmul(scaled, scaled)
    cube = _matmul(square, scaled)
    sixth = _matmul(cube, cube)
    times = _squarings(lax.stop_gradient(sixth), exponent)
    step = _power_of_two(exponent - times, skew)
    return square_repeatedly(_taylor((scaled, square, cube, sixth), step), times)


def _scale(skew: Array) -> tuple[Int[Array, ""], Inexact[Array, ""]]:
    """Returns e and 2⁻ᵉ such that the entries of 2⁻ᵉ A are of the order of one.

    Multiplication by it is exact, and no power of the product overflows. It is NaN if A
    holds a value that is not finite.
    """
    largest = largest_modulus(skew)
    finite = jnp.isfinite(largest)
    limit = int(jnp.finfo(skew.dtype).maxexp) - 2
    exponent = jnp.frexp(jnp.where(finite, largest, 1))[1]
    exponent = jnp.clip(exponent, -limit, limit)
    scale = _power_of_two(-exponent, skew)
    return exponent, jnp.where(finite, scale, jnp.full_like(scale, jnp.nan))


def _squarings(sixth: Array, exponent: Array) -> Int[Array, ""]:
    """Returns s, chosen from the sixth power of 2⁻ᵉ A.

    For a normal matrix, two steps of the power method with A⁶ come within ten percent
    of the norm of A; the norms |A⁶|₁ and |A|₁ exceed it by up to the twelfth root and
    the square root of n.
    """
    norm = jnp.max(jnp.sum(jnp.abs(sixth), axis=0))
    unit = sixth / jnp.where(norm > 0, norm, 1).astype(sixth.dtype)
    image = _matmul(unit, sign_vectors(sixth.shape[0], sixth.dtype))
    again = jnp.linalg.norm(_matmul(unit, image), axis=0)
    growth = jnp.max(again / jnp.maximum(jnp.linalg.norm(image, axis=0), 1e-30))
    log_norm = exponent.astype(norm.dtype) + jnp.log2(norm * growth) / 6
    log_radius = math.log2(_radius(sixth) / 1.1)
    needed = jnp.ceil(log_norm - log_radius)
    return jnp.where(needed > 0, needed, 0).astype(exponent.dtype)


def _radius(like: Array) -> float:
    """Returns the norm at which the first term left out, of degree 19, reaches eps."""
    return (float(jnp.finfo(like.dtype).eps) * math.factorial(19)) ** (1 / 19)


def _taylor(powers: tuple[Array, ...], step: Array) -> Array:
    """Returns the terms up to degree 18 of exp(t A), for A, A², A³, A⁶ and t."""
    scales = step, step**2, step**3, step**6

    def combine(coefficients: tuple[float, ...]) -> Array:
        terms = zip(coefficients, scales, powers, strict=True)
        return functools.reduce(jnp.add, [c * t * power for c, t, power in terms if c])

    product = _matmul(combine(_B1), combine(_B5))
    right = product + combine(_B4)
    left = product + combine(_LEFT)
    identity = jnp.eye(product.shape[0], dtype=product.dtype)
    return identity + (combine(_REST) + _SLOPE * product) + _matmul(left, right)


def _power_of_two(exponent: Array, like: Array) -> Inexact[Array, ""]:
    one = jnp.ones((), like.real.dtype)
    return jnp.ldexp(one, exponent).astype(like.dtype)
