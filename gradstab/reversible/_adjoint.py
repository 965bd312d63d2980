r"""The chain rule through one step of training.

With (dx, dv) the cotangents of position and velocity after step t,

.. math:: d\alpha_t = \langle dx, v_{t+1} \rangle, \quad
    dv \leftarrow dv + \alpha_t\,dx, \quad
    d\beta_t = \langle dv, v_t + g_t \rangle, \quad
    dx \leftarrow dx - (1 - \beta_t)\,\nabla_x^2 L\,dv, \quad
    d\theta \leftarrow d\theta - (1 - \beta_t)
    \left(\frac{\partial g_t}{\partial \theta}\right)^T dv, \quad
    dv \leftarrow \beta_t\,dv

Maclaurin, Duvenaud & Adams (2015), algorithm 2. Rounding to fixed point counts as the
identity.
"""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from gradstab._precision import at_least_single
from gradstab.reversible._descent import Descent
from gradstab.reversible._forward import Visit
from gradstab.reversible._rates import Rates


class Cotangents(NamedTuple):
    """Derivatives of what comes later.

    Attributes:
        position: dx, for each array of parameters.
        velocity: dv.
        theta: dθ, for those hyperparameters that are differentiated.
    """

    position: list[Array]
    velocity: list[Array]
    theta: list[Array]


class RateCotangents(NamedTuple):
    """Derivatives with respect to the rates of one array of parameters.

    Attributes:
        step_size: dα.
        momentum: dβ.
    """

    step_size: Float[Array, " steps"]
    momentum: Float[Array, " steps"]


@functools.partial(jax.jit, static_argnums=(0, 3))
def arrive(
    descent: Descent,
    cotangents: Sequence[Array],
    theta: Sequence[Array],
    moves: tuple[bool, ...],
) -> Cotangents:
    """The cotangents after the last step.

    Args:
        descent: what was descended.
        cotangents: of the trained parameters.
        theta: the hyperparameters.
        moves: which of them are differentiated.

    Returns:
        The cotangents, with zeros for velocity and hyperparameters.
    """
    position = [
        x.astype(fixed.real)
        for fixed, x in zip(descent.formats, cotangents, strict=True)
    ]
    free = [leaf for leaf, is_free in zip(theta, moves, strict=True) if is_free]
    return Cotangents(
        position,
        [jnp.zeros_like(x) for x in position],
        # Many small terms are lost in a sum of low precision.
        [jnp.zeros_like(x, dtype=at_least_single(x.dtype)) for x in free],
    )


def pull(
    descent: Descent,
    cotangents: Cotangents,
    visit: Visit,
    rates: Sequence[Rates],
    theta: list[Array],
    moves: Sequence[bool],
    t: Int[Array, ""],
) -> tuple[Cotangents, list[RateCotangents]]:
    """Takes cotangents back by one step.

    Args:
        descent: what was descended.
        cotangents: after the step.
        visit: the step.
        rates: its rates, for each array of parameters.
        theta: the hyperparameters.
        moves: which of them are differentiated.
        t: the number of the step.

    Returns:
        The cotangents before the step, and those of its rates.
    """
    along, of_rates = [], []
    for i, rate in enumerate(rates):
        dx = cotangents.position[i]
        dv = cotangents.velocity[i] + rate.step_size * dx
        pulled = visit.before[i] + visit.gradient[i].astype(dv.dtype)
        of_rates.append(RateCotangents(_inner(dx, visit.after[i]), _inner(dv, pulled)))
        along.append(dv)
    direction = [
        ((1 - rate.momentum) * dv).astype(dtype)
        for rate, dv, dtype in zip(rates, along, descent.dtypes, strict=True)
    ]
    hessian, mixed = descent.products(visit.position, theta, t, direction, moves)
    pairs = zip(cotangents.position, hessian, strict=True)
    position = [dx - product.astype(dx.dtype) for dx, product in pairs]
    velocity = [rate.momentum * dv for rate, dv in zip(rates, along, strict=True)]
    of_theta = [
        d - m.astype(d.dtype) for d, m in zip(cotangents.theta, mixed, strict=True)
    ]
    return Cotangents(position, velocity, of_theta), of_rates


def _inner(a: Array, b: Array) -> Array:
    # No contraction, which arrays that are sharded explicitly would refuse.
    return jnp.sum(a * b)
