"""Lyapunov exponents of a recurrence."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from gradstab._checks import check_integer, check_positive
from gradstab.diagnostics._flat_step import flat_step

BLOCKS = 16  # of which the means tell the standard error


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class LyapunovExponents:
    """Mean exponential rates at which small differences of the state grow.

    Attributes:
        values: the exponents, the largest first, in nats a unit of time: -inf where a
            direction dies within a step, NaN where the state is not finite.
        standard_error: of each exponent, from the means of up to 16 stretches of the
            run; infinite where there is but one, NaN where the exponent is not finite.
        growth: what each step adds to the logarithms, shape (steps, exponents): the
            steps that share a factorization share what it shows.
        counted: the time that each step counts, shape (steps,): 0 in the burn-in and
            where a mask is False.
        size: how many exponents there are in all.
    """

    values: Float[Array, " k"]
    standard_error: Float[Array, " k"]
    growth: Float[Array, "steps k"]
    counted: Float[Array, " steps"]
    size: int = dataclasses.field(metadata={"static": True})

    @property
    def running(self) -> Float[Array, "steps k"]:
        """The exponents after each step: how the estimates settle."""
        time = jnp.cumsum(self.counted)[:, None]
        return jnp.cumsum(self.growth, axis=0) / jnp.where(time > 0, time, 1)

    @property
    def kaplan_yorke_dimension(self) -> Float[Array, ""]:
        r"""The Kaplan-Yorke dimension of the attractor.

        .. math:: D = j + \frac{\lambda_1 + \dots + \lambda_j}{|\lambda_{j+1}|}

        with j the most exponents whose sum is not below 0; n if that is all of them.
        NaN if the sum of all that were computed is not below 0 and yet there are more.
        """
        sums = jnp.cumsum(self.values)
        whole = jnp.sum(sums >= 0)
        last = jnp.minimum(whole, self.values.size - 1)
        above = jnp.where(whole > 0, sums[jnp.maximum(whole - 1, 0)], 0)
        dimension = whole.astype(sums.dtype) + above / jnp.abs(self.values[last])
        beyond = self.size if self.values.size == self.size else jnp.nan
        return jnp.where(whole < self.values.size, dimension, beyond)


def lyapunov_exponents(
    step: Callable[[Any, Any], Any],
    carry: Any,
    inputs: Any = None,
    *,
    steps: int | None = None,
    count: int | None = None,
    burn_in: int = 0,
    orthonormalize_every: int = 1,
    duration: float = 1.0,
    mask: Bool[Array, " steps"] | None = None,
    key: Array | None = None,
) -> LyapunovExponents:
    r"""Estimates the leading Lyapunov exponents of a recurrence.

    .. math:: J_t Q_t = Q_{t+1} R_t, \qquad
        \lambda_i = \frac{1}{T} \sum_t \log |(R_t)_{ii}|

    with J_t the Jacobian of step t and Q_0 orthonormal and random: the sum of the first
    k of them is the rate at which a volume of k dimensions grows. λ₁ > 0 with a bounded
    state is chaos, and gradients explode; λ₁ < 0 is a memory of about -1/λ₁ steps. The
    tangents are propagated beside the state, without a Jacobian matrix; a step costs
    `count` Jacobian-vector products and a QR factorization, O(n count²). The result can
    be differentiated, for as long as the chain of all steps has a useful derivative.

    In float32 an exponent is good to about 1e-7 an orthonormalization, and the state
    itself is rounded; to tell a small exponent from 0, compute in float64. For a vector
    field, pass a step of its flow, such as `gradstab.dynamics.time_step` makes, and its
    `duration`.

    Args:
        step: pure function (carry, inputs of one step) -> carry, of one sequence. Use
            `jax.vmap` for a batch.
        carry: the state before the first step, a tree of arrays.
        inputs: a tree of arrays with leading axis of time; None for a map that takes
            none, which is then called with None.
        steps: how many steps to take, where `inputs` is None.
        count: how many exponents; all n of the carry if None.
        burn_in: how many steps are taken before they count: the state nears its
            attractor, and the tangents the directions that grow most.
        orthonormalize_every: how many steps share a QR factorization. Between two of
            them the tangents may not become parallel to working precision.
        duration: the time that a step takes.
        mask: steps that are False are not taken, as after the end of a sequence.
        key: of the random tangents; key 0 if None.

    Returns:
        The exponents with their standard errors.

    Raises:
        ValueError: if a number lies outside its range, or neither or both of `inputs`
            and `steps` are given.

    References:
        Benettin, Galgani, Giorgilli & Strelcyn, "Lyapunov Characteristic Exponents for
        Smooth Dynamical Systems and for Hamiltonian Systems", Meccanica 15, 1980.
        Engelken, Wolf & Abbott, "Lyapunov spectra of chaotic recurrent neural
        networks", Physical Review Research 5, 2023, arXiv:2006.02427.
    """
    if (inputs is None) == (steps is None):
        raise ValueError("Give either `inputs` or `steps`, and not both.")
    length = jax.tree.leaves(inputs)[0].shape[0] if steps is None else steps
    check_integer("steps", length, 1)
    check_integer("burn_in", burn_in, 0, length - 1)
    check_integer("orthonormalize_every", orthonormalize_every, 1)
    check_positive("duration", duration)
    advance, state = flat_step(step, carry)
    count = state.size if count is None else count
    check_integer("count", count, 1, state.size)
    key = jax.random.key(0) if key is None else key
    start = jax.random.normal(key, (state.size, count), state.dtype)
    times = np.arange(length)
    is_last = (times + 1) % orthonormalize_every == 0
    is_last |= (times == length - 1) | (times == burn_in - 1)

    def body(moving: tuple[Array, Array], here: Any) -> tuple[Any, Array]:
        state, tangents = moving
        inputs, is_last, taken = here
        new_state, push = jax.linearize(lambda h: advance(h, inputs), state)
        new_tangents = jax.vmap(push, in_axes=1, out_axes=1)(tangents)
        if taken is not None:
            new_state = jnp.where(taken, new_state, state)
            new_tangents = jnp.where(taken, new_tangents, tangents)
        new_tangents, growth = jax.lax.cond(
            is_last, _orthonormalize, _leave, new_tangents
        )
        return (new_state, new_tangents), growth

    tangents, _ = _orthonormalize(start)
    scanned = inputs, jnp.asarray(is_last), mask
    _, growth = jax.lax.scan(body, (state, tangents), scanned)
    # Steps from one factorization to the next have equal parts of what it shows.
    (ends,) = np.nonzero(is_last)
    shares = np.diff(ends, prepend=-1)
    stretch = np.searchsorted(ends, times)
    growth = growth[ends[stretch]] / shares[stretch].astype(state.dtype)[:, None]
    counted = jnp.asarray(times >= burn_in)
    counted = counted if mask is None else counted & mask
    counted = counted.astype(state.dtype) * duration
    growth = jnp.where((times >= burn_in)[:, None], growth, 0)
    total = jnp.sum(counted)
    values = jnp.sum(growth, axis=0) / jnp.where(total > 0, total, 1)
    order = jnp.argsort(-values)
    growth = growth[:, order]
    blocks = min(BLOCKS, max(length // orthonormalize_every, 1))
    error = _standard_error(growth, counted, blocks)
    return LyapunovExponents(values[order], error, growth, counted, state.size)


def _orthonormalize(tangents: Array) -> tuple[Array, Array]:
    """Returns an orthonormal basis and the logarithms by which tangents have grown."""
    basis, triangle = jnp.linalg.qr(tangents)
    return basis, jnp.log(jnp.abs(jnp.diagonal(triangle)))


def _leave(tangents: Array) -> tuple[Array, Array]:
    return tangents, jnp.zeros(tangents.shape[1], tangents.dtype)


def _standard_error(
    growth: Float[Array, "steps k"], counted: Float[Array, " steps"], blocks: int
) -> Float[Array, " k"]:
    """Estimates the error of a mean over time from the means of stretches of it."""
    # Steps depend on those just before; stretches of them hardly do.
    # Counted steps are spread evenly, wherever a burn-in or a mask has put them.
    place = jnp.cumsum(counted) - counted
    total = jnp.sum(counted)
    block = jnp.floor(place / jnp.where(total > 0, total, 1) * blocks).astype(int)
    block = jnp.clip(block, 0, blocks - 1)
    time = jax.ops.segment_sum(counted, block, blocks)
    sums = jax.ops.segment_sum(growth, block, blocks)
    used = time > 0
    means = sums / jnp.where(used, time, 1)[:, None]
    number = jnp.sum(used).astype(growth.dtype)
    mean = jnp.sum(sums, axis=0) / jnp.where(total > 0, total, 1)
    deviation = jnp.where(used[:, None], means - mean[None], 0)
    variance = jnp.sum(deviation**2, axis=0) / jnp.maximum(number - 1, 1)
    return jnp.where(number > 1, jnp.sqrt(variance / number), jnp.inf)
