import jax.numpy as jnp
import numpy as np
import pytest

from gradstab import linalg
from gradstab.linalg._largest import largest_modulus
from tests.helpers import random_matrix


@pytest.mark.parametrize("n", [3, 70])
def test_the_largest_modulus_keeps_what_is_not_finite(n):
    x = random_matrix(0, (n, n), "float32")
    assert largest_modulus(x) == np.max(np.abs(x))
    z = random_matrix(1, (n, n), "complex64")
    np.testing.assert_allclose(largest_modulus(z), np.max(np.abs(z)), rtol=1e-6)
    assert np.isnan(largest_modulus(x.at[n - 1, 1].set(jnp.nan)))
    assert np.isinf(largest_modulus(x.at[0, 2].set(-jnp.inf)))
    assert largest_modulus(jnp.zeros((0, 3))) == 0


@pytest.mark.parametrize("value", [jnp.nan, jnp.inf])
@pytest.mark.parametrize(
    "function",
    [
        lambda x: linalg.clip_singular_values(x, maximum=0.5),
        linalg.polar,
        linalg.spectral_radius,
        linalg.spectral_norm,
        lambda x: linalg.cayley(linalg.skew(x)),
        lambda x: linalg.expm_skew(linalg.skew(x)),
    ],
)
def test_large_matrices_that_are_not_finite_give_nan_throughout(function, value):
    x = random_matrix(0, (70, 70), "float32").at[5, 3].set(value)
    assert not np.any(np.isfinite(function(x)))
