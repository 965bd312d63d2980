"""Cells whose carry meets its weights in matrix products and nowhere else."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Inexact

from gradstab.nn._recurrent_cell import RecurrentCell


class MatmulCell(RecurrentCell):
    r"""A cell of matrix products with the state, followed by one elementwise map.

    .. math:: c' = \operatorname{activate}(c, (h K_1, h K_2, \dots), p)

    with c the carry, h the part of it that is the state, p the projected inputs and one
    kernel a gate. The output is the new state. A cell that says this of itself gets the
    lean backward pass of `recurrence.scan`: the products are never computed again.
    """

    def recurrent_kernels(self) -> tuple[Inexact[Array, "hidden hidden"], ...]:
        """Returns the kernels K that act on row vectors: R transposed for h' = R h."""
        raise NotImplementedError

    def activate(self, carry: Any, products: tuple[Array, ...], projected: Any) -> Any:
        """Computes the new carry, entry by entry.

        Args:
            carry: the carry before the step.
            products: the state times each kernel, in the dtype of the state.
            projected: what `project` gave for this step.

        Returns:
            The new carry.
        """
        raise NotImplementedError

    def recurrent_state(self, carry: Any) -> Inexact[Array, "*batch hidden"]:
        """Selects the part of the carry that meets the kernels and is the output."""
        return carry

    def step(self, carry: Any, projected: Any) -> tuple[Any, Array]:
        """Advances one time step."""
        state = self.recurrent_state(carry).astype(self.dtype)
        products = tuple(
            jnp.matmul(state, kernel, preferred_element_type=self.carry_dtype)
            for kernel in self.recurrent_kernels()
        )
        carry = self.activate(carry, products, projected)
        return carry, self.recurrent_state(carry)
