"""The nearest matrix with orthonormal columns or rows, quickly from nearby."""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Inexact

from gradstab import linalg
from gradstab.optim._matrices import gram_defect, matmul

NEAR = 0.5  # of ‖WᴴW - I‖_F, from where the iteration converges in six steps


# Outside of `jax.jit` the conditions would be compiled at every call.
@jax.jit
def nearest_orthonormal(matrix: Inexact[Array, "n m"]) -> Inexact[Array, "n m"]:
    r"""Computes the polar factor: by products of matrices if the matrix is near it.

    .. math:: X \leftarrow X + \tfrac12 X (I - X^H X)

    whose defect E = I - XᴴX becomes 3/4 E² + 1/4 E³ in a step; the singular value
    decomposition where ‖E‖_F is 0.5 or more. Under `jax.vmap` both are computed.

    Args:
        matrix: in float32 at least.

    Returns:
        The factor; NaN throughout if the matrix is not finite.
    """
    if matrix.shape[0] < matrix.shape[1]:
        return nearest_orthonormal(matrix.mT.conj()).mT.conj()
    eps = jnp.finfo(matrix.dtype).eps

    def improve(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        iterate, defect, _ = state
        better = iterate - matmul(iterate, defect) / 2
        # The square of the defect before is of the order of the defect after.
        return better, gram_defect(better), jnp.linalg.norm(defect) ** 2

    def iterate() -> Array:
        # Under `jax.vmap` far matrices come here too, where they need not converge.
        near = jnp.where(is_near, matrix, jnp.eye(*matrix.shape, dtype=matrix.dtype))
        start = (near, jnp.where(is_near, defect, 0), jnp.ones((), eps.dtype))
        return lax.while_loop(lambda state: state[2] > eps, improve, start)[0]

    defect = gram_defect(matrix)
    is_near = jnp.linalg.norm(defect) < NEAR
    return lax.cond(is_near, iterate, lambda: linalg.polar(matrix))
