"""Checks of static facts about arguments: shapes, dtypes and ranges."""

import math
import operator
from collections.abc import Hashable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax.typing import Dtype
from jaxtyping import Array

_MAP_DTYPES = ("float32", "float64", "complex64", "complex128")


def check_matrix(name: str, x: Array) -> None:
    """Checks that an argument is one matrix of a dtype that the maps compute in.

    Args:
        name: the argument, as the caller knows it.
        x: its value.

    Raises:
        ValueError: if `x` is not one matrix of single or double precision.
    """
    if x.ndim != 2:
        raise ValueError(
            f"`{name}` must have shape (n, m), got {x.shape}; "
            "use `jax.vmap` for a stack of matrices."
        )
    check_map_dtype(name, x)


def check_hashable_function(name: str, function: object) -> None:
    """Checks that an argument can be called and compiled once for all calls.

    Args:
        name: the argument, as the caller knows it.
        function: its value.

    Raises:
        ValueError: if it cannot be called, or has no hash.
    """
    if not callable(function) or not isinstance(function, Hashable):
        raise ValueError(
            f"`{name}` must be a function or a hashable callable, got "
            f"{type(function).__name__}."
        )


def check_real_scalar(name: str, value: object) -> None:
    """Checks what a function returned that is to be differentiated.

    Args:
        name: the function, as the caller knows it.
        value: what it returned.

    Raises:
        ValueError: if that is not one real floating-point number.
    """
    if not isinstance(value, Array | np.ndarray | np.generic | float):
        raise ValueError(
            f"`{name}` must return a real scalar, got {type(value).__name__}."
        )
    shape, dtype = jnp.shape(value), jnp.result_type(value)
    if shape or not jnp.issubdtype(dtype, jnp.floating):
        raise ValueError(
            f"`{name}` must return a real scalar, got shape {shape} and dtype "
            f"{dtype.name}."
        )


def check_square(name: str, x: Array) -> None:
    """Checks that an argument is one square matrix of single or double precision.

    Args:
        name: the argument, as the caller knows it.
        x: its value.

    Raises:
        ValueError: if `x` is not one such matrix.
    """
    if x.ndim != 2 or x.shape[0] != x.shape[1]:
        hint = "; use `jax.vmap` for a stack of matrices" if x.ndim > 2 else ""
        raise ValueError(f"`{name}` must have shape (n, n), got {x.shape}{hint}.")
    check_map_dtype(name, x)


def check_map_dtype(name: str, x: Array) -> None:
    """Checks that an array has a dtype that the matrix maps compute in.

    Args:
        name: the argument, as the caller knows it.
        x: its value.

    Raises:
        ValueError: for integers and for precisions below float32.
    """
    if x.dtype.name not in _MAP_DTYPES:
        raise ValueError(
            f"`{name}` must have dtype {', '.join(_MAP_DTYPES[:-1])} or "
            f"{_MAP_DTYPES[-1]}, got {x.dtype.name}; "
            "build the matrix in float32 and cast it afterwards."
        )


def check_shape(name: str, shape: tuple[int, ...]) -> None:
    """Checks that an argument is the shape of a matrix or of a stack of matrices.

    Args:
        name: the argument, as the caller knows it.
        shape: its value.

    Raises:
        ValueError: if `shape` is not a tuple of two or more sizes.
    """
    if not isinstance(shape, tuple) or len(shape) < 2:
        raise ValueError(
            f"`{name}` must be a tuple (..., rows, columns) of at least 2 dimensions, "
            f"got {shape!r}."
        )
    for size in shape:
        if not is_integer(size) or size < 0:
            raise ValueError(f"`{name}` must hold sizes >= 0, got {shape!r}.")


def check_square_shape(name: str, shape: tuple[int, ...], alternative: str) -> None:
    """Checks that an argument is the shape of a square matrix or a stack of them.

    Args:
        name: the argument, as the caller knows it.
        shape: its value.
        alternative: what to use for a rectangle.

    Raises:
        ValueError: if the last two sizes of `shape` differ.
    """
    check_shape(name, shape)
    if shape[-2] != shape[-1]:
        raise ValueError(
            f"`{name}` must be square, got {shape[-2]} rows and {shape[-1]} columns; "
            f"use {alternative} for a rectangle."
        )


def check_param_dtype(dtype: Dtype, *, real: bool = False) -> None:
    """Checks that an argument `param_dtype` is a dtype that parameters can have.

    Args:
        dtype: its value.
        real: whether complex dtypes are refused.

    Raises:
        ValueError: for integers, for complex numbers in a real set, and for double
            precision while JAX truncates it.
    """
    wanted = jnp.dtype(dtype)
    if not jnp.issubdtype(wanted, jnp.inexact):
        raise ValueError(
            f"`param_dtype` must be a floating-point dtype, got {wanted.name}."
        )
    if real and jnp.issubdtype(wanted, jnp.complexfloating):
        raise ValueError(f"`param_dtype` must be real here, got {wanted.name}.")
    if jax.dtypes.canonicalize_dtype(wanted) != wanted:
        raise ValueError(
            f"`param_dtype` {wanted.name} needs double precision: call "
            '`jax.config.update("jax_enable_x64", True)` first.'
        )


def check_integer(name: str, value: int, low: int = 0, high: int | None = None) -> None:
    """Checks that an argument is an integer in a closed range.

    Args:
        name: the argument, as the caller knows it.
        value: its value.
        low: smallest value accepted.
        high: largest value accepted; None for no limit.

    Raises:
        ValueError: if `value` is no integer or lies outside the range.
    """
    if not is_integer(value) or value < low or (high is not None and value > high):
        limit = f">= {low}" if high is None else f"in [{low}, {high}]"
        raise ValueError(f"`{name}` must be an integer {limit}, got {value!r}.")


def check_kernel_size(kernel_size: Sequence[int]) -> None:
    """Checks that an argument `kernel_size` has a number of positions for each axis.

    Args:
        kernel_size: its value.

    Raises:
        ValueError: if it is no tuple or list of integers >= 1, at least one.
    """
    if not isinstance(kernel_size, tuple | list) or not kernel_size:
        raise ValueError(
            "`kernel_size` must be a tuple with a number for each spatial axis, such "
            f"as (3, 3), got {kernel_size!r}."
        )
    for size in kernel_size:
        check_integer("kernel_size", size, 1)


def check_sizes(name: str, sizes: int | Sequence[int], axes: int) -> tuple[int, ...]:
    """Checks that an argument has an integer >= 1 for each axis, or one for all.

    Args:
        name: the argument, as the caller knows it.
        sizes: its value.
        axes: how many axes there are.

    Returns:
        A tuple with one for each.

    Raises:
        ValueError: if `sizes` has another length, or is or holds no such integer.
    """
    for_each = tuple(sizes) if isinstance(sizes, Sequence) else (sizes,) * axes
    if len(for_each) != axes:
        raise ValueError(
            f"`{name}` must have {axes} sizes, one for each axis, got {sizes!r}."
        )
    for size in for_each:
        check_integer(name, size, 1)
    return for_each


def check_real(
    name: str, value: float, low: float = -math.inf, high: float = math.inf
) -> None:
    """Checks that an argument is a finite real number in a closed range.

    Args:
        name: the argument, as the caller knows it.
        value: its value.
        low: smallest value accepted.
        high: largest value accepted.

    Raises:
        ValueError: if `value` is not finite or lies outside the range.
    """
    try:
        is_fit = math.isfinite(value) and low <= value <= high
    except TypeError:
        is_fit = False
    if not is_fit:
        raise ValueError(
            f"`{name}` must be a finite number in [{low}, {high}], got {value!r}."
        )


def check_positive(name: str, value: float) -> None:
    """Checks that an argument is a finite number above 0.

    Args:
        name: the argument, as the caller knows it.
        value: its value.

    Raises:
        ValueError: if it is none.
    """
    check_real(name, value, 0.0)
    if value == 0:
        raise ValueError(f"`{name}` must be above 0, got {value!r}.")


def is_integer(value: object) -> bool:
    """Tells whether a value is an integer and not a bool."""
    if isinstance(value, bool):
        return False
    try:
        operator.index(value)  # pyright: ignore[reportArgumentType]
    except TypeError:
        return False
    return True
