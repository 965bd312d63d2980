import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import gradstab as gs
from tests.helpers import check_grads, random_matrix


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def make(weight, **options):
    weight = jnp.asarray(weight, jnp.float64)
    normalized = gs.nn.EigenvalueNormalized(
        weight.shape, param_dtype=jnp.float64, rngs=nnx.Rngs(0), **options
    )
    normalized.weight[...] = weight
    return normalized


def radius(matrix):
    return float(np.max(np.abs(np.linalg.eigvals(np.asarray(matrix)))))


def turn(angle):
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s], [s, c]])


TIES = {
    "orthogonal": np.linalg.qr(np.random.default_rng(0).normal(size=(8, 8)))[0],
    "permutation": np.roll(np.eye(7), 1, axis=0),
    "three pairs": np.kron(np.eye(3), turn(1.0)),
    "ratio 0.9995": np.diag([1.0, 0.9995, 0.1]),
    "Jordan block": np.eye(4) + np.eye(4, k=1),
    "nilpotent": np.eye(4, k=1),
    "zero": np.zeros((3, 3)),
}


@pytest.mark.parametrize("scale", [0.5, 3.0])
@pytest.mark.parametrize("name", TIES)
def test_no_eigenvalue_leaves_the_disc_and_gradients_are_finite(name, scale):
    normalized = make(scale * TIES[name])
    matrix = normalized()
    # A defective eigenvalue of multiplicity 4 is known to a fourth root of eps.
    slack = 1e-3 if name == "Jordan block" else 1e-6
    assert radius(matrix) <= 1 + slack
    if radius(TIES[name]) * scale <= 1 - slack:
        np.testing.assert_array_equal(matrix, scale * TIES[name])
    gradient = jax.grad(lambda p: jnp.sum(p() ** 2))(normalized)
    assert np.all(np.isfinite(gradient.weight[...]))


@pytest.mark.parametrize("seed", range(4))
def test_random_matrices_reach_the_circle_and_have_the_gradient_of_the_paper(seed):
    weight = random_matrix(seed, (6, 6), "float64")
    normalized, upstream = make(weight), random_matrix(90 + seed, (6, 6), "float64")
    assert radius(normalized()) == pytest.approx(1, abs=1e-12)

    def loss(weight):
        return jnp.sum(upstream * make(weight)())

    check_grads(loss, (weight,), order=1, modes=["rev"])
    # (1/ρ) [G - <G, W> (α Re S + β Im S) / ρ] with S = conj(v) uᵀ / (v* u).
    values, left, right = jax.lax.linalg.eig(weight)
    top = int(jnp.argmax(jnp.abs(values)))
    value, v, u = values[top], left[:, top], right[:, top]
    size = jnp.abs(value)
    s = np.outer(np.conj(v), u) / np.vdot(v, u)
    inner = jnp.sum(upstream * normalized())
    expected = upstream - inner * (value.real * s.real + value.imag * s.imag) / size
    found = jax.grad(loss)(weight)
    np.testing.assert_allclose(found, expected / size, atol=1e-10)
    # W has no scale, and so the gradient none along M.
    assert jnp.abs(jnp.sum(found * weight)) < 1e-12


def test_a_scaled_rotation_loses_its_scale():
    normalized = make(1.7 * turn(0.3))
    np.testing.assert_allclose(normalized(), turn(0.3), atol=1e-14)
    gradient = jax.grad(lambda p: jnp.sum(jnp.arange(4.0) * p().ravel()))(normalized)
    along = jnp.sum(gradient.weight[...] * turn(0.3))
    assert jnp.abs(along) < 1e-14


def test_the_radius_of_a_triangle_stands_on_its_diagonal():
    weight = np.triu(np.ones((4, 4))) + np.diag([0.0, 2.0, 0.5, -1.5])
    normalized = make(weight, radius=0.9)
    np.testing.assert_allclose(normalized(), 0.9 * weight / 3.0, atol=1e-14)


def test_modes_differ_where_the_radius_is_small():
    small = 0.3 * turn(0.5)
    np.testing.assert_array_equal(make(small)(), small)
    np.testing.assert_allclose(make(small, mode="always")(), turn(0.5), atol=1e-14)
    sticky = make(small, mode="sticky")
    np.testing.assert_array_equal(gs.nn.refresh(sticky)(), small)
    sticky.weight[...] = 2 * small / 0.3
    np.testing.assert_allclose(sticky(), turn(0.5), atol=1e-14)
    sticky = gs.nn.refresh(sticky)
    sticky.weight[...] = small
    np.testing.assert_allclose(sticky(), turn(0.5), atol=1e-14)


def test_starts_in_the_open_disc_by_conjugate_pairs():
    for n in (6, 7):
        normalized = gs.nn.EigenvalueNormalized((n, n), rngs=nnx.Rngs(1))
        values = np.linalg.eigvals(np.asarray(normalized.weight[...]))
        assert np.all(np.abs(values) < 1)
        assert np.sum(np.abs(values.imag) > 1e-6) == 6
        np.testing.assert_array_equal(normalized(), normalized.weight[...])


@pytest.mark.error_text
def test_projection_scales():
    normalized = make(np.eye(3), radius=0.5)
    with pytest.raises(ValueError, match="outside the set of EigenvalueNormalized"):
        normalized.assign(2 * jnp.eye(3))
    normalized.assign(2 * jnp.eye(3), project=True)
    np.testing.assert_allclose(normalized(), 0.5 * np.eye(3), atol=1e-14)
    always = make(np.eye(3), mode="always")
    with pytest.raises(ValueError, match="outside the set"):
        always.assign(0.5 * jnp.eye(3))
    always.assign(jnp.zeros((3, 3)))
    np.testing.assert_array_equal(always(), np.zeros((3, 3)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"radius": 0.0}, "`radius` must be above 0"),
        ({"radius": -1.0}, "`radius` must"),
        ({"mode": "never"}, "`mode` must be one of max, always, sticky"),
    ],
)
def test_refuses_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        gs.nn.EigenvalueNormalized((3, 3), rngs=nnx.Rngs(0), **options)


def test_a_pinned_matrix_can_be_assigned():
    sticky = gs.nn.refresh(make(2 * np.eye(3), mode="sticky"))
    assert sticky.pinned[...] == 1
    sticky.assign(0.5 * jnp.eye(3))
    np.testing.assert_array_equal(sticky(), 0.5 * np.eye(3))
    np.testing.assert_array_equal(gs.nn.refresh(sticky)(), 0.5 * np.eye(3))
