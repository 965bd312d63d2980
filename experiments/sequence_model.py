"""A recurrent cell with a linear read-out of its outputs."""

from flax import nnx
from jaxtyping import Array, Float

import gradstab as gs
from experiments.zero_carry import zero_carry


class SequenceModel(nnx.Module):
    """Reads a sequence and answers at its end, or at every step; 0 untrained.

    Sequences are of vectors, or of tokens, for each of which a vector is learned.

    Args:
        cell: any cell of the Flax contract.
        hidden_features: length of its outputs.
        out_features: length of an answer.
        every_step: whether it answers at every time step, not just after the last.
        biased: whether the read-out has a bias.
        tokens: how many different tokens there are; 0 for sequences of vectors.
        in_features: length of what the cell reads.
        rngs: source of the `params` keys.
    """

    def __init__(
        self,
        cell: nnx.RNNCellBase,
        hidden_features: int,
        out_features: int,
        *,
        every_step: bool = False,
        biased: bool = True,
        tokens: int = 0,
        in_features: int = 0,
        rngs: nnx.Rngs,
    ):
        self.every_step = every_step
        self.embedding = nnx.data(None)
        if tokens:
            self.embedding = nnx.Embed(tokens, in_features, rngs=rngs)
        self.rnn = gs.nn.RNN(cell)
        # Every method starts from the answer 0. A state that has grown over a sequence
        # would give a large one, whose gradient fills the second moment of Adam and
        # slows it down for thousands of steps.
        self.readout = nnx.Linear(
            hidden_features,
            out_features,
            use_bias=biased,
            kernel_init=nnx.initializers.zeros_init(),
            rngs=rngs,
        )

    def __call__(
        self, inputs: Array, key: Array | None = None
    ) -> Float[Array, "batch *time out"]:
        """Answers for each sequence; a cell that draws needs a key to be trained."""
        vectors = self.read(inputs)
        start = zero_carry(self.rnn.cell, (vectors.shape[0], vectors.shape[2]))
        rngs = None if key is None else nnx.Rngs(draw=key)
        return self.answer(self.rnn(vectors, initial_carry=start, rngs=rngs))

    def read(self, inputs: Array) -> Float[Array, "batch time in"]:
        """Gives what the cell reads: the vectors, or those of the tokens."""
        return inputs if self.embedding is None else self.embedding(inputs)

    def answer(
        self, outputs: Float[Array, "batch time hidden"]
    ) -> Float[Array, "batch *time out"]:
        """Reads the outputs of the cell, or the last of them."""
        return self.readout(outputs if self.every_step else outputs[:, -1])
