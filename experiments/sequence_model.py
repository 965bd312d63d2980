"""A recurrent cell with a linear read-out of its last output."""

from flax import nnx
from jaxtyping import Array, Float

import gradstab as gs


class SequenceModel(nnx.Module):
    """Reads a sequence and answers once, at its end; 0 before it is trained.

    Args:
        cell: any cell of the Flax contract.
        hidden_features: length of its outputs.
        out_features: length of the answer.
        rngs: source of the `params` keys.
    """

    def __init__(
        self,
        cell: nnx.RNNCellBase,
        hidden_features: int,
        out_features: int,
        *,
        rngs: nnx.Rngs,
    ):
        self.rnn = gs.nn.RNN(cell)
        # Every method starts from the answer 0. A state that has grown over a sequence
        # would give a large one, whose gradient fills the second moment of Adam and
        # slows it down for thousands of steps.
        self.readout = nnx.Linear(
            hidden_features,
            out_features,
            kernel_init=nnx.initializers.zeros_init(),
            rngs=rngs,
        )

    def __call__(
        self, inputs: Float[Array, "batch time in"]
    ) -> Float[Array, "batch out"]:
        """Answers for each sequence."""
        # Stock cells ask for a key even to make a carry of zeros.
        return self.answer(self.rnn(inputs, rngs=nnx.Rngs(0)))

    def answer(
        self, outputs: Float[Array, "batch time hidden"]
    ) -> Float[Array, "batch out"]:
        """Reads the last output of the cell."""
        return self.readout(outputs[:, -1])
