"""The flows that several tests draw, in double precision, and their orbits."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from gradstab.dynamics import GRUODECell, periodic_orbit

SQUARE = [[-1.0, 1.0], [-1.0, 1.0]]
HOPF = math.acos(1 / 1.5)  # where the cycle of a plane is born, at σ = 1.5
# Near, by 7.8e-8, where a loop through the saddle ends the cycles of `homoclinic`; the
# periods that are expected were taken at distances from this number.
HOMOCLINIC = 0.109895630
START = (0.3, 0.1)


def rotation(angle, scale=1.0):
    cosine, sine = math.cos(angle), math.sin(angle)
    return scale * jnp.asarray([[cosine, -sine], [sine, cosine]])


def plane(angle):
    """dh/dt = -h + tanh(1.5 R(θ) h)."""
    matrix = rotation(angle, 1.5)
    return lambda h: -h + jnp.tanh(matrix @ h)


def gru(
    candidate: Any,
    *,
    bias: Any = 0.0,
    reset: Any = 0.0,
    reset_bias: Any = 0.0,
    update: Any = 0.0,
    update_bias: Any = 0.0,
):
    """A GRU without input, with its reset inside the product."""
    n = len(candidate)
    cell = GRUODECell(1, n, param_dtype=jnp.float64, rngs=nnx.Rngs(0))
    matrices = {"candidate": candidate, "reset": reset, "update": update}
    biases = {"candidate": bias, "reset": reset_bias, "update": update_bias}
    for gate, matrix in matrices.items():
        shape = (n, n)
        getattr(cell.gru, gate).assign(jnp.broadcast_to(jnp.asarray(matrix), shape))
        dense = getattr(cell.gru, f"dense_{gate}")
        dense.bias[...] = jnp.broadcast_to(jnp.asarray(biases[gate]), (n,))
    return lambda h: cell.field(h, jnp.zeros(1))


def homoclinic(delta):
    return gru(
        [[1.0, 7.6], [-3.5, 3.1]],
        bias=[0.0, -delta],
        reset=[[2.1, -0.7], [-1.3, 1.5]],
        reset_bias=[0.0, 0.6],
    )


def pseudo_line(reset_bias=-2.0):
    """Nearly at rest along h₂ = -h₁."""
    share = 1 / (1 + math.exp(-reset_bias))
    bend = share * (1 - share) * (1 - 2 * share)
    weight, gain = 1 / (2 * share), math.sqrt(2 * share / (3 * bend))
    return gru(
        [[weight, -weight], [-weight, weight]],
        reset=[[gain, 0.0], [0.0, gain]],
        reset_bias=reset_bias,
    )


@functools.cache
def orbit_of_plane(angle):
    with jax.enable_x64(True):
        # Near its birth a cycle attracts slowly.
        return periodic_orbit(plane(angle), jnp.asarray(START), settle=400.0)


@functools.cache
def orbit_of_homoclinic(distance):
    with jax.enable_x64(True):
        start = jnp.asarray([-0.0229, -0.0078])  # 0.05 from the focus
        return periodic_orbit(homoclinic(HOMOCLINIC - distance), start)


def rossler(h, c=3.5):
    """Past one doubling of the period, at c = 2.83; chaotic at c = 5.7."""
    return jnp.stack([-h[1] - h[2], h[0] + 0.2 * h[1], 0.2 + h[2] * (h[0] - c)])


@functools.cache
def orbit_of_rossler():
    with jax.enable_x64(True):
        return periodic_orbit(rossler, jnp.asarray([1.0, 1.0, 0.0]))
