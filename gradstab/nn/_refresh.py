"""Re-anchoring the maps of a model between optimizer steps."""

from typing import TypeVar

from flax import nnx

from gradstab.nn._parametrization import Parametrization

M = TypeVar("M", bound=nnx.Module)


def refresh(module: M) -> M:
    """Moves what a map holds on to: base points and the like.

    Some maps are cheap or accurate near a base point. After an optimizer step, or after
    every so many, this moves it to where the coordinates have gone: `Exponential` takes
    its matrix for the base point and sets its coordinates to zero, `NeumannCayley` its
    newest inverse. Maps without one are unchanged.

    Args:
        module: any module. It is left unchanged; under `jax.jit` or `nnx.jit`, return
            the result.

    Returns:
        A copy with other coordinates, which shares the arrays that have not changed.
        Every matrix in it is equal to that in `module` up to rounding, and for a
        `NeumannCayley` up to the error of its series, 2e-3 at most.
    """
    module = nnx.clone(module)
    for _, node in nnx.iter_modules(module):
        if isinstance(node, Parametrization):
            node._reanchor()
    return module
