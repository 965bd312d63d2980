"""The singular values of a convolution with circular padding."""

import math
from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Complex, Float, Inexact

from gradstab._checks import check_map_dtype, check_sizes
from gradstab.linalg._polar import normalize


def conv_singular_values(
    kernel: Inexact[Array, "*positions in out"],
    image_shape: Sequence[int],
    *,
    strides: int | Sequence[int] = 1,
) -> Float[Array, " count"]:
    r"""Returns every singular value of a circular convolution on images of one shape.

    .. math:: y_p = \sum_q x_{s p + q \bmod n} K_q, \qquad
        \sigma(C) = \bigcup_\theta \sigma(A_\theta), \qquad
        A_\theta = \sum_q e^{-i \theta \cdot q} K_q

    with θ the frequencies 2πf/n, f = 0, ..., n - 1 along each axis. That is what
    `nnx.Conv` with `padding="CIRCULAR"` and the convolutions of XLA compute: a cross-
    correlation, of which a true convolution has the same singular values. With strides
    s, K is first written as the kernel of ceil(k/s) positions and sᵈ·in inputs that
    acts on the sᵈ interleaved parts of the image. Kernels may be larger than the image.

    A Fourier transform of the kernel, at one of each pair of opposite frequencies if it
    is real, and one SVD a frequency: O(n₁...n_d in out min(in, out)) without strides.
    The gradient is finite where singular values repeat or vanish; at 0 it is one
    element of the subdifferential.

    Args:
        kernel: K, of shape (*positions, in, out) as in Flax, with one axis of positions
            for each of the image.
        image_shape: the image's pixels n along each axis.
        strides: s, for all axes or for each; they divide `image_shape`.

    Returns:
        The n₁...n_d/(s₁...s_d) · min(s₁...s_d in, out) singular values, descending, in
        the real dtype of `kernel`. NaN throughout if K is not finite.

    Raises:
        ValueError: if `kernel` has no axis of positions, an empty one, or a dtype below
            single precision, or if the others are no integers >= 1 for each axis of
            positions that divide each other.

    References:
        Sedghi, Gupta & Long, "The Singular Values of Convolutional Layers", ICLR 2019,
        arXiv:1805.10408, whose result is for strides of 1.
    """
    axes = check_kernel("kernel", kernel)
    strides = check_sizes("strides", strides, axes)
    image_shape = check_sizes("image_shape", image_shape, axes)
    if any(n % s for n, s in zip(image_shape, strides, strict=True)):
        raise ValueError(
            f"`strides` must divide `image_shape`, got {strides} and {image_shape}."
        )
    return _singular_values(kernel, image_shape, strides)


@partial(jax.jit, static_argnums=(1, 2))
def _singular_values(
    kernel: Array, image_shape: tuple[int, ...], strides: tuple[int, ...]
) -> Array:
    sizes = tuple(n // s for n, s in zip(image_shape, strides, strict=True))
    scaled, scale = normalize(polyphase(kernel, strides))
    symbols = conv_symbols(scaled, sizes)
    # Some decompositions never return from NaN.
    values = jnp.linalg.svd(jnp.nan_to_num(symbols), compute_uv=False)
    if not jnp.iscomplexobj(kernel):
        # The frequencies that were left out are opposite to some of the last axis.
        opposite = values[..., 1 : (sizes[-1] + 1) // 2, :]
        values = jnp.concatenate([values, opposite], axis=-2)
    return scale * jnp.sort(values.reshape(-1), descending=True)


def polyphase(
    kernel: Inexact[Array, "*positions in out"], strides: tuple[int, ...]
) -> Inexact[Array, "*blocks phases out"]:
    """Writes a strided kernel as one of stride 1 on the interleaved parts of an image.

    Args:
        kernel: of shape (*positions, in, out).
        strides: s of each axis.

    Returns:
        The kernel, of shape (*ceil(positions/s), s₁...s_d in, out).
    """
    axes = len(strides)
    blocks = [-(-k // s) for k, s in zip(kernel.shape, strides, strict=False)]
    missing = [
        (0, b * s - k)
        for b, s, k in zip(blocks, strides, kernel.shape[:axes], strict=True)
    ]
    kernel = jnp.pad(kernel, [*missing, (0, 0), (0, 0)])
    split = [size for pair in zip(blocks, strides, strict=True) for size in pair]
    kernel = kernel.reshape(*split, *kernel.shape[axes:])
    order = [*range(0, 2 * axes, 2), *range(1, 2 * axes, 2), 2 * axes, 2 * axes + 1]
    kernel = kernel.transpose(order)
    phases = math.prod(strides) * kernel.shape[-2]
    return kernel.reshape(*blocks, phases, kernel.shape[-1])


def conv_symbols(
    kernel: Inexact[Array, "*positions in out"], sizes: tuple[int, ...]
) -> Complex[Array, "*frequencies in out"]:
    """Evaluates the Fourier transform of a kernel at equispaced frequencies.

    Args:
        kernel: of shape (*positions, in, out).
        sizes: number of frequencies n of each axis.

    Returns:
        The matrices A at 2πf/n. For a real kernel the last axis goes up to f = n // 2:
        the others are complex conjugates.
    """
    dtype = f"complex{2 * jnp.finfo(kernel.dtype).bits}"
    is_real = not jnp.iscomplexobj(kernel)
    symbols = kernel.astype(dtype)
    # A kernel is small: sums over its positions need no fast transform, which XLA
    # limits to three axes and which would have to fold a kernel larger than the image.
    for place, n in enumerate(sizes):
        is_half = is_real and place == len(sizes) - 1
        frequencies = np.arange(n // 2 + 1 if is_half else n)
        turns = np.outer(frequencies, np.arange(kernel.shape[place])) % n / n
        phases = jnp.asarray(np.exp(-2j * np.pi * turns), dtype)
        symbols = jnp.tensordot(
            symbols, phases, axes=(0, 1), precision=lax.Precision.HIGHEST
        )
    return jnp.moveaxis(symbols, (0, 1), (-2, -1))


def check_kernel(name: str, kernel: Array) -> int:
    """Checks that an argument is the kernel of a convolution; counts its axes.

    Args:
        name: the argument, as the caller knows it.
        kernel: its value.

    Returns:
        The number of its axes of positions.

    Raises:
        ValueError: if there is none or one that is empty, or if the dtype is none of
            single or double precision.
    """
    if kernel.ndim < 3 or 0 in kernel.shape:
        raise ValueError(
            f"`{name}` must have shape (*positions, in, out) with at least one axis of "
            f"positions and no size of 0, got {kernel.shape}."
        )
    check_map_dtype(name, kernel)
    return kernel.ndim - 2
