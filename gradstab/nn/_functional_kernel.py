"""The kernel whose features are the codes of a proximal block."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gradstab.nn._materialize import materialize
from gradstab.nn._proximal_block import ProximalBlock


def functional_kernel(
    block: ProximalBlock,
    inputs: Float[Array, "n in"],
    others: Float[Array, "m in"],
) -> Float[Array, "n m"]:
    r"""Computes the neural optimization kernel of two batches.

    .. math:: k(x, x') = \langle f_T(\cdot\,; x), f_T(\cdot\,; x') \rangle
        \approx y_T(x)^T y_T(x')

    On the left are functionals of w ~ N(0, I), reached by T steps of proximal gradient
    descent from 0 on ½‖x - E[w f(w)]‖² + E[φ(f(w))]. The block stands for N samples of
    w, the columns of √N A, on which f takes the values √N y: for maps with
    h(c z) = c h(z), c > 0, such as the ReLU, the product of codes is the mean over
    the samples. It is a kernel for every N: symmetric and positive semidefinite.
    With T = 1 and the ReLU it tends, for many columns of uniform direction, to
    ‖x‖ ‖x'‖ (sin θ + (π - θ) cos θ) / (2π), half the arc-cosine kernel of order 1,
    with θ the angle between x and x'.

    Args:
        block: it computes the codes.
        inputs: rows x.
        others: rows x'.

    Returns:
        k of each pair. O((n + m) of the block + n m N).

    Raises:
        ValueError: if `inputs` or `others` have another shape.

    References:
        Lyu & Tsang, 2021, arXiv:2106.06097; see `ProximalBlock`. The scaling is derived
        here.
        Cho & Saul, "Kernel Methods for Deep Learning", NeurIPS 2009.
    """
    for name, rows in (("inputs", inputs), ("others", others)):
        if rows.ndim != 2:
            raise ValueError(
                f"`{name}` must have shape (n, {block.in_features}), got {rows.shape}."
            )
    built = materialize(block)
    return jnp.matmul(
        built(inputs), built(others).mT, precision=jax.lax.Precision.HIGHEST
    )
