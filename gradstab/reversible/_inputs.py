"""What a training run starts from and is differentiated with respect to."""

from typing import NamedTuple

import jax
from jaxtyping import Array, Float


class Inputs(NamedTuple):
    """The arguments of a run, as lists of arrays.

    Attributes:
        params: the initial parameters.
        step_sizes: α of every step, for each array of parameters.
        momenta: β, likewise.
        theta: the hyperparameters.
    """

    params: list[Float[Array, "..."]]
    step_sizes: list[Float[Array, " steps"]]
    momenta: list[Float[Array, " steps"]]
    theta: list[Array]

    def as_unknown(self) -> "Inputs":
        """The inputs, of which the compiler knows nothing."""
        # Of a number that it knows it evaluates functions itself, by an exponential of
        # its own, and may do so in one direction of time only.
        return jax.lax.optimization_barrier(self)
