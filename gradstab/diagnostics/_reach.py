"""How far back the last state of a sequence remembers."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from gradstab._checks import check_integer
from gradstab.diagnostics._flat_step import flat_step


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Reach:
    r"""Logarithms of the size of ∂h_T/∂h_t, at each t from 0 to T - 1.

    They neither overflow nor underflow: -inf means that not a bit of h_t is left.

    Attributes:
        log_mean: of :math:`\|\partial h_T / \partial h_t\|_F / \sqrt n`, the root mean
            square of the singular values: what becomes of a gradient of random
            direction.
        log_largest: of the largest singular value, from below: that at t = 0 after
            sweeps of power iteration over the whole run, the others on its way.
    """

    log_mean: Float[Array, " steps"]
    log_largest: Float[Array, " steps"]


def reach(
    step: Callable[[Any, Any], Any],
    carry: Any,
    inputs: Any,
    *,
    probes: int = 8,
    mask: Bool[Array, " steps"] | None = None,
    key: Array | None = None,
) -> Reach:
    r"""Measures ‖∂h_T/∂h_t‖ for all t in one pass back through time.

    .. math:: A_T = U, \quad A_t = J_t^T A_{t+1}, \quad
        \mathbb E \, \|A_t\|_F^2 = \tfrac{k}{n}
        \left\| \frac{\partial h_T}{\partial h_t} \right\|_F^2

    with U of k orthonormal columns of random directions: exact for k = n. The largest
    singular value of A_t bounds that of the product from below. To come close where few
    directions carry anything, U is replaced by what the run makes of the directions
    found at its start, and sent back once more: a step of block power iteration on
    ∂h_T/∂h_0, and each A_t of it bounds its own product. Costs O(k) products with
    Jacobians or their transposes a step, three times.

    Args:
        step: pure function (carry, inputs of one step) -> carry, of one sequence. Use
            `jax.vmap` for a batch.
        carry: the state before the first step.
        inputs: a tree of arrays with leading axis of time.
        probes: the number k; at most n of them are used.
        mask: steps that are False are not taken, as after the end of a sequence.
        key: of the random directions; key 0 if None.

    Returns:
        The logarithms, NaN from where the state is not finite.

    Raises:
        ValueError: if `probes` is no integer >= 1.
    """
    check_integer("probes", probes, 1)
    advance, state = flat_step(step, carry)
    size = state.size
    probes = min(probes, size)
    key = jax.random.key(0) if key is None else key

    def forward(state: Array, here: Any) -> tuple[Array, Array]:
        inputs, taken = here
        new = advance(state, inputs)
        return (new if taken is None else jnp.where(taken, new, state)), state

    _, states = jax.lax.scan(forward, state, (inputs, mask))

    def push_on(moving: Array, here: Any) -> tuple[Array, None]:
        state, inputs, taken = here
        _, push = jax.linearize(lambda h: advance(h, inputs), state)
        pushed = jax.vmap(push)(moving)
        if taken is not None:
            pushed = jnp.where(taken, pushed, moving)
        return pushed / _scale_of(pushed), None

    def backward(moving: tuple[Array, Array], here: Any) -> tuple[Any, Any]:
        cotangents, log_scale = moving
        state, inputs, taken = here
        _, pull = jax.vjp(lambda h: advance(h, inputs), state)
        pulled = jax.vmap(lambda column: pull(column)[0])(cotangents)
        if taken is not None:
            pulled = jnp.where(taken, pulled, cotangents)
        scale = _scale_of(pulled)
        pulled /= scale
        log_scale += jnp.log(scale)
        gram = jnp.matmul(pulled, pulled.T, precision=jax.lax.Precision.HIGHEST)
        return (pulled, log_scale), (gram, log_scale)

    def sweep(directions: Array) -> tuple[Array, Array, Array]:
        start = _orthonormal(directions), jnp.zeros((), state.dtype)
        (found, _), (grams, log_scales) = jax.lax.scan(
            backward, start, (states, inputs, mask), reverse=True
        )
        squares = jnp.trace(grams, axis1=-2, axis2=-1)
        mean = 0.5 * jnp.log(squares / probes) + log_scales
        largest = jnp.maximum(jnp.linalg.eigvalsh(grams)[..., -1], 0)
        return found, mean, 0.5 * jnp.log(largest) + log_scales

    directions = jax.random.normal(key, (probes, size), state.dtype)
    found, mean, largest = sweep(directions)
    pushed, _ = jax.lax.scan(push_on, _orthonormal(found), (states, inputs, mask))
    _, _, again = sweep(pushed)
    # Rows without an end make no orthonormal basis: the first sweep then stands.
    again = jnp.where(jnp.isnan(again), largest, again)
    return Reach(
        mean, jnp.where(jnp.isnan(largest), largest, jnp.maximum(largest, again))
    )


def _orthonormal(rows: Array) -> Array:
    """Returns an orthonormal basis of the span of some rows."""
    return jnp.linalg.qr(rows.T)[0].T


def _scale_of(rows: Array) -> Array:
    """Returns the largest entry, 1 where there is none to divide by."""
    peak = jnp.max(jnp.abs(rows))
    return jnp.where((peak > 0) & jnp.isfinite(peak), peak, jnp.ones_like(peak))
