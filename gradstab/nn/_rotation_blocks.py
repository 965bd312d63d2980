"""Block-diagonal matrices of scaled plane rotations."""

import jax.numpy as jnp
from flax.typing import Dtype
from jaxtyping import Array, Float

from gradstab._checks import check_param_dtype, check_real, check_square_shape
from gradstab._precision import at_least_single


def rotation_blocks(
    scales: Float[Array, "*stack blocks"],
    angles: Float[Array, "*stack blocks"],
    last: Float[Array, "*stack odd"],
) -> Float[Array, "*stack n n"]:
    r"""Puts blocks s R(θ) and further entries on the diagonal of a matrix.

    .. math:: R(\theta) = \begin{pmatrix} \cos\theta & -\sin\theta \\
        \sin\theta & \cos\theta \end{pmatrix}

    Args:
        scales: s of each block.
        angles: θ of each block, radians.
        last: the entries that follow the blocks.

    Returns:
        The matrices, which act on columns: h' = W h turns a plane by θ.
    """
    *stack, blocks = scales.shape
    n = 2 * blocks + last.shape[-1]
    first = jnp.arange(0, 2 * blocks, 2)
    second = first + 1
    cosine, sine = scales * jnp.cos(angles), scales * jnp.sin(angles)
    matrix = jnp.zeros((*stack, n, n), scales.dtype)
    matrix = matrix.at[..., first, first].set(cosine)
    matrix = matrix.at[..., second, second].set(cosine)
    matrix = matrix.at[..., first, second].set(-sine)
    matrix = matrix.at[..., second, first].set(sine)
    rest = jnp.arange(2 * blocks, n)
    return matrix.at[..., rest, rest].set(last)


def drawn_dtype(dtype: Dtype) -> jnp.dtype:
    """The dtype that a matrix of some dtype is drawn in: float32 at least.

    Args:
        dtype: of the matrix.

    Returns:
        The dtype.

    Raises:
        ValueError: if `dtype` is not real, or double precision while JAX truncates it.
    """
    check_param_dtype(dtype, real=True)
    return at_least_single(dtype)


def check_square_kernel(shape: tuple[int, ...]) -> None:
    """Checks that an initializer is asked for square matrices.

    Args:
        shape: its argument `shape`.

    Raises:
        ValueError: if the last two sizes differ, or there are none.
    """
    check_square_shape("shape", tuple(shape), "`per_gate` with an initializer a block")


def check_interval(name: str, interval: tuple[float, float]) -> None:
    """Checks that an argument is an interval of finite numbers.

    Args:
        name: the argument, as the caller knows it.
        interval: its value.

    Raises:
        ValueError: if it is no pair (low, high) with low <= high.
    """
    if not isinstance(interval, tuple | list) or len(interval) != 2:
        raise ValueError(f"`{name}` must be a pair (low, high), got {interval!r}.")
    for end in interval:
        check_real(name, end)
    if interval[0] > interval[1]:
        raise ValueError(f"`{name}` must have low <= high, got {interval!r}.")
