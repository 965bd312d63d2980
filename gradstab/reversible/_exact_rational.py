"""Multiplication of integers by a fraction that can be undone bit for bit."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Int, UInt


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ExactRational:
    r"""A fraction n/d by which integers are multiplied without losing a bit.

    A product by n/d < 1, rounded to an integer, forgets log2(d/n) bits. Here they move
    into a second integer, the buffer i, from which the inverse takes them back:

    .. math:: N = c\,n + (i \bmod n), \qquad
        c' = \lfloor N / d \rfloor, \quad
        i' = \lfloor i / n \rfloor\,d + (N \bmod d)

    is one to one, |c' - c n/d| < 1, and i' is about i d/n. The inverse is the same map
    with n and d exchanged. Maclaurin et al. divide first and multiply afterwards, which
    moves the product by up to max(n, d) units; here it is never off by one, so that
    denominators may be large and the state may have 32 bits.

    Arrays of integers of 32 or 64 bits; the fraction may be an array that broadcasts.
    Processors have no instruction that divides many integers at once, so quotients are
    guessed in floating point and corrected in integers; the result is exact.

    Attributes:
        numerator: n >= 1.
        denominator: d > n, at most 2**16 for integers of 32 bits and 2**32 for 64.

    References:
        Maclaurin, Duvenaud & Adams, "Gradient-based hyperparameter optimization
        through reversible learning", ICML 2015, arXiv:1502.03492, algorithm 3.
    """

    numerator: int | Int[Array, "..."] | UInt[Array, "..."]
    denominator: int | Int[Array, "..."] | UInt[Array, "..."]

    @classmethod
    def nearest(cls, number: Float[Array, "..."]) -> "ExactRational":
        """A fraction next to a number, with a denominator that the state can hold.

        Continued fractions find it: 0.9 in float32 becomes 9/10. No smaller denominator
        comes nearer. Most numbers have one within some 2**-32; next to a fraction of
        small denominator q there are no others for 1 / (2**16 q), which bounds the
        error. In double precision it is 2**-64 and 1 / (2**32 q).

        Args:
            number: between 2**-8 and 1.

        Returns:
            Numerators and denominators of the shape of `number`, unsigned.
        """
        return cls(*_nearest(number))

    def multiply(
        self, value: Int[Array, "..."], buffer: UInt[Array, "..."]
    ) -> tuple[Int[Array, "..."], UInt[Array, "..."]]:
        """Multiplies a value and keeps in the buffer what the product forgets.

        Args:
            value: the integers c, int32 or int64.
            buffer: the integers i, unsigned, of as many bits; (i // n + 1) d must fit.

        Returns:
            The product c' and the buffer i'.

        Raises:
            ValueError: if the dtypes are not a signed and an unsigned one of equal
                width, or a fraction that is known lies outside (0, 1) or has too large
                a denominator.
        """
        self._check(value, buffer)
        return _scale(value, buffer, self.numerator, self.denominator)

    def divide(
        self, value: Int[Array, "..."], buffer: UInt[Array, "..."]
    ) -> tuple[Int[Array, "..."], UInt[Array, "..."]]:
        """Undoes `multiply` exactly.

        Args:
            value: the product c'.
            buffer: the buffer i' that came with it.

        Returns:
            The value c and the buffer i.

        Raises:
            ValueError: as `multiply`.
        """
        self._check(value, buffer)
        return _scale(value, buffer, self.denominator, self.numerator)

    @property
    def bits(self) -> Float[Array, "..."]:
        """What a product forgets on average: log2(d/n) bits an entry."""
        n, d = jnp.asarray(self.numerator), jnp.asarray(self.denominator)
        return jnp.log2(d / n)

    def _check(self, value: Array, buffer: Array) -> None:
        pairs = {"int32": "uint32", "int64": "uint64"}
        if pairs.get(value.dtype.name) != buffer.dtype.name:
            raise ValueError(
                "`value` and `buffer` must be int32 and uint32, or int64 and uint64, "
                f"got {value.dtype.name} and {buffer.dtype.name}."
            )
        if isinstance(self.numerator, Tracer):
            return
        if isinstance(self.denominator, Tracer):
            return
        n, d = np.asarray(self.numerator), np.asarray(self.denominator)
        limit = 2 ** (4 * value.dtype.itemsize)
        if not (np.all(n >= 1) and np.all(n < d) and np.all(d <= limit)):
            raise ValueError(
                "`numerator` and `denominator` must satisfy 1 <= numerator < "
                f"denominator <= {limit} for {value.dtype.name}, got {n} / {d}."
            )


def _scale(value: Array, buffer: Array, n: Array | int, d: Array | int):
    unsigned, signed = buffer.dtype, value.dtype
    real = jnp.dtype(f"float{8 * signed.itemsize}")
    n, d = jnp.asarray(n).astype(signed), jnp.asarray(d).astype(signed)
    per_n, per_d = 1 / n.astype(real), 1 / d.astype(real)
    # Half of the buffer, since all of it may be more than a signed integer holds.
    guess = 2 * _truncated((buffer >> 1).astype(signed), per_n)
    carried, kept = _divide(buffer.astype(signed), guess, n, per_n)
    guess = _truncated(value, n.astype(real) * per_d)
    product, forgotten = _divide(value * n + kept, guess, d, per_d)
    return product, (carried * d + forgotten).astype(unsigned)


def _truncated(number: Array, factor: Array) -> Array:
    return (number.astype(factor.dtype) * factor).astype(number.dtype)


def _divide(number: Array, guess: Array, divisor: Array, reciprocal: Array):
    """Quotient and remainder of a number that is known modulo 2**bits, from a guess."""
    # A guess may have a relative error of 2**-20, or 2**-48 in double precision, which
    # allows for reciprocals that are not rounded well. So the first is off by less than
    # 2**12 (2**16), and what it leaves of the number fits; the second, at what is left,
    # is off by at most one.
    rest = number - guess * divisor
    more = _truncated(rest, reciprocal)
    rest -= more * divisor
    off = (rest >= divisor).astype(rest.dtype) - (rest < 0).astype(rest.dtype)
    return guess + more + off, rest - off * divisor


@jax.jit
def _nearest(number: Array) -> tuple[Array, Array]:
    wide = number.dtype == jnp.float64
    unsigned = jnp.uint64 if wide else jnp.uint32
    digits, largest = (63, 2**32) if wide else (31, 2**16)
    if not wide:
        number = number.astype(jnp.float32)
    # The number is exactly `remainder / divisor`.
    remainder = (number * 2.0**digits).astype(unsigned)
    divisor = jnp.full_like(remainder, 2**digits)
    zero, one = jnp.zeros_like(remainder), jnp.ones_like(remainder)
    # Euclid's algorithm yields the digits a of the continued fraction, each of them the
    # next convergent p/q = (a p1 + p0) / (a q1 + q0).
    start = (divisor, remainder, (one, zero), (zero, one), jnp.zeros_like(one, bool))

    def next_convergent(_, state):
        divisor, remainder, (p0, q0), (p1, q1), is_done = state
        safe = jnp.where(remainder == 0, one, remainder)
        digit = divisor // safe
        room = (jnp.asarray(largest, unsigned) - q0) // q1
        fits = digit <= room
        # The last digit may be cut; more than half of it is nearer than without it.
        used = jnp.where(fits, digit, jnp.where(room > digit // 2, room, zero))
        moves = ~is_done & (remainder > 0) & (used > 0)
        p, q = used * p1 + p0, used * q1 + q0
        following = (safe, divisor - digit * safe, (p1, q1), (p, q))
        present = (divisor, remainder, (p0, q0), (p1, q1))
        chosen = jax.tree.map(
            lambda new, old: jnp.where(moves, new, old), following, present
        )
        return *chosen, is_done | ~fits | ~moves

    # Denominators grow at least as Fibonacci's numbers do.
    steps = math.ceil(math.log(largest * math.sqrt(5), (1 + math.sqrt(5)) / 2)) + 1
    *_, (p, q), _ = jax.lax.fori_loop(0, steps, next_convergent, start)
    return p, q
