"""Cells whose carry meets its weights in matrix products and nowhere else."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Inexact

from gradstab.nn._methods import method_of, overrides
from gradstab.nn._parametrization import Parametrization
from gradstab.nn._recurrent_cell import RecurrentCell
from gradstab.recurrence import MatmulStep


class MatmulCell(RecurrentCell):
    r"""A cell of matrix products with its state, followed by one elementwise map.

    .. math:: c' = \operatorname{activate}(c, (h K_1, h K_2, \dots), p), \quad y = h'

    with c the carry, h the part of it that meets the kernels K and is the output, and p
    the projected inputs. A subclass implements `project`, `recurrent_kernels` and
    `activate`, and `RNN` gives it the lean backward pass of `recurrence.scan`; one that
    overrides `step` takes the plain one. Where a kernel meets something else than h,
    `matmul_step` says so.
    """

    def recurrent_kernels(self) -> tuple[Inexact[Array, "hidden hidden"], ...]:
        """Returns the kernels K, for row vectors: R transposed where h' = R h."""
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

    @property
    def matmul_step(self) -> MatmulStep:
        """The step as `recurrence.scan` takes it: functions of the class.

        Functions that hold on to `self` would be new ones at each call: `RNN` would
        compile each, and keep the weights that it holds.
        """
        kind = type(self)
        return MatmulStep(
            kernels=method_of(kind, "recurrent_kernels"),
            state=method_of(kind, "recurrent_state"),
            activate=method_of(kind, "activate"),
        )

    def step(self, carry: Any, projected: Any) -> tuple[Any, Array]:
        """Advances one time step."""
        return self.matmul_step(self, carry, projected)

    def keeps_equations_of(self, base: type) -> bool:
        """Tells whether no method that makes the recurrence was overridden."""
        names = "__call__", "step", "project", "activate", "recurrent_kernels", "draw"
        more = "recurrent_state", "matmul_step"
        return not overrides(type(self), base, *names, *more)

    def check_recurrent(
        self, name: str, recurrent: Parametrization, size: int | None = None
    ) -> Parametrization:
        """Checks that the matrix of an argument maps the state to itself.

        Args:
            name: the argument, as the caller knows it.
            recurrent: its value.
            size: the length of the state that it maps; `hidden_features` if None.

        Returns:
            `recurrent`.

        Raises:
            ValueError: if it is no parametrization, not (size, size), or complex where
                the state is real.
        """
        if not isinstance(recurrent, Parametrization):
            raise ValueError(
                f"`{name}` must be a Parametrization, got {type(recurrent).__name__}; "
                "`Unconstrained` holds a plain matrix."
            )
        size = self.hidden_features if size is None else size
        shape = (size, size)
        if recurrent.shape != shape:
            raise ValueError(
                f"`{name}` must have shape {shape}, got {recurrent.shape}."
            )
        given = jnp.dtype(recurrent.param_dtype)
        is_complex = jnp.issubdtype(given, jnp.complexfloating)
        if is_complex and not jnp.issubdtype(self.param_dtype, jnp.complexfloating):
            raise ValueError(
                f"`{name}` must be real, as the cell is, got {given.name}; or give the "
                "cell a complex `param_dtype`."
            )
        return recurrent

    def at_every_step(
        self, bias: Float[Array, " hidden"], inputs: Array
    ) -> Float[Array, "time ... hidden"]:
        """Gives a bias the time axis of `inputs`, for `project` to return."""
        shape = (inputs.shape[0], *[1] * (inputs.ndim - 2), *bias.shape)
        return jnp.broadcast_to(bias, shape)
