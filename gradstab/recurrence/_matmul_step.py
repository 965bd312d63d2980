"""A time step that says where its matrix products are."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Inexact


@dataclasses.dataclass(frozen=True)
class MatmulStep:
    r"""A step of matrix products with the state, followed by one elementwise map.

    .. math:: c' = \operatorname{activate}(c, (h K_1, h K_2, \dots), p), \quad y = h'

    with c the carry, h = state(c) the part of it that meets the kernels K and is the
    output, and p the projected inputs. `scan` takes any function for a step; from this
    one it derives a lean backward pass, which computes no product again and stores no
    more than the derivative of the elementwise map needs.

    Args:
        kernels: params -> kernels, each (hidden, hidden), acting on row vectors.
        state: (params, carry) -> h, a mere selection.
        activate: (params, carry, products, projected) -> new carry, entry by entry.
        pullback: (params, new carry, its cotangent) -> (cotangents of the products,
            cotangent of projected), for a map that meets its carry in the products
            alone, whose value gives its derivative (tanh' = 1 - tanh²), and that reads
            no parameters. The products are then not stored. None for any other map.
    """

    kernels: Callable[[Any], tuple[Inexact[Array, "hidden hidden"], ...]]
    state: Callable[[Any, Any], Inexact[Array, "*batch hidden"]]
    activate: Callable[[Any, Any, tuple[Array, ...], Any], Any]
    pullback: Callable[[Any, Any, Any], tuple[tuple[Array, ...], Any]] | None = None

    def __call__(self, params: Any, carry: Any, projected: Any) -> tuple[Any, Array]:
        """Advances one time step."""
        products = multiply(self.state(params, carry), self.kernels(params))
        carry = self.activate(params, carry, products, projected)
        return carry, self.state(params, carry)


def multiply(
    state: Inexact[Array, "*batch hidden"],
    kernels: tuple[Inexact[Array, "hidden hidden"], ...],
) -> tuple[Inexact[Array, "*batch hidden"], ...]:
    """Multiplies in the dtype of each kernel, accumulating in that of the state."""
    # One product a kernel: a single wide one would be cut into strided slices, which
    # cost a CPU three times the product.
    dtype = state.dtype
    return tuple(
        jnp.matmul(state.astype(kernel.dtype), kernel, preferred_element_type=dtype)
        for kernel in kernels
    )
