"""The maps as a textbook has them, in plain JAX, and arguments to try them on."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

Square = Float[Array, "n n"]


def gaussian(n: int, key: Array) -> tuple[Square]:
    """Draws a matrix whose singular values fill [0, 2]."""
    return (jax.random.normal(key, (n, n)) / jnp.sqrt(n),)


def two_gaussians(n: int, key: Array) -> tuple[Square, Square]:
    """Draws two such matrices."""
    left, right = jax.random.split(key)
    return *gaussian(n, left), *gaussian(n, right)


def skew(n: int, key: Array, scale: float = 1.0) -> tuple[Square]:
    """Draws a skew-symmetric matrix of spectral norm about 2.8, times the scale."""
    upper = scale * jnp.triu(*gaussian(n, key))
    return (upper - upper.mT,)


def reflectors(
    n: int, key: Array, count: int | None = None
) -> tuple[Float[Array, "n k"]]:
    """Draws reflectors in LAPACK's lower-trapezoidal form, n unless told."""
    return ((jnp.tril(*gaussian(n, key), -1) + jnp.eye(n))[:, :count],)


def factors(draw: Callable[..., tuple[Array]]) -> Callable[..., tuple[Array, ...]]:
    """Turns a draw of reflectors into one of a whole singular value decomposition."""

    def inputs(n: int, key: Array) -> tuple[Array, ...]:
        left, right = jax.random.split(key)
        return *draw(n, left), jnp.linspace(0.9, 1.1, n), *draw(n, right)

    return inputs


def scan_reflectors(vectors: Float[Array, "n k"]) -> Square:
    """Multiplies the reflectors into the identity one by one."""

    def reflect(product: Square, vector: Array) -> tuple[Square, None]:
        scale = 2 / jnp.dot(vector, vector)
        return product - scale * jnp.outer(product @ vector, vector), None

    return lax.scan(reflect, jnp.eye(vectors.shape[0]), vectors.mT)[0]


def scan_svd(left: Array, values: Array, right: Array) -> Square:
    """Builds both factors reflector by reflector."""
    return (scan_reflectors(left) * values) @ scan_reflectors(right).mT


def solve_cayley(skew: Square) -> Square:
    """Solves for the Cayley transform."""
    identity = jnp.eye(skew.shape[0])
    return jnp.linalg.solve(identity + skew, identity - skew)


def clip_by_svd(matrix: Square) -> Square:
    """Clips singular values between the factors of a decomposition."""
    left, values, right = jnp.linalg.svd(matrix)
    return (left * jnp.minimum(values, 1.0)) @ right


def polar_by_svd(matrix: Square) -> Square:
    """Drops the singular values of a decomposition."""
    left, _, right = jnp.linalg.svd(matrix)
    return left @ right


def radius_by_eigvals(matrix: Square) -> Float[Array, ""]:
    """Computes every eigenvalue for the sake of the largest."""
    return jnp.max(jnp.abs(jnp.linalg.eigvals(matrix)))
