import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gradstab as gs
from tests.helpers import random_matrix


def random_unitary(seed, n, dtype):
    q, _ = np.linalg.qr(np.asarray(random_matrix(seed, (n, n), dtype)))
    return q


def hard_matrices(n, dtype):
    """Stacks matrices with zero and negative pivots between general ones."""
    identity = np.eye(n)
    flip = identity.copy()
    flip[0, 0] = -1
    return jnp.asarray(
        np.stack([
            identity,
            -identity,
            flip,
            identity[::-1],
            np.roll(identity, 1, axis=0),
            random_unitary(0, n, dtype),
            random_unitary(1, n, dtype) @ flip,
        ]),
        dtype,
    )


def round_trip(q):
    vectors, signs = gs.linalg.householder_vectors(q)
    rebuilt = gs.linalg.householder_product(vectors, signs, columns=q.shape[1])
    return vectors, signs, rebuilt


def assert_round_trip(n, p, dtype):
    stack = hard_matrices(n, dtype)[:, :, :p]
    vectors, signs, rebuilt = jax.jit(jax.vmap(round_trip))(stack)
    assert vectors.dtype == signs.dtype == dtype
    atol = 20 * float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(rebuilt, stack, rtol=0, atol=atol)
    np.testing.assert_array_equal(vectors, np.tril(vectors))
    np.testing.assert_allclose(np.abs(signs), np.ones((7, p)), rtol=0, atol=atol)
    lengths = np.linalg.norm(vectors[:, :, : n - 1], axis=1)
    assert np.all(lengths > 1.4)
    assert np.all(lengths < 2.1)
    np.testing.assert_array_equal(vectors[:, :, n - 1 :], 0)
    if not jnp.iscomplexobj(signs):
        np.testing.assert_array_equal(np.abs(signs), np.ones((7, p)))


def test_round_trip_in_every_dtype(any_dtype):
    assert_round_trip(7, 7, any_dtype)


@pytest.mark.parametrize(("n", "p"), [(1, 1), (7, 3)])
def test_round_trip_of_thin_matrices(n, p):
    assert_round_trip(n, p, jnp.complex64)


def test_phases_of_a_diagonal():
    phases = jnp.exp(jnp.array([0.3j, -2j, 1j], jnp.complex64))
    _, signs, rebuilt = round_trip(jnp.diag(phases))
    expected = np.asarray(phases) * np.array([-1, -1, 1])
    np.testing.assert_allclose(signs, expected, rtol=0, atol=1e-6)
    np.testing.assert_allclose(rebuilt, jnp.diag(phases), rtol=0, atol=1e-6)


@pytest.mark.parametrize("n", [0, 1, 70])
def test_round_trip_of_other_sizes(n):
    q = jnp.asarray(random_unitary(n, n, jnp.float32))
    rebuilt = round_trip(q)[2]
    np.testing.assert_allclose(rebuilt, q, rtol=0, atol=1e-5)


@pytest.mark.parametrize("reflectors", [0, 2, 4])
def test_few_reflectors_leave_the_rest_to_the_signs(reflectors, any_dtype):
    q = jnp.diag(jnp.asarray([1, -1, -1, 1], any_dtype))
    vectors, signs = gs.linalg.householder_vectors(q, reflectors=reflectors)
    np.testing.assert_array_equal(vectors[:, reflectors:], 0)
    rebuilt = gs.linalg.householder_product(vectors[:, :reflectors], signs)
    atol = 20 * float(jnp.finfo(any_dtype).eps)
    np.testing.assert_allclose(rebuilt, q, rtol=0, atol=atol)


def test_no_columns():
    vectors, signs = gs.linalg.householder_vectors(jnp.zeros((3, 0)))
    assert vectors.shape == (3, 0)
    assert signs.shape == (0,)


def test_other_matrices_give_their_qr_factor():
    matrix = np.asarray(random_matrix(0, (6, 4), jnp.float32))
    expected, upper = np.linalg.qr(matrix)
    expected = expected * np.sign(np.diag(upper))
    rebuilt = round_trip(jnp.asarray(matrix))[2]
    np.testing.assert_allclose(rebuilt, expected, rtol=0, atol=1e-5)


def test_zero_matrix_gives_an_orthonormal_one():
    rebuilt = round_trip(jnp.zeros((4, 4)))[2]
    np.testing.assert_allclose(rebuilt.mT @ rebuilt, jnp.eye(4), atol=1e-6)


def test_nan_stays_nan():
    q = jnp.eye(4).at[2, 1].set(jnp.nan)
    assert jnp.any(jnp.isnan(round_trip(q)[2]))


@pytest.mark.error_text
def test_rejects_wide_matrices():
    message = (
        r"`q` must have at most as many columns \(reflectors\) as rows, "
        r"got shape \(2, 3\)\."
    )
    with pytest.raises(ValueError, match=message):
        gs.linalg.householder_vectors(jnp.ones((2, 3)))


@pytest.mark.error_text
def test_rejects_more_reflectors_than_columns():
    with pytest.raises(ValueError, match=r"`reflectors` must be .* \[0, 2\], got 3"):
        gs.linalg.householder_vectors(jnp.eye(3, 2), reflectors=3)
