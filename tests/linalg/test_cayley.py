import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradstab import linalg
from tests.helpers import RATIO_LIMIT, check_grads, orthogonality_ratio, random_matrix

SCALES = [0.1, 1.0, 10.0, 1e2, 1e4, 1e8, 1e20]


cayley, inverse_cayley, skew = map(
    jax.jit, (linalg.cayley, linalg.inverse_cayley, linalg.skew)
)


@jax.jit
def rotation(lower):
    return linalg.cayley(linalg.skew(lower))


@jax.jit
def naive(lower):
    """The transform as written, by LU, differentiated by JAX."""
    a = linalg.skew(lower)
    identity = jnp.eye(a.shape[0], dtype=a.dtype)
    return jnp.linalg.solve(identity + a, identity - a)


@pytest.mark.parametrize("n", [1, 2, 9])
def test_is_unitary_at_every_scale(n, any_dtype):
    lower = random_matrix(0, (n, n), any_dtype)
    for scale in SCALES:
        q = rotation(scale * lower)
        assert q.dtype == any_dtype
        assert orthogonality_ratio(q) <= RATIO_LIMIT, scale


@pytest.mark.parametrize("n", [*range(3, 17), 64, 257])
def test_is_orthogonal_at_every_size(n):
    lower = random_matrix(n, (n, n), jnp.float32)
    for scale in SCALES:
        assert orthogonality_ratio(rotation(scale * lower)) <= RATIO_LIMIT, scale


@pytest.mark.parametrize("n", [2, 5, 6])
def test_is_a_rotation_at_every_scale(n):
    for scale in SCALES:
        q = rotation(scale * random_matrix(0, (n, n), jnp.float32))
        np.testing.assert_allclose(np.linalg.det(q), 1.0, atol=1e-5)


def test_large_matrices_that_lu_finds_singular():
    # Adding I to these integers is lost in float32, and their determinant is zero.
    a = skew(1e20 * jnp.ones((3, 3)))
    q = rotation(a)
    assert orthogonality_ratio(q) <= RATIO_LIMIT
    null = jnp.array([1.0, -1.0, 1.0]) / 3**0.5
    np.testing.assert_allclose(q @ null, null, atol=1e-6)


def test_accuracy_at_the_scales_of_each_method(dtype):
    # Plain blocks, one Newton step, singular values.
    for scale in (1.0, 1e2, 1e5):
        lower = scale * random_matrix(0, (16, 16), dtype) / 4
        a = np.asarray(skew(lower), np.float64)
        eigenvalues, vectors = np.linalg.eigh(1j * a)
        phases = (1 + 1j * eigenvalues) / (1 - 1j * eigenvalues)
        expected = ((vectors * phases) @ vectors.conj().T).real
        error = np.max(np.abs(rotation(lower) - expected))
        assert error <= 100 * jnp.finfo(dtype).eps * max(1.0, scale)


def test_two_by_two_in_closed_form(dtype, atol):
    # A = [[0, -t], [t, 0]] turns by minus twice the arctangent of t.
    t = 0.7
    q = cayley(jnp.array([[0.0, -t], [t, 0.0]], dtype))
    angle = -2 * np.arctan(t)
    expected = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    np.testing.assert_allclose(q, expected, atol=atol)


@pytest.mark.parametrize("n", [0, 9])
def test_zero_is_the_identity(n, any_dtype):
    q = cayley(jnp.zeros((n, n), any_dtype))
    np.testing.assert_array_equal(q, jnp.eye(n))


@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf, -jnp.inf])
def test_keeps_what_is_not_finite(bad):
    lower = random_matrix(0, (5, 5), jnp.float32).at[3, 1].set(bad)
    assert jnp.all(jnp.isnan(rotation(lower)))


def test_a_bad_matrix_leaves_its_stack_alone():
    stack = random_matrix(0, (4, 5, 5), jnp.float32)
    stack = stack.at[1].set(jnp.nan).at[2].multiply(1e8)
    q = jax.jit(jax.vmap(rotation))(stack)
    assert jnp.all(jnp.isnan(q[1]))
    for good in (0, 2, 3):
        np.testing.assert_allclose(q[good], rotation(stack[good]), atol=1e-6)


def test_vmap_is_a_loop():
    stack = random_matrix(0, (2, 3, 4, 4), jnp.complex64)
    nested = jax.jit(jax.vmap(jax.vmap(rotation)))(stack)
    for place in np.ndindex(2, 3):
        np.testing.assert_allclose(nested[place], rotation(stack[place]), atol=1e-6)


def test_gradient():
    with jax.enable_x64(True):
        lower = random_matrix(0, (4, 4), jnp.float64)
        check_grads(rotation, (lower,), order=2)
        check_grads(rotation, (50 * lower,), order=1)
        check_grads(rotation, (random_matrix(1, (3, 3), jnp.complex128),), order=1)


def test_gradient_matches_autodiff_of_the_naive_map(any_dtype):
    weights, lower = random_matrix(0, (2, 6, 6), any_dtype)
    grads = [
        jax.jit(jax.grad(lambda m, fn=fn: jnp.sum((weights * fn(m)).real)))
        for fn in (rotation, naive)
    ]
    for scale in (0.0, 1.0, 30.0):
        ours, expected = (grad(scale * lower) for grad in grads)
        atol = 1e3 * jnp.finfo(any_dtype).eps * np.max(np.abs(expected))
        np.testing.assert_allclose(ours, expected, atol=atol)


def test_hot_path_has_no_factorization():
    def primitives(jaxpr):
        for eqn in jaxpr.eqns:
            yield eqn.primitive.name
            if eqn.primitive.name == "while":
                continue  # the loops that repair, and the leaves
            for sub in jax.tree.leaves(
                eqn.params, is_leaf=lambda p: hasattr(p, "jaxpr")
            ):
                inner = getattr(sub, "jaxpr", sub)
                if hasattr(inner, "eqns"):
                    yield from primitives(inner)

    grad = jax.grad(lambda m: jnp.sum(rotation(m) ** 3))
    found = set(primitives(jax.make_jaxpr(grad)(jnp.eye(40)).jaxpr))
    assert not found & {"lu", "svd", "triangular_solve", "eigh", "qr", "cholesky"}


def test_round_trip(any_dtype):
    a = skew(random_matrix(0, (9, 9), any_dtype))
    atol = 1e3 * float(jnp.finfo(any_dtype).eps)
    again = inverse_cayley(cayley(a))
    assert again.dtype == any_dtype
    np.testing.assert_allclose(again, a, atol=atol)
    np.testing.assert_array_equal(again, -again.mT.conj())


@pytest.mark.parametrize("n", [0, 1])
def test_inverse_of_the_smallest(n):
    np.testing.assert_array_equal(inverse_cayley(jnp.eye(n)), jnp.zeros((n, n)))


def test_inverse_gradient():
    with jax.enable_x64(True):
        q = rotation(random_matrix(0, (4, 4), jnp.float64))
        check_grads(inverse_cayley, (q,), order=1)


def test_inverse_has_no_finite_value_at_minus_one():
    assert not jnp.any(jnp.isfinite(inverse_cayley(-jnp.eye(2))))


@pytest.mark.error_text
@pytest.mark.parametrize(
    ("fn", "name"),
    [(linalg.cayley, "skew"), (linalg.inverse_cayley, "q")],
    ids=["map", "inverse"],
)
def test_rejects_rectangles_and_low_precision(fn, name):
    shape = rf"^`{name}` must have shape \(n, n\), got \(3, 4\)\.$"
    with pytest.raises(ValueError, match=shape):
        fn(jnp.zeros((3, 4)))
    stack = r"got \(2, 3, 3\); use `jax.vmap` for a stack of matrices\.$"
    with pytest.raises(ValueError, match=stack):
        fn(jnp.zeros((2, 3, 3)))
    dtype = rf"^`{name}` must have dtype .*, got bfloat16; build the matrix in float32"
    with pytest.raises(ValueError, match=dtype):
        fn(jnp.zeros((3, 3), jnp.bfloat16))
