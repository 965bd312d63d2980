import jax.numpy as jnp
import numpy as np

from gradstab.linalg._probe import sign_vectors


def test_are_fixed_signs(any_dtype):
    vectors = sign_vectors(17, any_dtype)
    assert vectors.dtype == any_dtype
    assert vectors.shape == (17, 8)
    np.testing.assert_array_equal(jnp.abs(vectors), 1)
    np.testing.assert_array_equal(vectors, sign_vectors(17, any_dtype))


def test_are_linearly_independent():
    assert np.linalg.matrix_rank(sign_vectors(17, jnp.float32)) == 8
