"""Where the matrices of a model are."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import gradstab as gs
from gradstab.diagnostics import constraint_report

KINDS = {
    "cayley": (gs.nn.Cayley, {}),
    "householder": (gs.nn.Householder, {}),
    "svd": (gs.nn.SVD, {"center": 1.0, "radius": 0.2}),
    "clipped": (gs.nn.SpectralClipped, {"maximum": 0.7}),
    "radius": (gs.nn.EigenvalueNormalized, {"radius": 0.5}),
    "free": (gs.nn.Unconstrained, {}),
}


@pytest.mark.parametrize("name", KINDS)
def test_lies_within_what_is_certified(name):
    kind, options = KINDS[name]
    module = kind((6, 6), rngs=nnx.Rngs(0), **options)
    found = jax.jit(constraint_report)(nnx.Dict(inner=module))["inner"]
    values = np.linalg.svd(module(), compute_uv=False)
    assert (found.kind, found.shape) == (kind.__name__, (6, 6))
    np.testing.assert_allclose(found.largest, values[0], rtol=1e-5)
    np.testing.assert_allclose(found.smallest, values[-1], rtol=1e-4, atol=1e-6)
    low, high = found.bounds
    assert low - 1e-5 <= found.smallest
    assert found.largest <= high + 1e-5
    assert found.residual <= found.tolerance


def test_a_matrix_that_left_its_set_has_a_residual():
    class Broken(gs.nn.Cayley):
        def _build(self):
            return 1.5 * super()._build()

    found = constraint_report(Broken((4, 4), rngs=nnx.Rngs(0)))["model"]
    assert found.residual > 1000 * found.tolerance
    np.testing.assert_allclose(found.largest, 1.5, rtol=1e-5)


def test_a_class_that_does_not_tell_has_no_residual():
    class Symmetric(gs.nn.Parametrization):
        def __init__(self, n):
            super().__init__((n, n), param_dtype=jnp.float32)
            self.lower = nnx.Param(jnp.ones((n, n)))

        def _build(self):
            lower = jnp.tril(self.lower[...])
            return lower + lower.mT

    found = constraint_report(Symmetric(3))["model"]
    assert np.isnan(found.residual)
    np.testing.assert_allclose(found.largest, 4, rtol=1e-5)
    with pytest.raises(NotImplementedError, match="Symmetric has no `_residual`"):
        Symmetric(3).assign(jnp.eye(3))


def test_a_stack_is_measured_as_a_whole():
    module = gs.nn.SpectralClipped((3, 4, 4), maximum=0.5, rngs=nnx.Rngs(0))
    found = constraint_report(module)["model"]
    values = np.linalg.svd(module(), compute_uv=False)
    np.testing.assert_allclose(found.largest, np.max(values), rtol=1e-5)
    np.testing.assert_allclose(found.smallest, np.min(values), rtol=1e-4)


def test_a_large_matrix_has_its_largest_value_alone():
    module = gs.nn.Unconstrained((520, 2), rngs=nnx.Rngs(0))
    found = constraint_report(module)["model"]
    assert np.isnan(found.smallest)
    np.testing.assert_allclose(found.largest, np.linalg.norm(module(), 2), rtol=1e-4)


def test_what_is_not_finite_stays_so():
    module = gs.nn.Unconstrained((3, 3), rngs=nnx.Rngs(0))
    nnx.update(
        module, jax.tree.map(lambda x: x * jnp.nan, nnx.state(module, nnx.Param))
    )
    found = constraint_report(module)["model"]
    assert np.isnan(found.largest)
    assert np.isnan(found.coordinates)


def test_there_is_nothing_to_say_of_a_plain_model():
    assert constraint_report(nnx.Linear(2, 2, rngs=nnx.Rngs(0))) == {}


def test_an_empty_matrix_is_measured():
    found = constraint_report(gs.nn.Unconstrained((0, 3), rngs=nnx.Rngs(0)))["model"]
    assert found.largest == 0
