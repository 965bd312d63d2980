"""Whether the matrices of a model are where they are held."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from gradstab.diagnostics._taps import path_name
from gradstab.linalg import spectral_norm
from gradstab.nn import Parametrization
from gradstab.nn._methods import overrides
from gradstab.nn._parametrization import largest_entry

EXACT_UP_TO = 512


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Constraint:
    """One parametrization of a model.

    Attributes:
        kind: its class.
        shape: of the matrix, or of the stack of matrices.
        bounds: between which its singular values lie whatever the coordinates.
        tolerance: the residual that rounding explains.
        residual: how far the matrix built is from the set, in units of its entries; NaN
            for a class of your own that does not tell.
        smallest: its smallest singular value, NaN beyond 512 rows and columns.
        largest: its largest singular value.
        coordinates: the root mean square of its coordinates.
    """

    kind: str = dataclasses.field(metadata={"static": True})
    shape: tuple[int, ...] = dataclasses.field(metadata={"static": True})
    bounds: tuple[float, float] = dataclasses.field(metadata={"static": True})
    tolerance: float = dataclasses.field(metadata={"static": True})
    residual: Float[Array, ""]
    smallest: Float[Array, ""]
    largest: Float[Array, ""]
    coordinates: Float[Array, ""]


def constraint_report(model: nnx.Module) -> dict[str, Constraint]:
    """Measures every parametrization of a model.

    Args:
        model: any module. It is left unchanged.

    Returns:
        For each path of a parametrization what was measured; nothing for a model that
        holds none, or whose matrices have been built by `materialize` or `export`.
        Builds every matrix once, and decomposes it up to 512 rows or columns.
    """
    return {
        path_name(path): _measure(module)
        for path, module in nnx.iter_modules(model)
        if isinstance(module, Parametrization)
    }


def _measure(module: Parametrization) -> Constraint:
    matrix = module().astype(module._coordinate_dtype)
    low, high = module.singular_value_bounds
    coordinates = jax.tree.leaves(nnx.state(module, nnx.Param))
    size = sum(leaf.size for leaf in coordinates)
    square = sum(jnp.sum(jnp.abs(leaf) ** 2) for leaf in coordinates)
    smallest, largest = _singular_values(module, matrix)
    residual = jnp.full_like(largest, jnp.nan)
    if overrides(type(module), Parametrization, "_residual"):
        residual = largest_entry(module._map_stack(module._residual, matrix))
    return Constraint(
        kind=type(module).__name__,
        shape=module.shape,
        bounds=(float(low), float(high)),
        tolerance=float(module._tolerance),
        residual=residual,
        smallest=smallest,
        largest=largest,
        coordinates=jnp.sqrt(jnp.asarray(square) / max(size, 1)),
    )


def _singular_values(module: Parametrization, matrix: Any) -> tuple[Any, Any]:
    """Returns the smallest and the largest singular value of a stack."""
    if 0 in module.shape:
        zero = jnp.zeros((), module._real_dtype)
        return zero, zero
    if max(module.shape[-2:]) > EXACT_UP_TO:
        largest = jnp.max(module._map_stack(spectral_norm, matrix))
        return jnp.full_like(largest, jnp.nan), largest
    values = jnp.linalg.svd(matrix, compute_uv=False)
    return jnp.min(values), jnp.max(values)
