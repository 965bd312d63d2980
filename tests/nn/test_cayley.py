import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import gradstab as gs
from tests.helpers import RATIO_LIMIT, orthogonality_ratio


def cyclic(n, dtype=jnp.float32):
    return jnp.roll(jnp.eye(n, dtype=dtype), 1, axis=0)


def reflection(n, dtype=jnp.float32):
    axis = jnp.arange(1, n + 1, dtype=dtype)
    return jnp.eye(n, dtype=dtype) - 2 * jnp.outer(axis, axis) / jnp.sum(axis**2)


REACHED_BY_SCALING = {
    "identity": lambda n: jnp.eye(n),
    "minus identity": lambda n: -jnp.eye(n),
    "cyclic permutation": cyclic,
    "exchange": lambda n: jnp.eye(n)[::-1],
    "reflection": reflection,
    "diagonal of signs": lambda n: jnp.diag(jnp.where(jnp.arange(n) % 3 == 0, -1.0, 1)),
    "random": lambda n: jnp.linalg.qr(
        jax.random.normal(jax.random.key(n), (n, n), jnp.float32)
    )[0],
}


@pytest.mark.parametrize("n", [1, 2, 5, 16, 65])
@pytest.mark.parametrize("name", REACHED_BY_SCALING)
def test_scaled_cayley_reaches_every_orthogonal_matrix(name, n):
    q = REACHED_BY_SCALING[name](n)
    parametrization = gs.nn.ScaledCayley((n, n), rngs=nnx.Rngs(0))
    parametrization.assign(q)
    np.testing.assert_allclose(parametrization(), q, atol=n * 1e-6)
    assert orthogonality_ratio(parametrization()) <= RATIO_LIMIT


@pytest.mark.error_text
@pytest.mark.parametrize("name", ["minus identity", "reflection"])
def test_plain_cayley_names_the_map_that_reaches_further(name):
    parametrization = gs.nn.Cayley((4, 4), rngs=nnx.Rngs(0))
    before = parametrization()
    with pytest.raises(ValueError, match="cannot reach .* use ScaledCayley"):
        parametrization.assign(REACHED_BY_SCALING[name](4))
    np.testing.assert_array_equal(parametrization(), before)


def test_start_has_the_published_eigenvalues():
    # Planes turn by angles in (0, π/2); an odd axis is left over with eigenvalue 1.
    parametrization = gs.nn.Cayley((7, 7), rngs=nnx.Rngs(0))
    eigenvalues = np.linalg.eigvals(np.asarray(parametrization()))
    angles = np.sort(np.abs(np.angle(eigenvalues)))
    np.testing.assert_allclose(np.abs(eigenvalues), 1.0, atol=1e-6)
    assert angles[0] < 1e-6
    assert np.all((angles[1:] > 0) & (angles[1:] < np.pi / 2))
    np.testing.assert_allclose(angles[1::2], angles[2::2], atol=1e-6)


@pytest.mark.parametrize("negatives", [0, 1, 4, 5])
def test_negatives_set_the_determinant(negatives):
    parametrization = gs.nn.ScaledCayley((5, 5), negatives=negatives, rngs=nnx.Rngs(0))
    np.testing.assert_allclose(
        np.linalg.det(parametrization()), (-1.0) ** negatives, rtol=1e-5
    )


def test_two_by_two_in_closed_form():
    # A = [[0, -t], [t, 0]] turns by minus twice the arctangent of t; D flips column 1.
    parametrization = gs.nn.ScaledCayley((2, 2), negatives=1, rngs=nnx.Rngs(0))
    parametrization.skew[...] = jnp.array([[0.0, 0.0], [0.7, 0.0]])
    angle = -2 * np.arctan(0.7)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    np.testing.assert_allclose(parametrization(), turn @ np.diag([1, -1]), atol=1e-6)


def test_complex_phases_are_trained_and_reach_a_unitary_matrix():
    key = jax.random.key(0)
    q = jnp.linalg.qr(jax.random.normal(key, (5, 5), jnp.complex64))[0]
    options = {"param_dtype": jnp.complex64, "rngs": nnx.Rngs(0)}
    parametrization = gs.nn.ScaledCayley((5, 5), **options)
    parametrization.assign(q)
    np.testing.assert_allclose(parametrization(), q, atol=5e-6)
    gradient = jax.grad(lambda p: jnp.sum(jnp.real(p()) ** 2))(parametrization)
    assert np.any(gradient.phases[...] != 0)


def test_counts_the_free_parameters():
    # n (n - 1) / 2 real, n² complex, and n phases.
    rngs = nnx.Rngs(0)
    assert gs.nn.Cayley((5, 5), rngs=rngs).free_parameters == 10
    assert gs.nn.ScaledCayley((3, 5, 5), rngs=rngs).free_parameters == 30
    unitary = gs.nn.ScaledCayley((5, 5), param_dtype=jnp.complex64, rngs=rngs)
    assert unitary.free_parameters == 30


def test_initializer_decides_the_start():
    start = gs.nn.ScaledCayley(
        (6, 6), matrix_init=nnx.initializers.orthogonal(), rngs=nnx.Rngs(0)
    )
    assert orthogonality_ratio(start()) <= RATIO_LIMIT
    again = gs.nn.ScaledCayley(
        (6, 6), matrix_init=lambda key, shape, dtype: start(), rngs=nnx.Rngs(1)
    )
    np.testing.assert_allclose(again(), start(), atol=5e-6)


@pytest.mark.error_text
def test_rejects_what_it_cannot_hold():
    rngs = nnx.Rngs(0)
    with pytest.raises(ValueError, match="got 3 rows and 4 columns; use Householder"):
        gs.nn.Cayley((3, 4), rngs=rngs)
    with pytest.raises(ValueError, match=r"`negatives` must .* in \[0, 4\], got 5"):
        gs.nn.ScaledCayley((4, 4), negatives=5, rngs=rngs)
    parametrization = gs.nn.ScaledCayley((4, 4), rngs=rngs)
    with pytest.raises(ValueError, match=r"residual 3\.00e\+00.*`project=True`"):
        parametrization.assign(2 * jnp.eye(4))


def test_projects_on_the_polar_factor():
    matrix = jax.random.normal(jax.random.key(2), (5, 5))
    parametrization = gs.nn.ScaledCayley((5, 5), rngs=nnx.Rngs(0))
    parametrization.assign(matrix, project=True)
    left, _, right = np.linalg.svd(matrix)
    np.testing.assert_allclose(parametrization(), left @ right, atol=1e-5)


def test_what_a_traced_start_cannot_reach_is_not_a_number():
    flip = jnp.diag(jnp.array([1.0, 1.0, -1.0]))

    @jax.jit
    def build(sign):
        cayley = gs.nn.Cayley(
            (3, 3), matrix_init=lambda *_: sign * flip, rngs=nnx.Rngs(0)
        )
        return cayley()

    assert np.all(np.isnan(build(1.0)))
    turn = jnp.diag(jnp.array([1.0, 1.0, 1.0])) * 1.0
    built = jax.jit(
        lambda q: gs.nn.Cayley((3, 3), matrix_init=lambda *_: q, rngs=nnx.Rngs(0))()
    )(turn)
    np.testing.assert_allclose(built, turn, atol=1e-6)


@pytest.mark.parametrize("kind", [gs.nn.Cayley, gs.nn.ScaledCayley])
def test_takes_back_the_empty_matrix(kind):
    parametrization = kind((0, 0), rngs=nnx.Rngs(0))
    parametrization.assign(jnp.zeros((0, 0)))
    assert parametrization().shape == (0, 0)
