"""A time step that says where its matrix products are."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Inexact


class Feed(NamedTuple):
    """What meets further kernels of a step, once earlier products are known.

    Attributes:
        state: (params, carry, earlier products, projected) -> what meets them, entry by
            entry: a gated or activated state.
        meets: how many kernels it meets.
    """

    state: Callable[[Any, Any, tuple[Array, ...], Any], Array]
    meets: int = 1


@dataclasses.dataclass(frozen=True)
class MatmulStep:
    r"""A step of matrix products with the state, followed by one elementwise map.

    .. math:: c' = \operatorname{activate}(c, (h K_1, h K_2, \dots), p), \quad y = h'

    with c the carry, h = state(c) the part of it that meets the kernels K and is the
    output, and p the projected inputs. With `feeds` the last kernels meet something
    else in the place of h, which may depend on the products before. `scan` takes any
    function for a step; from this one it derives a lean backward pass, which computes
    no product again and stores no more than the derivative of the elementwise maps
    needs.

    Args:
        kernels: params -> kernels, acting on row vectors: (hidden, hidden) unless what
            meets them, or what reads the products, is of another length.
        state: (params, carry) -> h, a mere selection.
        activate: (params, carry, products, projected) -> new carry, entry by entry.
        pullback: (params, new carry, its cotangent) -> (cotangents of the products,
            cotangent of projected), for a map that meets its carry in the products
            alone, whose value gives its derivative (tanh' = 1 - tanh²), and that reads
            no parameters. The products are then not stored. None for any other map.
        feeds: what the last kernels meet, in order; it excludes `pullback`.

    Raises:
        ValueError: if there are both feeds and a pullback, or on a call, if the feeds
            meet more kernels than there are.
    """

    kernels: Callable[[Any], tuple[Inexact[Array, "hidden hidden"], ...]]
    state: Callable[[Any, Any], Inexact[Array, "*batch hidden"]]
    activate: Callable[[Any, Any, tuple[Array, ...], Any], Any]
    pullback: Callable[[Any, Any, Any], tuple[tuple[Array, ...], Any]] | None = None
    feeds: tuple[Feed, ...] = ()

    def __post_init__(self):
        if self.feeds and self.pullback is not None:
            raise ValueError("`pullback` must be None where there are `feeds`.")

    def __call__(self, params: Any, carry: Any, projected: Any) -> tuple[Any, Array]:
        """Advances one time step."""
        products = self.products(params, self.kernels(params), carry, projected)
        carry = self.activate(params, carry, products, projected)
        return carry, self.state(params, carry)

    def products(
        self, params: Any, kernels: tuple[Array, ...], carry: Any, projected: Any
    ) -> tuple[Array, ...]:
        """Multiplies every kernel by what meets it."""
        products = ()
        first = self.count_first(kernels)
        if first:
            products = multiply(self.state(params, carry), kernels[:first])
        for feed in self.feeds:
            done = len(products)
            state = feed.state(params, carry, products, projected)
            products += multiply(state, kernels[done : done + feed.meets])
        return products

    def count_first(self, kernels: tuple[Array, ...]) -> int:
        """Counts the kernels that meet the state itself."""
        fed = sum(feed.meets for feed in self.feeds)
        if fed > len(kernels):
            raise ValueError(
                f"`feeds` meet {fed} kernels, but there are {len(kernels)}."
            )
        return len(kernels) - fed


def multiply(
    state: Inexact[Array, "*batch hidden"],
    kernels: tuple[Inexact[Array, "hidden _"], ...],
) -> tuple[Inexact[Array, "*batch _"], ...]:
    """Multiplies in the dtype of each kernel, accumulating in that of the state."""
    # One product a kernel: a single wide one would be cut into strided slices, which
    # cost a CPU three times the product.
    dtype = state.dtype
    return tuple(
        jnp.matmul(state.astype(kernel.dtype), kernel, preferred_element_type=dtype)
        for kernel in kernels
    )
