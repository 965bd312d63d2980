"""Leaving the library: a model with its matrices as ordinary weights."""

import warnings
from typing import Any

from flax import nnx

from gradstab.nn._parametrization import Matrix, Parametrization


class Exported(nnx.Param):
    """An ordinary weight that a module may still call as it called its map."""

    def __call__(self) -> Matrix:
        """Returns the matrix."""
        return self[...]


def export(module: nnx.Module) -> Any:
    """Turns every parametrization into an ordinary weight, for inference or for good.

    A module that has an exact twin in Flax (its `flax_twin()` says so) becomes that
    twin, and kernels of stock Flax layers become plain `nnx.Param`s. Other modules keep
    their class, with an `nnx.Param` in the place of the parametrization; a warning
    names the cells among them, since these still need gradstab to be loaded.

    Args:
        module: any module. It is left unchanged.

    Returns:
        A model with the same outputs and no constraint. `nnx.RNN` does not put zeros
        in the padding of `seq_lengths`, as `RNN` does.
    """
    if isinstance(module, Parametrization):
        return Exported(module())
    kept: set[str] = set()

    def leave(_, node):
        if isinstance(node, Parametrization):
            return Exported(node())
        if not isinstance(node, nnx.Module):
            return node
        flax_twin = getattr(node, "flax_twin", None)
        if flax_twin is not None:
            twin = flax_twin()
            if twin is None:
                kept.add(type(node).__name__)
            return node if twin is None else twin
        if type(node).__module__.startswith("flax."):
            for name, value in vars(node).items():
                if isinstance(value, Exported):
                    setattr(node, name, nnx.Param(value[...]))
        return node

    exported = nnx.recursive_map(leave, module)
    if kept:
        warnings.warn(
            f"No exact Flax twin: {', '.join(sorted(kept))} keep their class.",
            stacklevel=2,
        )
    return exported
