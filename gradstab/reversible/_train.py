"""Training as a function whose derivative needs no memory of its course."""

import contextlib
import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from flax import nnx
from jax.core import Tracer
from jaxtyping import Array, Float, Int

from gradstab._checks import check_hashable_function, check_integer, check_real
from gradstab.reversible._checkpoints import Checkpoints
from gradstab.reversible._closed_over import hoisted
from gradstab.reversible._descent import Descent
from gradstab.reversible._fixed_point import FixedPoint
from gradstab.reversible._inputs import Inputs
from gradstab.reversible._model_loss import ModelLoss
from gradstab.reversible._reversal import Reversal, slots_for
from gradstab.reversible._run import run
from gradstab.reversible._schedules import (
    LEAST_MOMENTUM,
    MOST_MOMENTUM,
    Schedules,
    as_schedules,
    spread,
)

Params = TypeVar("Params")
Loss = Callable[[Any, Any, Int[Array, ""]], Float[Array, ""]]


def train(
    loss: Loss,
    params: Params,
    schedules: Schedules,
    theta: Any,
    steps: int,
    *,
    fraction_bits: int | None = None,
    least_momentum: float | None = None,
    checkpoint_every: int | None = None,
) -> Params:
    r"""Trains by gradient descent with momentum, in a way that can be run backward.

    .. math:: v_{t+1} = \beta_t v_t - (1 - \beta_t) \nabla_x L(x_t, \theta, t), \qquad
        x_{t+1} = x_t + \alpha_t v_{t+1}, \qquad v_0 = 0

    The result has a derivative with respect to `params`, `schedules` and `theta`. It is
    found by running the training backward: x and v are fixed-point numbers, so that
    what was added can be taken away again, and what a product by β forgets goes to a
    tape, log2(1/β) bits an entry and step. Where automatic differentiation stores every
    step, this stores the last and the tape. When it has come back to the beginning, all
    bits are compared with those of `params`.

    Costs a gradient of L a step; its derivative three more, and memory for the tape and
    some ten copies of the parameters. Rounding to fixed point, by up to 3e-8 in float32
    and 1e-16 in float64, counts as the identity for the derivative; parameters should
    be of order 1, for of 1e-5 two digits are left. In float32 some 1e-4 of a
    derivative is lost in 500 steps with momentum 0.9, 1e-3 with 0.99.

    In eager mode faults raise errors. Under `jax.jit`, where none can be raised, all
    that is returned is NaN. A `jax.shard_map` around it needs `check_vma=False`, and a
    `jax.jit` around that.

    Example:
        >>> import jax
        >>> import jax.numpy as jnp
        >>> from gradstab.reversible import Schedules, train
        >>> def loss(x, theta, step):
        ...     return jnp.sum((x - theta) ** 2)
        >>> def final(step_size):
        ...     rates = Schedules(step_size, momentum=0.9)
        ...     trained = train(loss, jnp.zeros(3), rates, jnp.ones(3), 20)
        ...     return loss(trained, jnp.ones(3), 20)
        >>> f"{jax.grad(final)(0.1):.3f}"
        '6.833'

    Args:
        loss: L, a scalar function (params, theta, step) with a gradient that has a
            derivative in forward mode. `step` is the number of the step, from 0: take
            the minibatch and the randomness of the step from it. It is compiled once
            for each function, which is then kept: what else it reads is read once, as
            it was then, so that whatever changes belongs in `theta`. Values traced by
            `jax.grad` and others may be closed over, but cost a compilation each time.
        params: a tree of real floating-point arrays, or a Flax module, of which the
            `nnx.Param`s are trained and all else stays as it is.
        schedules: step sizes and momenta.
        theta: a tree of whatever L depends on; leaves that are not floating-point, or
            that nobody differentiates with respect to, cost nothing.
        steps: how many steps to take, at least 1.
        fraction_bits: binary digits behind the point, 24 of 32 if None, 52 of 64 in
            double precision. With these parameters must stay below 2**7 and 2**11.
            Velocities have as many digits more as the largest α_t / √(1 - β_t) has
            before the point, and must stay below the same limit divided by it.
        least_momentum: the smallest momentum there can be. Needed for the length of the
            tape if anything is differentiated while momenta are traced: computed or
            passed under `jax.jit`, or mapped by `jax.vmap`. Below it all that is
            returned is NaN.
        checkpoint_every: if k, nothing is reversed: the state is stored every k steps,
            and the steps in between are repeated. For devices that do not compute the
            same gradient twice alike. Least memory at about the square root of `steps`.

    Returns:
        The trained parameters, as `params`.

    Raises:
        ValueError: if an argument has another type, shape or range; for a momentum
            outside [2**-7, 1 - 2**-16].
        FloatingPointError: if a gradient is NaN or infinite.
        OverflowError: if a parameter or a velocity becomes too large, or a parameter
            is not finite at first.
        RuntimeError: if the way back does not end at the initial parameters.
        NotImplementedError: on a second derivative.

    References:
        Maclaurin, Duvenaud & Adams, "Gradient-based hyperparameter optimization through
        reversible learning", ICML 2015, arXiv:1502.03492, algorithms 1 to 3. Position
        moves by the new velocity, as in the authors' code. They hold 64 bits and store
        remainders in integers of unlimited length; `ExactRational` says how these
        products differ.
    """
    check_integer("steps", steps, 1)
    check_hashable_function("loss", loss)
    schedules = as_schedules(schedules)
    if least_momentum is not None:
        check_real("least_momentum", least_momentum, LEAST_MOMENTUM, MOST_MOMENTUM)
    if checkpoint_every is not None:
        check_integer("checkpoint_every", checkpoint_every, 1)
    way = Reversal(least_momentum=least_momentum)
    if checkpoint_every is not None:
        way = Checkpoints(checkpoint_every)
    steps = int(steps)
    theta = as_arrays(theta)
    names = jax.tree_util.tree_map_with_path(
        lambda path, _: f"`theta{jax.tree_util.keystr(path)}`", theta
    )
    if isinstance(params, nnx.Module):
        graph, state, rest = nnx.split(params, nnx.Param, ...)
        weights = nnx.to_pure_dict(state)
        trained = _train(
            ModelLoss(loss, graph),
            weights,
            schedules,
            (theta, rest),
            (*jax.tree.leaves(names), *_unnamed("module", jax.tree.leaves(rest))),
            steps,
            fraction_bits,
            way,
        )
        nnx.replace_by_pure_dict(state, trained)
        return nnx.merge(graph, state, rest, copy=True)
    names = tuple(jax.tree.leaves(names))
    return _train(loss, params, schedules, theta, names, steps, fraction_bits, way)


def _train(
    loss: Loss,
    params: Any,
    schedules: Schedules,
    theta: Any,
    theta_names: tuple[str, ...],
    steps: int,
    fraction_bits: int | None,
    way: Reversal | Checkpoints,
) -> Any:
    paths, tree = jax.tree_util.tree_flatten_with_path(params)
    names = tuple(jax.tree_util.keystr(path) for path, _ in paths)
    if any(
        isinstance(leaf, nnx.Module)
        for leaf in jax.tree.leaves(params, is_leaf=_is_module)
    ):
        raise ValueError(
            "`params` must be a Flax module, or a tree of arrays: of modules inside of "
            "a tree it is not known what to train."
        )
    x = [jnp.asarray(leaf) for _, leaf in paths]
    formats = _formats(names, x, fraction_bits)
    step_sizes = spread("step_size", schedules.step_size, params, formats, steps)
    is_known = not any(
        isinstance(b, Tracer) for b in jax.tree.leaves(schedules.momentum)
    )
    # What is known stays known under `jax.jit`.
    known = jax.ensure_compile_time_eval() if is_known else contextlib.nullcontext()
    with known:
        momenta = spread("momentum", schedules.momentum, params, formats, steps)
        if is_known and isinstance(way, Reversal):
            way = dataclasses.replace(way, slots=slots_for(formats, momenta))
    step = jnp.zeros((), jnp.int32)
    loss, theta = hoisted(loss, jax.tree.unflatten(tree, x), theta, step)
    hyper, theta_tree = jax.tree.flatten(theta)
    more = _unnamed("loss", hyper[len(theta_names) :])
    descent = Descent(
        loss=loss,
        params=tree,
        theta=theta_tree,
        names=names,
        theta_names=theta_names + more,
        dtypes=tuple(leaf.dtype for leaf in x),
        formats=tuple(formats),
        steps=steps,
    )
    inputs = Inputs(x, step_sizes, momenta, hyper)
    return jax.tree.unflatten(tree, run(descent, way, inputs))


def as_arrays(theta: Any) -> Any:
    """Hyperparameters as arrays.

    Args:
        theta: a tree of what a user gave.

    Returns:
        The tree of arrays.

    Raises:
        ValueError: if a leaf is none.
    """

    def as_array(path: Any, leaf: Any) -> Array:
        try:
            return jnp.asarray(leaf)
        except (TypeError, ValueError):
            raise ValueError(
                f"`theta{jax.tree_util.keystr(path)}` must be a number or an array, "
                f"got {type(leaf).__name__}."
            ) from None

    return jax.tree_util.tree_map_with_path(as_array, theta)


def _unnamed(owner: str, leaves: list[Array]) -> tuple[str, ...]:
    return (f"A value that the {owner} reads",) * len(leaves)


def _is_module(node: Any) -> bool:
    return isinstance(node, nnx.Module)


def _formats(
    names: tuple[str, ...], x: list[Array], fraction_bits: int | None
) -> list[FixedPoint]:
    if not x:
        raise ValueError("`params` must have an array at least, got none.")
    formats = []
    for name, leaf in zip(names, x, strict=True):
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise ValueError(
                f"`params{name}` must be real and floating-point, got "
                f"{leaf.dtype.name}."
            )
        wide = leaf.dtype == jnp.float64
        bits = (52 if wide else 24) if fraction_bits is None else fraction_bits
        check_integer("fraction_bits", bits, 1, 62 if wide else 30)
        formats.append(FixedPoint(wide, int(bits)))
    return formats
