"""Derivatives of what a training run achieves."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from flax import nnx
from jaxtyping import Array, Float

from gradstab._checks import check_hashable_function, check_real_scalar
from gradstab.reversible._closed_over import hoisted
from gradstab.reversible._schedules import Schedules, as_schedules, differentiable
from gradstab.reversible._train import Loss, as_arrays, train


class Hypergradient(NamedTuple):
    """What a training run achieved, and the derivative of that.

    Attributes:
        value: the objective of the trained parameters.
        trained: the trained parameters.
        params: derivative with respect to the initial parameters: a tree as they, for a
            module an `nnx.State` of its `nnx.Param`s.
        schedules: derivatives with respect to step sizes and momenta.
        theta: derivative with respect to the hyperparameters.
    """

    value: Float[Array, ""]
    trained: Any
    params: Any
    schedules: Schedules
    theta: Any


def hypergradient(
    objective: Callable[[Any, Any], Float[Array, ""]],
    loss: Loss,
    params: Any,
    schedules: Schedules,
    theta: Any,
    steps: int,
    *,
    fraction_bits: int | None = None,
    least_momentum: float | None = None,
    checkpoint_every: int | None = None,
) -> Hypergradient:
    r"""Differentiates an objective of trained parameters through the whole training.

    .. math:: \frac{d}{d(x_0, \alpha, \beta, \theta)} f(x_T(x_0, \alpha, \beta, \theta),
        \theta)

    It is `jax.value_and_grad` through `train`, outside of `jax.jit`, so that faults
    raise errors. Compose `train` yourself for derivatives with respect to what
    parameters or schedules are made from, such as scales of an initializer. The outer
    loop belongs to optax:

    Example:
        >>> import jax.numpy as jnp
        >>> import optax
        >>> from gradstab.reversible import Schedules, hypergradient
        >>> def loss(x, penalty, step):
        ...     return jnp.sum((x - 1) ** 2) + jnp.exp(penalty) * jnp.sum(x**2)
        >>> def error(x, penalty):
        ...     return jnp.sum((x - 1) ** 2)
        >>> penalty, rates = jnp.zeros(()), Schedules(0.3, 0.5)
        >>> descent = optax.sgd(2.0)
        >>> state = descent.init(penalty)
        >>> for _ in range(20):
        ...     found = hypergradient(error, loss, jnp.zeros(2), rates, penalty, 30)
        ...     update, state = descent.update(found.theta, state)
        ...     penalty = optax.apply_updates(penalty, update)
        >>> bool(found.value < 0.01), bool(penalty < -2)
        (True, True)

    Args:
        objective: f, a scalar function (params, theta), such as the loss on other data;
            compiled and kept, and free to close over traced values, as `loss` is.
        loss: what is trained on, as for `train`.
        params: the initial parameters.
        schedules: step sizes and momenta.
        theta: hyperparameters. Leaves that are not floating-point have derivatives of
            dtype `float0`.
        steps: how many steps to take.
        fraction_bits: as for `train`.
        least_momentum: as for `train`.
        checkpoint_every: as for `train`.

    Returns:
        The value, the trained parameters and all derivatives.

    Raises:
        ValueError: as `train`.
        FloatingPointError: as `train`.
        OverflowError: as `train`.
        RuntimeError: as `train`.

    References:
        Maclaurin, Duvenaud & Adams, "Gradient-based hyperparameter optimization through
        reversible learning", ICML 2015, arXiv:1502.03492, algorithm 2.
    """
    check_hashable_function("objective", objective)
    schedules = differentiable(as_schedules(schedules))
    theta = as_arrays(theta)

    def achieved(start: Any, schedules: Schedules, theta: Any) -> tuple[Array, Any]:
        trained = train(
            loss,
            join(start),
            schedules,
            theta,
            steps,
            fraction_bits=fraction_bits,
            least_momentum=least_momentum,
            checkpoint_every=checkpoint_every,
        )
        judge, state = objective, trained
        if isinstance(trained, nnx.Module):
            graph, state = nnx.split(trained)
            judge = _ModelObjective(objective, graph)
        judge, hyper = hoisted(judge, state, theta)
        value = _value(judge, state, hyper)
        check_real_scalar("objective", value)
        return value, _open(trained)[0]

    start, join = _open(params)
    both = jax.value_and_grad(achieved, argnums=(0, 1, 2), has_aux=True, allow_int=True)
    (value, trained), gradients = both(start, schedules, theta)
    return Hypergradient(value, join(trained), *gradients)


@dataclasses.dataclass(frozen=True)
class _ModelObjective:
    """An objective that puts a module together before it is called.

    Attributes:
        objective: scalar function of a module and hyperparameters.
        graph: the module without its arrays.
    """

    objective: Callable[[Any, Any], Float[Array, ""]]
    graph: nnx.GraphDef[Any]

    def __call__(self, state: Any, theta: Any) -> Float[Array, ""]:
        return self.objective(nnx.merge(self.graph, state, copy=True), theta)


# Compiled once for a method too, of which each call has another object.
@functools.partial(jax.jit, static_argnums=0)
def _value(objective: Callable[..., Array], trained: Any, theta: Any) -> Array:
    return objective(trained, theta)


def _open(params: Any) -> tuple[Any, Callable[[Any], Any]]:
    """What is differentiated of the parameters, and how they are put together."""
    if not isinstance(params, nnx.Module):
        return params, lambda start: start
    graph, state, rest = nnx.split(params, nnx.Param, ...)
    return state, lambda start: nnx.merge(graph, start, rest, copy=True)
