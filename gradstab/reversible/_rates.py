"""The rates of every step, as the steps need them."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from gradstab.reversible._exact_rational import ExactRational
from gradstab.reversible._fixed_point import FixedPoint

MOST_DIGITS = 30  # that velocities have behind the point more than parameters


class Rates(NamedTuple):
    """What one array of parameters needs to take its steps, with `steps` leading.

    Attributes:
        step_size: α.
        momentum: β, as its fraction has it.
        fraction: n/d.
        is_full: whether the buffers move bits to the tape before the step.
        scale: a power of two, the same in all steps, by which velocities are multiplied
            before they are held.
    """

    step_size: Float[Array, " steps"]
    momentum: Float[Array, " steps"]
    fraction: ExactRational
    is_full: Bool[Array, " steps"]
    scale: Float[Array, " steps"]


def rates(
    formats: Sequence[FixedPoint],
    step_sizes: Sequence[Float[Array, " steps"]],
    momenta: Sequence[Float[Array, " steps"]],
) -> list[Rates]:
    """The rates of each array of parameters.

    Args:
        formats: how the arrays are held.
        step_sizes: their step sizes.
        momenta: their momenta.

    Returns:
        The rates of each.
    """
    # Arrays of one precision are rounded together: one loop, however many there are.
    found: dict[int, Rates] = {}
    for wide in {fixed.wide for fixed in formats}:
        places = [i for i, fixed in enumerate(formats) if fixed.wide == wide]
        momentum = jnp.stack([momenta[i] for i in places])
        fraction = ExactRational.nearest(momentum)
        n, d = jnp.asarray(fraction.numerator), jnp.asarray(fraction.denominator)
        rounded = n.astype(momentum.dtype) / d.astype(momentum.dtype)
        is_full = jax.vmap(_fullness)(n, d)
        for row, i in enumerate(places):
            own = ExactRational(n[row], d[row])
            scale = _scale(step_sizes[i], rounded[row])
            found[i] = Rates(step_sizes[i], rounded[row], own, is_full[row], scale)
    return [found[i] for i in range(len(formats))]


def most_moves(fixed: FixedPoint, least_momentum: float, steps: int) -> int:
    """How often bits leave the buffers at most, whatever the momenta are.

    Args:
        fixed: how numbers are held.
        least_momentum: below which none is.
        steps: of the run.

    Returns:
        The number of steps in which they do.
    """
    # In the terms of `_fullness`: after bits have moved, the bound is not below
    # `emptied`, so that no step multiplies it by more than 2**growth; each move divides
    # it by 2**quarter, or more.
    width = jnp.iinfo(fixed.unsigned).bits
    quarter, d = width // 4, 2.0 ** (width // 2)
    least = least_momentum - 1 / d  # of the fractions next to momenta
    emptied = (2.0**width * least - d) / 2**quarter - 1
    growth = math.log2(1 / least + d / emptied)
    spread = width - quarter - math.log2(emptied)
    return 1 + math.ceil((spread + steps * growth) / quarter)


def _scale(step_size: Array, momentum: Array) -> Array:
    """The largest α/√(1 - β) of all steps, rounded down to a power of two, or 1."""
    # A rounding of v moves x by α/(1 - β) of it in the end. Where that is much, v is
    # small, or x would leave its range: it can be held with more digits behind the
    # point. Exponents are read off the bits: both directions of time must agree.
    size, rest = jnp.frexp(step_size)[1] - 1, jnp.frexp(1 - momentum)[1]
    moves = jnp.isfinite(step_size) & (step_size != 0)
    digits = jnp.where(moves, (2 * size - rest) // 2, 0)
    most = jnp.clip(jnp.max(digits), 0, MOST_DIGITS)
    return jnp.broadcast_to(jnp.ldexp(jnp.ones_like(step_size), most), step_size.shape)


def _fullness(n: Array, d: Array) -> Array:
    """Before which steps a quarter of the buffers' bits must leave."""
    # A buffer that is at most B before a product by n/d is at most B // n * d + d - 1
    # after it, whatever the entries are. Bits move when that would not fit: those of
    # all entries at once, so that nobody has to remember which did.
    largest = jnp.asarray(jnp.iinfo(n.dtype).max, n.dtype)
    quarter = jnp.iinfo(n.dtype).bits // 4

    def step(bound, fraction):
        n, d = fraction
        is_full = bound // n >= largest // d
        bound = jnp.where(is_full, bound >> quarter, bound)
        return bound // n * d + d - 1, is_full

    return jax.lax.scan(step, jnp.zeros((), n.dtype), (n, d))[1]
