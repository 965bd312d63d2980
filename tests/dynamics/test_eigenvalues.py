import numpy as np
import pytest

from gradstab.dynamics._eigenvalues import eigenvalues_and_errors


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_slow_unit_beside_a_fast_one_keeps_its_digits(dtype):
    values, errors = eigenvalues_and_errors(np.diag([-1e4, 1]).astype(dtype))
    np.testing.assert_array_equal(values, [1, -1e4])
    eps = np.finfo(dtype).eps
    assert 9 * eps < errors[0] < 11 * eps + 1.1e4 * np.finfo(np.float64).eps
    assert errors[1] > 9e4 * eps


@pytest.mark.parametrize("coupling", [0.0, 1.0, 1e3])
def test_errors_bound_what_rounding_does(coupling):
    matrix = np.asarray([[-1.0, coupling], [1e-4, 0.5]])
    exact, _ = eigenvalues_and_errors(matrix)
    rounded, errors = eigenvalues_and_errors(matrix.astype(np.float32))
    assert np.all(np.abs(rounded - exact) <= errors)
    assert np.all(errors < 1e-5 * (1 + coupling**0.5))


def test_a_defective_eigenvalue_has_a_finite_error():
    values, errors = eigenvalues_and_errors(np.asarray([[-1.0, 1.0], [0.0, -1.0]]))
    assert np.all(np.abs(values + 1) <= errors)
    assert np.all(errors < 1e-7)


def test_eigenvalues_fall():
    matrix = np.asarray([[0.0, -2.0, 0.0], [2.0, 0.0, 0.0], [0.0, 0.0, 3.0]])
    values, _ = eigenvalues_and_errors(matrix)
    np.testing.assert_allclose(values, [3, 2j, -2j], atol=1e-12)
