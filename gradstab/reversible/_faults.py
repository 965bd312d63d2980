"""What is said, or shown as NaN, when a run cannot be trusted."""

import math
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool

from gradstab.reversible._descent import Descent
from gradstab.reversible._forward import Faults, Run


def trained(descent: Descent, run: Run) -> tuple[list[Array], Bool[Array, ""]]:
    """The parameters at the end of a run, if nothing went wrong.

    Args:
        descent: what was descended.
        run: its end.

    Returns:
        The parameters, and whether nothing went wrong. Where the run is traced, so that
        no error can be raised, the parameters are NaN then.

    Raises:
        FloatingPointError: if a gradient was not finite.
        OverflowError: if a number became too large to be held.
        RuntimeError: if a tape was too short.
    """
    faults = run.faults
    is_sound = jnp.all(faults.not_finite == descent.steps)
    is_sound &= jnp.all(faults.too_large == descent.steps)
    is_sound &= ~jnp.any(faults.momentum | faults.tape)
    x = descent.to_loss([state.position for state in run.states])
    if isinstance(is_sound, Tracer):
        return poisoned(x, is_sound), is_sound
    if not is_sound:
        _raise(descent, run.faults)
    return x, is_sound


def poisoned(leaves: Sequence[Array], is_sound: Bool[Array, ""]) -> list[Array]:
    """Leaves, or NaN in their place."""
    return [jnp.where(is_sound, x, jnp.full_like(x, jnp.nan)) for x in leaves]


def not_reproduced() -> RuntimeError:
    """The error for gradients that did not come out as they had before."""
    return RuntimeError(
        "Training did not run backward to its initial parameters: gradients had other "
        "bits on the way back, as they have when operations are not deterministic. No "
        "hypergradient can be had this way. Pass `checkpoint_every=k`, which stores "
        "states instead of reversing steps, or, on NVIDIA GPUs, set `XLA_FLAGS` to "
        "`--xla_gpu_deterministic_ops=true` before JAX starts."
    )


def _raise(descent: Descent, faults: Faults) -> None:
    not_finite = np.asarray(faults.not_finite)
    too_large = np.asarray(faults.too_large)
    first, largest = int(np.argmin(not_finite)), int(np.argmin(too_large))
    if too_large[largest] < descent.steps and (
        too_large[largest] < not_finite[first] or not_finite[first] == descent.steps
    ):
        name, step = f"`params{descent.names[largest]}`", int(too_large[largest])
        limit = f"2**{round(math.log2(descent.formats[largest].limit))}"
        more = "fewer `fraction_bits`, which leaves more for the integer part"
        if step < 0:
            raise OverflowError(
                f"{name} is not finite, or of magnitude {limit} or more, initially: "
                f"scale it down, or take {more}."
            )
        raise OverflowError(
            f"{name} moves too fast or too far at step {step}: it must stay below "
            f"{limit}, its velocity below that over its largest step_size / "
            f"√(1 - momentum). Take smaller steps, or {more}."
        )
    if not_finite[first] < descent.steps:
        raise FloatingPointError(
            f"The gradient of `params{descent.names[first]}` is not finite at step "
            f"{int(not_finite[first])}."
        )
    raise RuntimeError(
        "The tape is full: a momentum lies below `least_momentum`, which it was made "
        "for."
    )
