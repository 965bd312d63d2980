import numpy as np
import pytest

from gradstab.dynamics._stability import stability


@pytest.mark.parametrize(
    ("eigenvalues", "kind"),
    [
        ([-1, -2], "stable node"),
        ([-1 + 1j, -1 - 1j], "stable focus"),
        ([-1, -2 + 1j, -2 - 1j], "stable focus"),
        ([1e-3, -5], "saddle"),
        ([1, 2], "unstable node"),
        ([1 + 1j, 1 - 1j], "unstable focus"),
        ([1 + 1j, 1 - 1j, -1], "saddle"),
        ([1j, -1j], "center"),
        ([1j, -1j, -1], "degenerate"),
        ([0, -1], "degenerate"),
        ([1e-9, -1], "degenerate"),
        ([0, 0], "degenerate"),
        ([-2], "stable node"),
    ],
)
def test_every_kind(eigenvalues, kind):
    errors = np.full(len(eigenvalues), 1e-8)
    assert stability(np.asarray(eigenvalues, complex), errors) == kind


def test_each_eigenvalue_has_its_own_error():
    values = np.asarray([1e-3, -1e4], complex)
    assert stability(values, np.asarray([1e-6, 10.0])) == "saddle"
    assert stability(values, np.asarray([1e-2, 10.0])) == "degenerate"
