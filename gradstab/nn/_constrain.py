"""Constraining the weights of an existing Flax model."""

from collections.abc import Callable
from typing import TypeVar

from flax import nnx
from flax.nnx import filterlib

from gradstab.nn._conv_certificate import check_layer
from gradstab.nn._conv_kernel import ConvKernel
from gradstab.nn._parametrization import Parametrization

M = TypeVar("M", bound=nnx.Module)


def constrain(
    model: M,
    where: filterlib.Filter,
    factory: Callable[[tuple[int, ...]], Parametrization],
) -> M:
    """Puts a parametrization in the place of weights of an existing model.

    The matrix starts at the weight's present value, moved into the set by
    `assign(..., project=True)`. Stock layers cannot read a parametrization: call
    `materialize` on the model inside the loss, and then the model.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from flax import nnx
        >>> import gradstab as gs
        >>> rngs = nnx.Rngs(0)
        >>> layer = gs.nn.constrain(
        ...     nnx.Linear(4, 4, rngs=rngs),
        ...     nnx.PathContains("kernel"),
        ...     lambda shape: gs.nn.Householder(shape, rngs=rngs),
        ... )
        >>> def loss(layer, inputs):
        ...     return jnp.sum(gs.nn.materialize(layer)(inputs) ** 2)
        >>> jax.grad(loss)(layer, jnp.ones((2, 4))).kernel.vectors.shape
        (4, 4)

    Args:
        model: any module. It is left unchanged.
        where: a Flax filter of Variables, such as `nnx.PathContains("kernel")` or a
            function of the path and the Variable.
        factory: makes a parametrization of a given shape. Flax kernels are
            (in_features, out_features), the transpose of the matrix that multiplies a
            column vector.

    Returns:
        A model that shares all other Variables with `model`.

    Raises:
        ValueError: if `where` selects nothing, something that is no stack of matrices
            or a coordinate of a parametrization, if the set has no nearest point to a
            weight, or if a `ConvKernel` promises nothing for the strides, shape or
            other options of a layer of Flax that reads it.
    """
    # All that read a weight: it may be shared by layers with other strides.
    layers = [
        node
        for _, node in nnx.iter_modules(model)
        if isinstance(node, nnx.Conv | nnx.ConvTranspose)
    ]
    selects = filterlib.to_predicate(where)
    seen: list[str] = []
    chosen: list[str] = []
    maps = {
        path: type(node).__name__
        for path, node in nnx.iter_modules(model)
        if isinstance(node, Parametrization)
    }

    def replace(path, node):
        if not isinstance(node, nnx.Variable):
            return node
        name = "/".join(map(str, path))
        seen.append(name)
        if not selects(path, node):
            return node
        chosen.append(name)
        for depth in range(len(path)):
            if path[:depth] in maps:
                raise ValueError(
                    f"`where` selects {name}, a coordinate of {maps[path[:depth]]}: "
                    "leave it out, or turn it into a weight by `export` first."
                )
        matrix = node[...]
        if matrix.ndim < 2:
            raise ValueError(
                f"`where` selects {name}, which must have at least 2 dimensions to be "
                f"constrained, got {matrix.shape}."
            )
        parametrization = factory(matrix.shape)
        if isinstance(parametrization, ConvKernel):
            for layer in layers:
                if layer.kernel is node:
                    _check_reader(name, layer, parametrization)
        parametrization.assign(matrix, project=True)
        return parametrization

    constrained = nnx.recursive_map(replace, model)
    if not chosen:
        raise ValueError(
            f"`where` must select a weight, got none; the model has {', '.join(seen)}."
        )
    return constrained


def _check_reader(
    name: str, layer: nnx.Conv | nnx.ConvTranspose, kernel: ConvKernel
) -> None:
    """Refuses a kernel whose certificate does not hold in a layer that reads it."""
    try:
        check_layer(layer, kernel)
    except ValueError as error:
        raise ValueError(
            f"`where` selects {name} of {type(layer).__name__}, which "
            f"{type(kernel).__name__} does not fit: {error}"
        ) from error
