"""Marking the coordinates of a model for optax."""

from flax import nnx

from gradstab.nn._parametrization import Parametrization


def unconstrained_mask(module: nnx.Module) -> nnx.State:
    """Marks the parameters that are coordinates of a matrix.

    Their size says nothing about the size of the matrix: weight decay on them is not
    the regularizer that it is on a weight, and they often want a learning rate of
    their own.

    Args:
        module: any module.

    Returns:
        A tree like `nnx.state(module, nnx.Param)` whose leaves are True for the
        parameters of a `Parametrization` and False for all others. Pass it to
        `optax.masked` or, mapped to labels, to `optax.partition`.
    """
    roots = [
        path
        for path, node in nnx.iter_modules(module)
        if isinstance(node, Parametrization)
    ]
    params = nnx.to_flat_state(nnx.state(module, nnx.Param))
    return nnx.from_flat_state({
        path: any(path[: len(root)] == root for root in roots) for path, _ in params
    })
