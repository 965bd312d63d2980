"""Recurrent matrices that start a continuous-time network on limit cycles."""

import math

import jax
import jax.numpy as jnp
from flax.typing import Initializer
from jaxtyping import Array

from gradstab._checks import check_real
from gradstab.nn._rotation_blocks import (
    check_interval,
    check_square_kernel,
    drawn_dtype,
    rotation_blocks,
)


def limit_cycle_init(
    *,
    scale: float = 1.5,
    angles: tuple[float, float] = (math.pi / 21, math.pi / 3.8),
    gain: float = 1.0,
) -> Initializer:
    r"""Makes an initializer of matrices W with a limit cycle in every plane.

    .. math:: \frac{dh}{dt} = -h + \tanh(W h), \qquad
        W = g \operatorname{diag}(\sigma R(\theta_1), \dots, \sigma R(\theta_{n/2})),
        \qquad \theta_i \sim U(\mathtt{angles})

    with the rotation R of a plane. With g = 1 a plane has eigenvalues -1 + σ exp(±iθ)
    at the origin, so that a stable cycle is born at θ = arccos(1/σ) (Hopf), where its
    period is 2π / √(σ² - 1). As θ falls the period grows, until saddles and nodes
    appear on the cycle and stop it. For σ = 1.5 the cycles live in
    π / 21.2525 < θ < π / 3.7352; the default interval lies just inside. Gradients along
    a cycle neither vanish nor explode: its phase is never forgotten.

    A GRU whose weights and biases of reset and update gate are 0 has both gates at
    1/2: with W of `gain` 2 as candidate it moves on the same cycles at half the speed.
    Flax's holds all gates in one kernel, for which `per_gate` is.

    If n is odd, the last unit is by itself, with the entry g: at the origin it neither
    grows nor decays.

    Example:
        >>> from flax import nnx
        >>> import gradstab as gs
        >>> zeros, rngs = nnx.initializers.zeros_init(), nnx.Rngs(0)
        >>> cycles = gs.nn.limit_cycle_init(gain=2.0)
        >>> flax = nnx.GRUCell(
        ...     3,
        ...     8,
        ...     recurrent_kernel_init=gs.nn.per_gate(zeros, zeros, cycles),
        ...     rngs=rngs,
        ... )
        >>> gates = {"reset": zeros, "update": zeros, "candidate": cycles}
        >>> ours = gs.nn.GRUCell(
        ...     3,
        ...     8,
        ...     **{
        ...         gate: gs.nn.Unconstrained((8, 8), matrix_init=init, rngs=rngs)
        ...         for gate, init in gates.items()
        ...     },
        ...     rngs=rngs,
        ... )

    Args:
        scale: σ, above 1 for cycles to exist.
        angles: (low, high) of θ, radians.
        gain: g, what the whole matrix is multiplied by.

    Returns:
        An initializer (key, shape, dtype) -> array of shape (..., n, n), drawn in
        float32 and cast, where the dtype is of lower precision. It is W for columns,
        h' = W h; as the kernel of a Flax layer it turns the other way round.

    Raises:
        ValueError: if a number is not finite or `angles` no interval; on a call, if the
            shape is not square or the dtype not real.

    References:
        Sokol, Jordan, Kadile & Park, "Adjoint Dynamics of Stable Limit Cycle Neural
        Networks", Asilomar 2019, whose σ and angles these are; Jordan, Sokol & Park,
        "Gated Recurrent Units Viewed Through the Lens of Continuous Time Dynamical
        Systems", Frontiers in Computational Neuroscience 15, 2021, arXiv:1906.01005.
    """
    check_real("scale", scale)
    check_real("gain", gain)
    check_interval("angles", angles)

    def init(key, shape, dtype=jnp.float32, out_sharding=None) -> Array:
        check_square_kernel(shape)
        *stack, n, _ = shape
        wide = drawn_dtype(dtype)
        size = (*stack, n // 2)
        turns = jax.random.uniform(key, size, wide, angles[0], angles[1])
        scales = jnp.full(size, gain * scale, wide)
        last = jnp.full((*stack, n % 2), gain, wide)
        return rotation_blocks(scales, turns, last).astype(dtype)

    return init
