"""Singular values and spectral radius of one step of a recurrence."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gradstab.diagnostics._flat_step import flat_step
from gradstab.linalg import spectral_radius

EXACT_UP_TO = 512
ITERATIONS = 64


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class JacobianSpectrum:
    """What one step does to a small change of the state.

    Attributes:
        singular_values: of ∂h'/∂h, the largest first; the largest alone beyond 512
            numbers of state.
        spectral_radius: the largest modulus of an eigenvalue.
        is_exact: whether both are of the matrix itself, not estimates.
    """

    singular_values: Float[Array, " k"]
    spectral_radius: Float[Array, ""]
    is_exact: bool = dataclasses.field(metadata={"static": True})


def jacobian_spectrum(
    step: Callable[[Any, Any], Any],
    carry: Any,
    inputs: Any = None,
    *,
    key: Array | None = None,
) -> JacobianSpectrum:
    """Measures the Jacobian ∂h'/∂h of one step.

    Up to 512 numbers of state the matrix is built and both are exact, O(n³). Beyond,
    64 products with it and its transpose give the largest singular value, from below,
    and 64 products the spectral radius, as the mean growth of a random vector over the
    last half of them: an estimate.

    Args:
        step: pure function (carry, inputs of one step) -> carry, of one sequence.
        carry: the state before the step, a tree of arrays.
        inputs: of the step.
        key: of the random vectors; key 0 if None.

    Returns:
        Singular values and spectral radius, NaN where the Jacobian is not finite.
    """
    advance, state = flat_step(step, carry)

    def at(state: Array) -> Array:
        return advance(state, inputs)

    if state.size <= EXACT_UP_TO:
        jacobian = jax.jacfwd(at)(state)
        values = jnp.linalg.svd(jacobian, compute_uv=False)
        finite = jnp.all(jnp.isfinite(jacobian))
        values = jnp.where(finite, values, jnp.full_like(values, jnp.nan))
        return JacobianSpectrum(values, spectral_radius(jacobian), True)

    _, push = jax.linearize(at, state)
    _, pull = jax.vjp(at, state)
    key = jax.random.key(0) if key is None else key
    start = jax.random.normal(key, state.shape, state.dtype)

    def grow(vector: Array, apply: Callable[[Array], Array]) -> tuple[Array, Array]:
        new = apply(vector)
        norm = jnp.linalg.norm(new)
        return new / jnp.where(norm > 0, norm, 1), norm

    start /= jnp.linalg.norm(start)
    _, squares = jax.lax.scan(
        lambda v, _: grow(v, lambda x: pull(push(x))[0]), start, length=ITERATIONS
    )
    _, growths = jax.lax.scan(lambda v, _: grow(v, push), start, length=ITERATIONS)
    radius = jnp.exp(jnp.mean(jnp.log(growths[ITERATIONS // 2 :])))
    return JacobianSpectrum(jnp.sqrt(squares[-1:]), radius, False)
