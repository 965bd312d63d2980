"""Gratings of eight orientations, each a class, in noise."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

CLASSES = 8
SIDE = 12
Batch = tuple[Float[Array, "batch side side 1"], Int[Array, " batch"]]


def gratings(key: Array, count: int, noise: float) -> Batch:
    """Draws gratings of a period of four pixels, of random phase, in noise.

    Args:
        key: a random key.
        count: how many.
        noise: its standard deviation.

    Returns:
        The images and the numbers of their orientations.
    """
    keys = jax.random.split(key, 3)
    labels = jax.random.randint(keys[0], (count,), 0, CLASSES)
    phases = jax.random.uniform(keys[1], (count, 1, 1), maxval=2 * jnp.pi)
    angles = (jnp.pi / CLASSES * labels)[:, None, None]
    rows, columns = (x[None] for x in jnp.mgrid[:SIDE, :SIDE] * jnp.pi / 2)
    waves = jnp.sin(rows * jnp.sin(angles) + columns * jnp.cos(angles) + phases)
    spots = noise * jax.random.normal(keys[2], waves.shape)
    return (waves + spots)[..., None], labels
