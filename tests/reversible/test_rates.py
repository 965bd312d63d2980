import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradstab.reversible._fixed_point import FixedPoint
from gradstab.reversible._rates import most_moves, rates

NARROW, WIDE = FixedPoint(False, 24), FixedPoint(True, 52)


def of(fixed, momentum):
    return rates([fixed], [jnp.zeros_like(momentum)], [momentum])[0]


@pytest.mark.parametrize("beta", [2**-7, 0.1, 0.5, 0.9, 0.99, 1 - 2**-16, "mixed"])
@pytest.mark.parametrize("fixed", [NARROW, WIDE], ids=["32", "64"])
def test_no_buffer_overflows_whatever_it_holds(fixed, beta):
    with jax.enable_x64(fixed.wide):
        if beta == "mixed":
            beta = np.random.default_rng(0).uniform(2**-7, 1 - 2**-16, 400)
        momentum = jnp.broadcast_to(jnp.asarray(beta, fixed.real), (400,))
        found = of(fixed, momentum)
        fractions = zip(
            np.asarray(found.fraction.numerator).tolist(),
            np.asarray(found.fraction.denominator).tolist(),
            np.asarray(found.is_full).tolist(),
            strict=True,
        )
        width = 8 * fixed.unsigned.itemsize
        bound = 0
        for n, d, is_full in fractions:
            bound >>= is_full * width // 4
            # The largest buffer, and the largest remainder with it.
            bound = bound // n * d + d - 1
            assert bound < 2**width


@pytest.mark.parametrize(
    ("beta", "limit"), [(0.5, 1.01), (0.9, 0.154), (0.98, 0.0295), (0.99, 0.0146)]
)
@pytest.mark.parametrize("fixed", [NARROW, WIDE], ids=["32", "64"])
def test_the_tape_takes_what_products_forget(fixed, beta, limit):
    """log2(1 / β) bits a step: 1, 0.152, 0.0291 and 0.0145."""
    with jax.enable_x64(fixed.wide):
        steps = 20_000
        is_full = of(fixed, jnp.full(steps, beta, fixed.real)).is_full
        width = 8 * fixed.unsigned.itemsize
        taped = int(is_full.sum()) * width // 4
        assert taped / steps <= limit
        # What was forgotten is on the tape or in the buffer.
        assert taped + width > -steps * np.log2(beta) - width // 4


@pytest.mark.parametrize("least", [2**-7, 0.1, 0.5, 0.9, 0.99, 0.999, 1 - 2**-16])
@pytest.mark.parametrize("fixed", [NARROW, WIDE], ids=["32", "64"])
def test_there_is_room_for_all_momenta_above_the_least(fixed, least):
    rng = np.random.default_rng(0)
    with jax.enable_x64(fixed.wide):
        for steps, above in [(2000, 1e-3), (2000, 0.0), (9000, 1e-5), (300, 0.3)]:
            most = min(least + above, 1 - 2**-16)
            momentum = jnp.asarray(rng.uniform(least, most, steps), fixed.real)
            moves = int(of(fixed, momentum).is_full.sum())
            assert moves <= most_moves(fixed, least, steps)


def test_room_is_what_products_forget_and_little_more():
    """log2(1 / 0.9) = 0.152 bits a step."""
    for fixed, quarter in [(NARROW, 8), (WIDE, 16)]:
        assert most_moves(fixed, 0.9, 10_000) * quarter < 0.16 * 10_000


@pytest.mark.parametrize(
    ("momentum", "least", "steps"),
    [(0.9900077146293834, 0.99, 18931), (0.9950027653700477, 0.995, 28694)],
)
def test_there_is_room_for_fractions_of_large_denominators(momentum, least, steps):
    """They need 35 and 27 slots, where 0.99 and 0.995 need 32 and 24."""
    moves, fewer = (
        of(NARROW, jnp.full(steps, beta, jnp.float32)).is_full.sum()
        for beta in (momentum, least)
    )
    assert fewer + 2 < moves <= most_moves(NARROW, least, steps)


def test_arrays_of_both_precisions():
    with jax.enable_x64(True):
        momenta = [jnp.full(5, 0.9, jnp.float32), jnp.full(5, 0.7, jnp.float64)]
        sizes = [jnp.full(5, 0.1, jnp.float32), jnp.full(5, 0.2, jnp.float64)]
        narrow, wide = rates([NARROW, WIDE], sizes, momenta)
        for found, size, beta, dtype in [
            (narrow, 0.1, 0.9, jnp.float32),
            (wide, 0.2, 0.7, jnp.float64),
        ]:
            assert found.step_size.dtype == found.momentum.dtype == dtype
            np.testing.assert_allclose(found.step_size, size, rtol=1e-6)
            np.testing.assert_allclose(found.momentum, beta, rtol=1e-6)
        assert jnp.asarray(narrow.fraction.numerator).dtype == jnp.uint32
        assert jnp.asarray(wide.fraction.numerator).dtype == jnp.uint64
