"""What every transformation does, whatever it is for."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import gradstab as gs
from tests.helpers import nothing_compiled, random_matrix

TRANSFORMS: dict[str, Any] = {
    "spectral": lambda: gs.optim.project_spectral_norm(1.0),
    "truncated": lambda: gs.optim.project_spectral_norm(1.0, rank=2),
    "convolution": lambda: gs.optim.project_conv_norm(3.0),
    "orthogonal": gs.optim.project_orthogonal,
    "penalty": lambda: gs.optim.add_orthogonality_penalty(0.1),
    "riemannian": lambda: gs.optim.riemannian(optax.adam(0.1)),
    "clip": lambda: gs.optim.safe_clip_by_global_norm(0.1),
    "skip": lambda: gs.optim.safe_clip_by_global_norm(0.1, nonfinite="skip"),
}
# Factories with a number that may be scheduled.
SCHEDULED: dict[str, Any] = {
    "spectral": (gs.optim.project_spectral_norm, ("rank", "exact_every")),
    "convolution": (gs.optim.project_conv_norm, ("strides", "oversampling")),
    "penalty": (gs.optim.add_orthogonality_penalty, ("reduction",)),
    "clip": (gs.optim.safe_clip_by_global_norm, ("nonfinite", "max_consecutive")),
}


@pytest.fixture(params=TRANSFORMS)
def transform(request) -> Any:
    return TRANSFORMS[request.param]()


def network(dtype="float32"):
    """Parameters of every kind, the matrices with orthonormal columns."""
    tall, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(18, 4)))
    square, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(8, 8)))
    return {
        "square": jnp.asarray(square, dtype),
        "wide": jnp.asarray(tall.T, dtype),
        "kernel": jnp.asarray(tall.reshape(3, 3, 2, 4), dtype),
        "bias": jnp.ones(4, dtype),
        "scale": jnp.ones((), dtype),
        "nothing": jnp.zeros((0, 3), dtype),
    }


def gradients(params, seed=0):
    keys = jax.random.split(jax.random.key(seed), len(params))
    return {
        name: jax.random.normal(key, leaf.shape).astype(leaf.dtype)
        for key, (name, leaf) in zip(keys, params.items(), strict=True)
    }


def assert_trees_equal(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def assert_trees_close(found, expected, atol=1e-5):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    close = partial(np.testing.assert_allclose, atol=atol)
    jax.tree.map(close, found, expected)


def test_updates_and_state_keep_shapes_dtypes_and_structure(transform):
    for dtype in ("float32", "bfloat16", "float16"):
        params = network(dtype)
        before = transform.init(params)
        updates = gradients(params)
        found, after = transform.update(updates, before, params)
        kinds = jax.tree.map(lambda x: (x.shape, x.dtype), (found, after))
        assert kinds == jax.tree.map(lambda x: (x.shape, x.dtype), (updates, before))


@pytest.mark.parametrize("name", [name for name in TRANSFORMS if name != "riemannian"])
def test_promotes_nothing_by_itself(name):
    # Under a wrapped optimizer it is optax that does.
    transform, params = TRANSFORMS[name](), network()
    params["complex"] = jnp.eye(3, dtype="complex64")
    params["low"] = jnp.eye(3, dtype="bfloat16")
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        state = transform.init(params)
        for _ in range(2):
            _, state = transform.update(gradients(params), state, params)


def test_updates_may_have_another_dtype_than_the_parameters(transform):
    params = network("bfloat16")
    updates = jax.tree.map(lambda x: x.astype(jnp.float32), gradients(params))
    found, _ = transform.update(updates, transform.init(params), params)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(found))


def test_jit_changes_nothing_and_compiles_once(transform):
    params, traces = network(), []

    @jax.jit
    def step(updates, state, params):
        traces.append(None)
        return transform.update(updates, state, params)

    compiled = plain = transform.init(params)
    for seed in range(3):
        updates = gradients(params, seed)
        found, compiled = step(updates, compiled, params)
        expected, plain = transform.update(updates, plain, params)
        assert_trees_close(found, expected)
    assert len(traces) == 1


def test_without_jit_a_step_like_the_last_compiles_nothing(transform, caplog):
    params = network()
    _, state = transform.update(gradients(params), transform.init(params), params)
    updates = gradients(params, 1)
    with nothing_compiled(caplog):
        transform.update(updates, state, params)


def test_its_state_can_be_donated(transform):
    params = network()
    step = jax.jit(transform.update, donate_argnums=1)
    _, state = step(gradients(params), transform.init(params), params)
    step(gradients(params), state, params)


def test_vmap_is_a_loop(transform):
    params = network()
    both = [gradients(params, seed) for seed in (0, 1)]
    stack = jax.tree.map(lambda *leaves: jnp.stack(leaves), *both)
    state = transform.init(params)
    found, _ = jax.vmap(transform.update, (0, None, None))(stack, state, params)
    expected = [transform.update(one, state, params)[0] for one in both]
    assert_trees_close(
        found, jax.tree.map(lambda *leaves: jnp.stack(leaves), *expected)
    )


def test_a_zero_gradient_moves_nothing(transform):
    params = network()
    updates = jax.tree.map(jnp.zeros_like, params)
    found, state = transform.update(updates, transform.init(params), params)
    assert_trees_close(found, updates, 1e-6)
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(state))


def test_an_empty_tree_is_no_trouble(transform):
    found, state = transform.update({}, transform.init({}), {})
    assert found == {}
    transform.update({}, state, {})


@pytest.mark.parametrize("missing", [None, optax.MaskedNode()], ids=["none", "masked"])
def test_a_parameter_without_update_is_left_alone(transform, missing):
    params = network()
    # What the wrapped optimizer does of a parameter without update is its own affair.
    is_wrapper = isinstance(transform, optax.GradientTransformationExtraArgs)
    for place in (missing,) if is_wrapper else (missing, params["square"]):
        held = params | {"square": place}
        state = transform.init(held)
        updates = gradients(params) | {"square": missing}
        for _ in range(2):
            found, state = transform.update(updates, state, held)
            assert isinstance(found["square"], type(missing))
            assert np.all(np.isfinite(found["kernel"]))


def test_what_is_not_finite_stays_where_it_is(transform):
    params = network()
    updates = gradients(params)
    updates["square"] = updates["square"].at[0, 0].set(jnp.nan)
    found, _ = transform.update(updates, transform.init(params), params)
    for name, leaf in found.items():
        if name != "square":
            assert np.all(np.isfinite(leaf)), name
    if np.all(np.isfinite(found["square"])):  # where all of it is dropped, and counted
        assert_trees_equal(found, jax.tree.map(jnp.zeros_like, updates))


def test_masked(transform):
    params, updates = network(), gradients(network())
    mask = {name: name == "square" for name in params}
    masked: Any = optax.masked(transform, mask)
    found, _ = masked.update(updates, masked.init(params), params)
    alone = {"square": params["square"]}
    expected, _ = transform.update(
        {"square": updates["square"]}, transform.init(alone), alone
    )
    assert_trees_close(found, updates | expected)


def test_partition(transform):
    params, updates = network(), gradients(network())
    labels = {name: "ours" if name == "square" else "free" for name in params}
    rules: Any = {"ours": transform, "free": optax.sgd(1.0)}
    parted = optax.partition(rules, labels)
    found, _ = parted.update(updates, parted.init(params), params)
    alone = {"square": params["square"]}
    expected, _ = transform.update(
        {"square": updates["square"]}, transform.init(alone), alone
    )
    assert_trees_close(found, jax.tree.map(jnp.negative, updates) | expected)


def test_several_small_steps(transform):
    params, updates = network(), gradients(network())
    several: Any = optax.MultiSteps(transform, 2)
    state = several.init(params)
    found, state = several.update(updates, state, params)
    assert_trees_equal(found, jax.tree.map(jnp.zeros_like, updates))
    found, state = several.update(updates, state, params)
    expected, _ = transform.update(updates, transform.init(params), params)
    assert_trees_close(found, expected)


@pytest.mark.parametrize("name", SCHEDULED)
def test_a_number_may_be_scheduled(name):
    make, static = SCHEDULED[name]
    params, updates = network(), gradients(network())
    scheduled = optax.inject_hyperparams(make, static_args=static)(
        lambda count: 0.5 / (count + 1)
    )
    state = scheduled.init(params)
    step = jax.jit(scheduled.update)
    for count in range(2):
        found, state = step(updates, state, params)
        plain = make(0.5 / (count + 1))
        expected, _ = plain.update(updates, plain.init(params), params)
        assert_trees_close(found, expected)


@pytest.mark.parametrize(
    "name", [name for name in TRANSFORMS if name not in ("clip", "skip")]
)
def test_asks_for_the_parameters(name):
    transform, params = TRANSFORMS[name](), network()
    with pytest.raises(ValueError, match="needs `params`: pass them to `update`"):
        transform.update(gradients(params), transform.init(params))


def test_an_optimizer_of_flax_takes_it(transform):
    model = nnx.Linear(
        8, 8, kernel_init=jax.nn.initializers.orthogonal(), rngs=nnx.Rngs(0)
    )
    optimizer = nnx.Optimizer(
        model, optax.chain(transform, optax.sgd(0.1)), wrt=nnx.Param
    )
    traces = []

    @nnx.jit
    def step(model, optimizer, x):
        traces.append(None)
        optimizer.update(model, nnx.grad(lambda m: jnp.sum(m(x) ** 2))(model))

    for seed in (0, 1):
        step(model, optimizer, random_matrix(seed, (3, 8), "float32"))
    assert len(traces) == 1
    assert np.all(np.isfinite(model.kernel[...]))
