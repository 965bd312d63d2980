"""Building every matrix of a model once."""

from typing import TypeVar

from flax import nnx

from gradstab.nn._parametrization import Materialized, Parametrization

M = TypeVar("M", bound=nnx.Module)


def materialize(module: M) -> M:
    """Builds every matrix in `module` once.

    A map inside a time step is differentiated at every step. Called ahead of the loop,
    this pays for each map once a sequence, in both directions of differentiation.

    Args:
        module: any module. It is left unchanged.

    Returns:
        A view of `module`, sharing its Variables, in which a `Materialized` Variable
        stands for every `Parametrization`. Gradients flow through it to `module`.
        A second call changes nothing.
    """
    return nnx.recursive_map(
        lambda _, node: (
            Materialized(node()) if isinstance(node, Parametrization) else node
        ),
        module,
    )
