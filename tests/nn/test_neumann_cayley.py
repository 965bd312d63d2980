import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import gradstab as gs
from gradstab.nn._neumann_cayley import LARGEST_RESIDUAL
from tests.helpers import RATIO_LIMIT, orthogonality_ratio, random_matrix


def make(seed=0, n=8, **options):
    return gs.nn.NeumannCayley((n, n), rngs=nnx.Rngs(seed), **options)


def exact(neumann):
    """The scaled Cayley transform of the same coordinates."""
    twin = gs.nn.ScaledCayley(neumann.shape, rngs=nnx.Rngs(0))
    twin.skew[...], twin.signs[...] = neumann.skew[...], neumann.signs[...]
    return twin


def descend(neumann, steps, rate, *, refresh):
    """Follows Adam on a quadratic function of the matrix."""
    target = random_matrix(1, neumann.shape, "float32")
    optimizer = optax.adam(rate)
    graph, params, rest = nnx.split(neumann, nnx.Param, ...)

    @jax.jit
    def run(params, rest):
        def step(carry, _):
            params, rest, state = carry

            def loss(params):
                return jnp.sum((nnx.merge(graph, params, rest)() - target) ** 2)

            updates, state = optimizer.update(jax.grad(loss)(params), state)
            params = optax.apply_updates(params, updates)
            model = nnx.merge(graph, params, rest)
            if refresh:
                model = gs.nn.refresh(model)
            _, params, rest = nnx.split(model, nnx.Param, ...)
            return (params, rest, state), gs.linalg.orthogonality_error(model())

        start = params, rest, optimizer.init(params)
        (params, rest, _), errors = jax.lax.scan(step, start, length=steps)
        return nnx.merge(graph, params, rest), errors

    # optax raises a float to an integer power, which strict promotion refuses.
    with jax.numpy_dtype_promotion("standard"):
        return run(params, rest)


def test_starts_exact():
    neumann = make()
    np.testing.assert_allclose(neumann(), exact(neumann)(), atol=1e-6)
    assert orthogonality_ratio(neumann()) <= RATIO_LIMIT


def test_refreshed_it_needs_no_exact_inverse_for_hundreds_of_steps():
    neumann, errors = descend(make(), 300, 1e-3, refresh=True)
    assert jnp.max(errors) < 1e-5
    np.testing.assert_allclose(neumann(), exact(neumann)(), atol=1e-5)
    # It went somewhere: the first inverse no longer serves.
    stale = jnp.eye(8) - make().inverse[...] @ (
        jnp.eye(8) + gs.linalg.skew(neumann.skew[...])
    )
    assert jnp.linalg.norm(stale) > 0.1


@pytest.mark.parametrize("rate", [1e-3, 1.0])
def test_without_refresh_the_matrix_keeps_its_bounds(rate):
    neumann, errors = descend(make(), 100, rate, refresh=False)
    low, high = neumann.singular_value_bounds
    values = jnp.linalg.svd(neumann(), compute_uv=False)
    assert low <= jnp.min(values)
    assert jnp.max(values) <= high
    assert jnp.max(errors) <= 4 * LARGEST_RESIDUAL + 4 * LARGEST_RESIDUAL**2


def test_a_large_step_takes_the_exact_transform():
    neumann = make()
    neumann.skew[...] = 10 * random_matrix(2, (8, 8), "float32")
    np.testing.assert_allclose(neumann(), exact(neumann)(), atol=1e-6)


@pytest.mark.parametrize("every", [1, 3])
def test_inverts_exactly_every_so_many_refreshes(every):
    neumann = make(exact_every=every, order=1)
    for count in range(1, 7):
        neumann.skew[...] += 3e-3 * random_matrix(count, (8, 8), "float32")
        neumann = gs.nn.refresh(neumann)
        skew = gs.linalg.skew(neumann.skew[...])
        residual = jnp.linalg.norm(
            jnp.eye(8) - neumann.inverse[...] @ (jnp.eye(8) + skew)
        )
        assert (residual < 1e-6) == (count % every == 0)


def test_refresh_leaves_the_matrix_as_it_was():
    neumann = make()
    neumann.skew[...] += 1e-3 * random_matrix(3, (8, 8), "float32")
    np.testing.assert_allclose(gs.nn.refresh(neumann)(), neumann(), atol=1e-6)


def test_order_and_period_are_checked():
    with pytest.raises(ValueError, match="`order` must"):
        make(order=0)
    with pytest.raises(ValueError, match="`exact_every` must"):
        make(exact_every=0)
