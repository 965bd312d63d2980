"""A time axis cut into blocks of equal length."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Int

Index = int | Int[Array, ""]


def block_length(steps: int) -> int:
    """Chooses how many steps to project, and to sum weight gradients over, at once."""
    # An accelerator pays for each launch: the whole sequence. A CPU pays for arrays as
    # long as the sequence, and gains nothing from wider products: one step.
    return 1 if jax.default_backend() == "cpu" else max(steps, 1)


@dataclasses.dataclass(frozen=True)
class Blocks:
    """Blocks of a time axis, numbered in the order of a run.

    Args:
        length: length of the axis.
        block: length of a block; it divides `length`.
        axis: the time axis.
        reverse: whether the run goes from the last step to the first.
    """

    length: int
    block: int
    axis: int
    reverse: bool

    @property
    def count(self) -> int:
        """The number of blocks."""
        return self.length // self.block

    def start(self, i: Index) -> Index:
        """Returns the first time step of block `i`."""
        return (self.count - 1 - i if self.reverse else i) * self.block

    def take(self, tree: Any, i: Index) -> Any:
        """Reads block `i`, time first."""

        def cut(x):
            x = lax.dynamic_slice_in_dim(x, self.start(i), self.block, self.axis)
            return jnp.moveaxis(x, self.axis, 0)

        return jax.tree.map(cut, tree)

    def put(self, tree: Any, part: Any, i: Index) -> Any:
        """Writes block `i`, given time first."""

        def paste(x, y):
            y = jnp.moveaxis(y, 0, self.axis)
            return lax.dynamic_update_slice_in_dim(x, y, self.start(i), self.axis)

        return jax.tree.map(paste, tree, part)

    def room(self, tree: Any) -> Any:
        """Makes zeros for arrays like those of one time step at every time step."""

        def extend(x):
            shape = (*x.shape[: self.axis], self.length, *x.shape[self.axis :])
            return jnp.zeros(shape, x.dtype)

        return jax.tree.map(extend, tree)

    def before(self, tree: Any, i: Index, first: Any) -> Any:
        """Reads the step that the run makes just before block `i`, `first` if none."""
        step = self.start(i) + (self.block if self.reverse else -1)

        def pick(x, start):
            x = lax.dynamic_index_in_dim(x, step, self.axis, keepdims=False)
            return jnp.where(i == 0, start, x)

        return jax.tree.map(pick, tree, first)

    def delay(self, later: Any, before: Any) -> Any:
        """Turns values after each step of a block into values before each step."""

        def shift(x, first):
            parts = [x[1:], first[None]] if self.reverse else [first[None], x[:-1]]
            return jnp.concatenate(parts)

        return jax.tree.map(shift, later, before)
