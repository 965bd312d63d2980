"""Recurrent matrices that start a discrete-time network on a torus."""

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


def torus_init(
    *,
    scales: tuple[float, float] = (1 + 0.04 * math.pi, 1 + 0.08 * math.pi),
    angles: tuple[float, float] = (0.2 * math.pi, 0.4 * math.pi),
    gain: float = 1.0,
) -> Initializer:
    r"""Makes an initializer of matrices whose tanh network circles in every plane.

    .. math:: h' = \tanh(W h), \qquad
        W = g \operatorname{diag}(s_1 R(\pm\theta_1), \dots), \qquad
        s_i \sim U(\mathtt{scales}), \quad \theta_i \sim U(\mathtt{angles})

    with the rotation R of a plane, and either sense of it with probability 1/2. This is
    the companion in discrete time of `limit_cycle_init`. With g = 1 a plane has
    multipliers s exp(±iθ) at the origin; just above s = 1 it leaves for a closed curve
    about it (Neimark-Sacker), on which it turns by nearly θ a step. The planes together
    fill a torus of n/2 angles, none of which is forgotten: quasi-periodic motion, but
    for angles so near a simple fraction of 2π that the curve breaks into a cycle of
    that many points, to which the phase is drawn. Small s - 1 makes these rare.

    A GRU whose weights and biases of reset and update gate are 0 has both gates at
    1/2, and as its step the mean of h and tanh(W h / 2). At the origin a plane then has
    multipliers of modulus |1 + κ exp(iθ)| / 2, κ = g s / 2, which is above 1 where
    κ² + 2 κ cos θ > 3. A `gain` of 2, which makes up for the gate, does not reach that
    in most planes; 2.6 does in all of the default intervals.

    If n is odd, the last unit is by itself, with the entry g: at the origin it neither
    grows nor decays.

    Args:
        scales: (low, high) of s; above 1 for curves to exist.
        angles: (low, high) of θ, radians a step.
        gain: g, what the whole matrix is multiplied by.

    Returns:
        An initializer (key, shape, dtype) -> array of shape (..., n, n), drawn in
        float32 and cast, where the dtype is of lower precision. It is W for columns; as
        the kernel of a Flax layer it turns the other way round.

    Raises:
        ValueError: if a number is not finite or an interval is none; on a call, if the
            shape is not square or the dtype not real.

    References:
        Park, Ságodi & Sokół, "Persistent learning signals and working memory without
        continuous attractors", 2023, arXiv:2308.12585. The authors' code draws s as
        1 + 0.2 v with v in the interval of the angles, which is the default here, and
        means to flip the senses at random but does not.
    """
    check_real("gain", gain)
    check_interval("scales", scales)
    check_interval("angles", angles)

    def init(key, shape, dtype=jnp.float32, out_sharding=None) -> Array:
        check_square_kernel(shape)
        *stack, n, _ = shape
        wide = drawn_dtype(dtype)
        size = (*stack, n // 2)
        by_scale, by_angle, by_sense = jax.random.split(key, 3)
        drawn = jax.random.uniform(by_scale, size, wide, scales[0], scales[1])
        turns = jax.random.uniform(by_angle, size, wide, angles[0], angles[1])
        turns *= jax.random.rademacher(by_sense, size, wide)
        last = jnp.full((*stack, n % 2), gain, wide)
        return rotation_blocks(gain * drawn, turns, last).astype(dtype)

    return init
