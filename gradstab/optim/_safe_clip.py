"""Clipping by the global norm, right at every scale."""

import functools
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from gradstab._checks import check_integer, check_real
from gradstab._precision import widened

NonFinite = Literal["keep", "skip"]


class SafeClipByGlobalNormState(NamedTuple):
    """The state of `safe_clip_by_global_norm`.

    Attributes:
        norm: the norm of the last updates before they were clipped: NaN if one of them
            was not finite, infinite if it is too large for its dtype.
        clipped: how many updates were clipped.
        updates: how many updates there were.
        faulty: how many updates were not finite, all in all.
        consecutive: how many of them came last, one after another.
        stopped: with `skip`, whether they became too many; it stays so.
    """

    norm: Float[Array, ""]
    clipped: Int[Array, ""]
    updates: Int[Array, ""]
    faulty: Int[Array, ""]
    consecutive: Int[Array, ""]
    stopped: Bool[Array, ""]


def safe_clip_by_global_norm(
    max_norm: float, *, nonfinite: NonFinite = "keep", max_consecutive: int = 10
) -> optax.GradientTransformation:
    r"""Scales all updates down until their common norm is at most a limit.

    .. math:: g \leftarrow g \, \min\left(1, \frac{c}{\|g\|}\right), \qquad
        \|g\| = 2^k \sqrt{\sum_i |g_i / 2^k|^2}, \quad
        2^{k-1} \le \max_i |g_i|_\infty < 2^k

    over the entries of all leaves, with |g|_∞ the larger of the two parts of a complex
    number. Since all are divided by a power of two above the
    largest, no square that counts overflows or vanishes: `optax.clip_by_global_norm`
    turns entries of 1e30 in float32 and of 300 in float16 into zeros. Leaves keep their
    dtype; the norm is computed in float32 at least. Updates within the limit keep every
    bit. O(number of entries).

    Args:
        max_norm: the limit c, at least 0. Under `optax.inject_hyperparams`, for which
            the other two are `static_args`, it may be scheduled; there a limit below 0
            counts as 0, and one that is NaN as an update that is not finite.
        nonfinite: what becomes of updates with an entry that is NaN or infinite. `keep`
            leaves the leaves that hold one as they are and clips the others, together,
            so that the fault stays where it was and is seen. `skip` makes all updates
            0, and counts: after more than `max_consecutive` in a row `stopped` is set
            and every later update is 0 as well, where `optax.apply_if_finite` lets
            what is not finite pass.
        max_consecutive: how many skipped updates in a row are borne, at least 0.

    Returns:
        The transformation. Training should end when `stopped` in its state is true. An
        optimizer that comes after it still moves by its momentum on a skipped update.

    Raises:
        ValueError: if `max_norm` is negative or not finite, `nonfinite` is neither, or
            `max_consecutive` is no integer >= 0.

    References:
        Pascanu, Mikolov & Bengio, "On the difficulty of training recurrent neural
        networks", ICML 2013, algorithm 1.
    """
    if not isinstance(max_norm, jax.Array):
        check_real("max_norm", max_norm, 0.0)
    if nonfinite not in get_args(NonFinite):
        choices = " or ".join(map(repr, get_args(NonFinite)))
        raise ValueError(f"`nonfinite` must be {choices}, got {nonfinite!r}.")
    check_integer("max_consecutive", max_consecutive)

    def init(params: optax.Params) -> SafeClipByGlobalNormState:
        leaves = [jnp.asarray(leaf) for leaf in jax.tree.leaves(params)]
        # An array of its own for each field, so that the state can be donated.
        return SafeClipByGlobalNormState(
            norm=jnp.zeros((), _norm_dtype(leaves)),
            clipped=jnp.zeros((), jnp.int32),
            updates=jnp.zeros((), jnp.int32),
            faulty=jnp.zeros((), jnp.int32),
            consecutive=jnp.zeros((), jnp.int32),
            stopped=jnp.zeros((), bool),
        )

    def update(
        updates: optax.Updates, state: Any, params: optax.Params | None = None
    ) -> tuple[optax.Updates, SafeClipByGlobalNormState]:
        del params
        leaves, tree = jax.tree.flatten(updates)
        leaves = [jnp.asarray(leaf) for leaf in leaves]
        places = [i for i, leaf in enumerate(leaves) if _is_inexact(leaf)]
        sound = [jnp.all(jnp.isfinite(leaves[i])) for i in places]
        limit = jnp.maximum(jnp.asarray(max_norm, state.norm.dtype), 0)
        is_finite = functools.reduce(jnp.logical_and, sound, ~jnp.isnan(limit))
        counted = [
            jnp.where(is_sound, widened(leaves[i]), 0)
            for i, is_sound in zip(places, sound, strict=True)
        ]
        exponent = _exponent(counted, limit.dtype)
        length = _length([_shifted(leaf, -exponent) for leaf in counted], limit.dtype)
        is_over = (length > 0) & ~(length <= _shifted(limit, -exponent))
        factor = limit / jnp.where(length > 0, length, 1)

        consecutive = jnp.where(is_finite, 0, state.consecutive + 1)
        stopped, is_dropped = state.stopped, jnp.zeros((), bool)
        if nonfinite == "skip":
            stopped |= consecutive > max_consecutive
            is_dropped = stopped | ~is_finite
        for i, is_sound in zip(places, sound, strict=True):
            leaf = leaves[i]
            shifted = _shifted(widened(leaf), -exponent)
            clipped = (shifted * factor.astype(shifted.dtype)).astype(leaf.dtype)
            kept = jnp.where(is_over & is_sound, clipped, leaf)
            leaves[i] = jnp.where(is_dropped, jnp.zeros_like(leaf), kept)
        return tree.unflatten(leaves), SafeClipByGlobalNormState(
            norm=jnp.where(is_finite, _shifted(length, exponent), jnp.nan),
            clipped=state.clipped + jnp.int32(is_over & ~is_dropped),
            updates=state.updates + 1,
            faulty=state.faulty + jnp.int32(~is_finite),
            consecutive=consecutive,
            stopped=stopped,
        )

    return optax.GradientTransformation(init, update)


def _is_inexact(leaf: Array) -> bool:
    return jnp.issubdtype(leaf.dtype, jnp.inexact)


def _norm_dtype(leaves: Sequence[Array]) -> jnp.dtype:
    bits = [jnp.finfo(leaf.dtype).bits for leaf in leaves if _is_inexact(leaf)]
    return jnp.dtype(jnp.float64 if 64 in bits else jnp.float32)


def _exponent(leaves: Sequence[Array], dtype: jnp.dtype) -> Int[Array, ""]:
    """Gives the exponent of the power of two above the largest part of a number."""
    # Not above the largest modulus: that of a complex number may overflow.
    parts = [
        part
        for leaf in leaves
        for part in ((leaf.real, leaf.imag) if jnp.iscomplexobj(leaf) else (leaf,))
    ]
    peaks = [jnp.max(jnp.abs(part), initial=0).astype(dtype) for part in parts]
    largest = functools.reduce(jnp.maximum, peaks, jnp.zeros((), dtype))
    return jnp.frexp(largest)[1]


def _length(leaves: Sequence[Array], dtype: jnp.dtype) -> Float[Array, ""]:
    """Computes the norm of all entries, none of which has a part above 1."""
    squares = [jnp.sum(jnp.abs(leaf) ** 2).astype(dtype) for leaf in leaves]
    return jnp.sqrt(functools.reduce(jnp.add, squares, jnp.zeros((), dtype)))


def _shifted(leaf: Array, exponent: Array) -> Array:
    """Multiplies by a power of two, in halves: the whole may be no normal number."""
    half = exponent // 2
    one = jnp.ones((), leaf.real.dtype)
    first, second = (jnp.ldexp(one, part) for part in (half, exponent - half))
    return leaf * first.astype(leaf.dtype) * second.astype(leaf.dtype)
