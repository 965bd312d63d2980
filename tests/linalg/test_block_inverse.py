import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradstab.linalg._block_inverse import block_inverse
from tests.helpers import random_matrix


def accretive(n, dtype):
    """Draws M with M + Mᴴ >= 2 I, and not merely I plus a skew matrix."""
    a, b = random_matrix(0, (n, n), dtype), random_matrix(1, (n, n), dtype)
    skew = (a - a.mT.conj()) / n**0.5
    return jnp.eye(n, dtype=dtype) + skew + b @ b.mT.conj() / n


# Sizes around the leaf of 32 and around odd halves.
@pytest.mark.parametrize("n", [1, 2, 3, 32, 33, 67])
def test_matches_numpy(n, any_dtype):
    m = accretive(n, any_dtype)
    inverse = block_inverse(m)
    assert inverse.dtype == any_dtype
    expected = np.linalg.inv(np.asarray(m, np.complex128))
    eps = float(jnp.finfo(any_dtype).eps)
    np.testing.assert_allclose(inverse, expected, atol=50 * eps)


def test_identity_is_exact():
    np.testing.assert_array_equal(block_inverse(jnp.eye(40)), jnp.eye(40))


def test_has_no_factorization():
    jaxpr = str(jax.make_jaxpr(block_inverse)(jnp.eye(40)))
    assert not any(name in jaxpr for name in ("lu", "triangular_solve", "cholesky"))
