"""A recurrent cell with a linear read-out of its outputs."""

from flax import nnx
from jaxtyping import Array, Float

import gradstab as gs
from experiments.zero_carry import zero_carry


class SequenceModel(nnx.Module):
    """Reads a sequence and answers at its end, or at every step; 0 untrained.

    Args:
        cell: any cell of the Flax contract.
        hidden_features: length of its outputs.
        out_features: length of an answer.
        every_step: whether it answers at every time step, not just after the last.
        rngs: source of the `params` keys.
    """

    def __init__(
        self,
        cell: nnx.RNNCellBase,
        hidden_features: int,
        out_features: int,
        *,
        every_step: bool = False,
        rngs: nnx.Rngs,
    ):
        self.every_step = every_step
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
        self, inputs: Float[Array, "batch time in"], key: Array | None = None
    ) -> Float[Array, "batch *time out"]:
        """Answers for each sequence; a cell that draws needs a key to be trained."""
        start = zero_carry(self.rnn.cell, (inputs.shape[0], inputs.shape[2]))
        rngs = None if key is None else nnx.Rngs(draw=key)
        return self.answer(self.rnn(inputs, initial_carry=start, rngs=rngs))

    def answer(
        self, outputs: Float[Array, "batch time hidden"]
    ) -> Float[Array, "batch *time out"]:
        """Reads the outputs of the cell, or the last of them."""
        return self.readout(outputs if self.every_step else outputs[:, -1])
