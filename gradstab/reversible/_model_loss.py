"""The loss of a Flax module as a function of its parameters."""

import dataclasses
from collections.abc import Callable
from typing import Any

from flax import nnx
from jaxtyping import Array, Float, Int


@dataclasses.dataclass(frozen=True)
class ModelLoss:
    """A loss that puts a module together before it is called.

    Attributes:
        loss: scalar function of a module, hyperparameters and the number of the step.
        graph: the module without its arrays.
    """

    loss: Callable[[Any, Any, Int[Array, ""]], Float[Array, ""]]
    graph: nnx.GraphDef[Any]

    def __call__(
        self, params: Any, theta: tuple[Any, nnx.State], step: Int[Array, ""]
    ) -> Float[Array, ""]:
        """The loss.

        Args:
            params: the values of the parameters, as nested dictionaries.
            theta: the hyperparameters, and what else the module holds.
            step: the number of the step.

        Returns:
            Its value.
        """
        hyper, rest = theta
        model = nnx.merge(self.graph, nnx.State(params), rest, copy=True)
        return self.loss(model, hyper, step)
