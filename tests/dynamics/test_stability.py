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
    assert stability(np.asarray(eigenvalues, complex), 1e-8) == kind
