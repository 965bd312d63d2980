"""Traced values that a loss reads besides its arguments."""

from collections.abc import Callable
from typing import Any

import jax
from jax.core import Tracer
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun
from jaxtyping import Array, Float


def hoisted(
    loss: Callable[..., Float[Array, ""]], params: Any, theta: Any, *rest: Any
) -> tuple[Callable[..., Float[Array, ""]], Any]:
    """Makes arguments of traced values that a loss closes over.

    Whoever differentiates, maps or compiles what surrounds a training may trace such
    values. A loss that was compiled with them would answer others with a derivative of
    zero, or with tracers of a trace that is over.

    Args:
        loss: scalar function of parameters, hyperparameters and the rest.
        params: the parameters, arrays.
        theta: the hyperparameters, arrays.
        *rest: arrays, such as the number of a step.

    Returns:
        The loss and its hyperparameters, among which those values are now; both as they
        were if there are none.
    """

    def fresh(*arguments: Any) -> Any:
        # Of another function, the loss itself, an earlier trace may be remembered.
        return loss(*arguments)

    traced = jax.make_jaxpr(fresh)(params, theta, *rest)
    places = [i for i, x in enumerate(traced.consts) if isinstance(x, Tracer)]
    if not places or len(traced.out_avals) != 1:
        return loss, theta

    def opened(params: Any, theta: Any, *rest: Any) -> Float[Array, ""]:
        hyper, captured = theta
        known = dict(zip(places, captured, strict=True))
        consts = [known.get(i, x) for i, x in enumerate(traced.consts)]
        evaluate = jaxpr_as_fun(ClosedJaxpr(traced.jaxpr, consts))
        (value,) = evaluate(*jax.tree.leaves((params, hyper, rest)))
        return value

    return opened, (theta, [traced.consts[i] for i in places])
