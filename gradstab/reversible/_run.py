"""Training as a function with a derivative of its own."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Bool

from gradstab.reversible._checkpoints import Checkpoints
from gradstab.reversible._descent import Descent
from gradstab.reversible._faults import not_reproduced, poisoned, trained
from gradstab.reversible._forward import run_forward
from gradstab.reversible._inputs import Inputs
from gradstab.reversible._reversal import Reversal
from gradstab.reversible._schedules import check_rates


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class _Residual:
    """What the way back needs.

    Attributes:
        inputs: of the run.
        stored: what was kept of it.
        is_sound: whether nothing went wrong.
        moves: which of the hyperparameters are differentiated.
    """

    inputs: Inputs
    stored: Any
    is_sound: Bool[Array, ""]
    moves: tuple[bool, ...] = dataclasses.field(metadata={"static": True})


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def run(descent: Descent, way: Reversal | Checkpoints, inputs: Inputs) -> list[Array]:
    """Trains.

    Args:
        descent: what is descended.
        way: how the derivative goes back.
        inputs: of the run.

    Returns:
        The trained parameters.
    """
    del way
    return trained(descent, run_forward(descent, inputs))[0]


def _run_forward(descent: Descent, way: Reversal | Checkpoints, inputs: Any):
    moves = tuple(
        leaf.perturbed and jnp.issubdtype(leaf.value.dtype, jnp.floating)
        for leaf in inputs.theta
    )
    _refuse_complex(descent, inputs.theta)
    inputs = Inputs(*([leaf.value for leaf in leaves] for leaves in inputs))
    _check_rates(descent, inputs)
    inputs = _differentiated_once(inputs)
    with _mesh():
        end, stored = way.record(descent, inputs, moves)
    x, is_sound = trained(descent, end)
    return x, _Residual(inputs, stored, is_sound, moves)


def _run_backward(
    descent: Descent, way: Reversal | Checkpoints, residual: _Residual, cotangents: Any
):
    inputs, moves = residual.inputs, residual.moves
    cotangents = [
        jnp.zeros_like(x) if isinstance(dx, SymbolicZero) else dx
        for dx, x in zip(cotangents, inputs.params, strict=True)
    ]
    with _mesh():
        is_found, initial, of_rates = way.replay(
            descent, inputs, residual.stored, cotangents, moves
        )
    leaves, tree = jax.tree.flatten((initial, of_rates))
    is_sound = is_found & residual.is_sound
    if isinstance(is_sound, Tracer):
        leaves = poisoned(leaves, is_sound)
    elif not is_sound:
        raise not_reproduced()
    leaves = _differentiated_once(leaves)
    initial, of_rates = jax.tree.unflatten(tree, leaves)
    free = iter(initial.theta)
    params = [
        dx.astype(x.dtype)
        for dx, x in zip(initial.position, inputs.params, strict=True)
    ]
    step_sizes = [rate.step_size for rate in of_rates]
    momenta = [rate.momentum for rate in of_rates]
    theta = [
        next(free).astype(leaf.dtype) if is_free else None
        for leaf, is_free in zip(inputs.theta, moves, strict=True)
    ]
    return (Inputs(params, step_sizes, momenta, theta),)  # pyright: ignore


run.defvjp(_run_forward, _run_backward, symbolic_zeros=True)


def _mesh() -> Any:
    """The mesh that is in place, the same in both directions of time."""
    # JAX 0.10 transposes under a mesh of no axes, and would compile anew for it.
    return jax.sharding.use_abstract_mesh(jax.sharding.get_abstract_mesh())


def _refuse_complex(descent: Descent, theta: list[Any]) -> None:
    for i, leaf in enumerate(theta):
        if leaf.perturbed and jnp.iscomplexobj(leaf.value):
            raise ValueError(
                f"{descent.theta_names[i]} is complex and cannot be differentiated "
                "with respect to: pass its real and imaginary parts."
            )


def _check_rates(descent: Descent, inputs: Inputs) -> None:
    """Checks what `train` could not, for it was traced there, and is known here."""
    named = {"step_size": inputs.step_sizes, "momentum": inputs.momenta}
    for kind, rates in named.items():
        for name, rate in zip(descent.names, rates, strict=True):
            if not isinstance(rate, Tracer):
                check_rates(kind, f"{kind} of params{name}", np.asarray(rate))


@jax.custom_jvp
def _differentiated_once(leaves: Any) -> Any:
    return leaves


@_differentiated_once.defjvp
def _refuse(primals, tangents):
    del primals, tangents
    raise NotImplementedError(
        "Hypergradients cannot be differentiated: `train` has a first derivative only."
    )
