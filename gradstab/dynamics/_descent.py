"""What it means to lead a code down a loss."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
from jaxtyping import Array, Bool, Float, Int

Code = Float[Array, " code"]
Objective = Callable[[Code], Float[Array, ""]]


class Descended(NamedTuple):
    """Where a descent ended.

    Attributes:
        code: z*, the last point.
        accepted: steps taken.
        rejected: steps tried and not taken.
        is_converged: whether it ended by its own rule, not for want of steps.
    """

    code: Code
    accepted: Int[Array, ""]
    rejected: Int[Array, ""]
    is_converged: Bool[Array, ""]


@dataclasses.dataclass(frozen=True)
class Descent:
    """A way to lead one code down its loss.

    A subclass supplies `__call__` and `differentiable`, for the code of one sample;
    stacks of them are `jax.vmap`'s. Objects are constants: equal ones do not compile a
    program again. So a subclass is a `dataclass(frozen=True)`.
    """

    def __call__(self, objective: Objective, start: Code) -> Descended:
        """Descends; what comes out is never differentiated."""
        raise NotImplementedError

    def differentiable(self, objective: Objective, start: Code) -> Descended:
        """Descends; the code has a derivative in all that `objective` closes over."""
        raise NotImplementedError


def frozen(objective: Objective, start: Code) -> Objective:
    """Makes all that an objective closes over a constant of differentiation."""
    closed, constants = jax.closure_convert(objective, start)
    constants = jax.lax.stop_gradient(constants)
    return lambda code: closed(code, *constants)


def plain_numbers(descent: Descent) -> None:
    """Turns a descent's numbers into Python's, whose dtype is that of the code."""
    for field in dataclasses.fields(descent):
        kind = int if isinstance(field.default, int) else float
        object.__setattr__(descent, field.name, kind(getattr(descent, field.name)))
