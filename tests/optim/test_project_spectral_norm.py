from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import gradstab as gs
from tests.helpers import random_matrix

project_spectral_norm = cast(Any, gs.optim.project_spectral_norm)


def norm(matrix):
    return float(np.linalg.norm(np.asarray(matrix, np.complex128), 2))


def spectrum(values, shape, seed=0, dtype="float32"):
    """A random matrix with these singular values, and zeros after them."""
    rng = np.random.default_rng(seed)
    left, right = (np.linalg.qr(rng.normal(size=(n, n)))[0] for n in shape)
    middle = np.zeros(shape)
    middle[range(len(values)), range(len(values))] = values
    return jnp.asarray(left @ middle @ right, dtype)


@pytest.mark.parametrize("rank", [None, 4])
def test_the_result_is_the_nearest_matrix_within_the_limit(rank):
    start = spectrum(np.linspace(1.49, 0.1, 24), (24, 32))
    change = start / 10 + random_matrix(3, (24, 32), "float32") / 500
    project = project_spectral_norm(1.5, rank=rank)
    found, state = jax.jit(project.update)(change, project.init(start), start)
    expected = gs.linalg.clip_singular_values(start + change, maximum=1.5)
    assert norm(start + change) > 1.55
    np.testing.assert_allclose(start + found, expected, atol=2e-5)
    assert norm(start + found) <= 1.5 + 2e-5
    assert state.cuts == 1
    assert state.distance == pytest.approx(
        np.linalg.norm(start + change - expected), abs=1e-4
    )


@pytest.mark.parametrize("rank", [None, 4])
def test_an_update_within_the_limit_keeps_every_bit(rank):
    start, change = random_matrix(0, (2, 32, 32), "float32") / 20
    project = project_spectral_norm(1.5, rank=rank)
    found, state = project.update(change, project.init(start), start)
    np.testing.assert_array_equal(found, change)
    assert (int(state.cuts), float(state.distance)) == (0, 0.0)


def test_more_large_singular_values_than_columns_take_the_exact_path():
    start = spectrum(np.full(32, 2.0), (32, 32))
    project = project_spectral_norm(1.0, rank=4)
    found, state = project.update(jnp.zeros_like(start), project.init(start), start)
    np.testing.assert_allclose(start + found, start / 2, atol=1e-5)
    assert state.exact == 1


def test_the_truncated_path_stays_within_the_limit_over_a_descent():
    target = spectrum([4.0, 3.0, 2.0], (48, 48), seed=7)
    start = spectrum(np.linspace(1.0, 0.5, 48), (48, 48))

    def descend(rank, exact_every=None) -> Any:
        project = project_spectral_norm(1.8, rank=rank, exact_every=exact_every)
        optimizer = cast(Any, optax.chain(optax.sgd(0.05), project))

        def step(carry, _):
            weight, state = carry
            updates, state = optimizer.update(weight - target, state, weight)
            weight = optax.apply_updates(weight, updates)
            return (weight, state), jnp.linalg.norm(weight, 2)

        carry = start, optimizer.init(start)
        (weight, state), norms = jax.lax.scan(step, carry, length=200)
        return weight, norms, state[1]

    exact, _, _ = descend(None)
    weight, norms, cut = descend(8)
    assert jnp.max(norms) <= 1.8 + 1e-4
    np.testing.assert_allclose(weight, exact, atol=1e-4)
    assert cut.exact < 10  # at first, when the singular vectors are not known
    assert 0 < cut.cuts < 200
    assert cut.largest_distance > 0.01
    assert descend(8, exact_every=50)[2].exact >= 4


def test_a_crowd_at_the_limit_is_seen():
    # As many singular values on the limit as the projection leaves there in time.
    start = spectrum([*np.full(12, 1.0), *np.linspace(0.9, 0.1, 36)], (48, 48))
    project = project_spectral_norm(1.0, rank=8)
    state, weight = project.init(start), start
    for seed in range(10):
        change = 1e-3 * random_matrix(seed, (48, 48), "float32")
        change, state = project.update(change, state, weight)
        weight = weight + change
        assert norm(weight) <= 1 + 1e-6
    assert state.exact == 10


@pytest.mark.parametrize("rate", [0.01, 0.3])
def test_what_grows_where_nobody_looked_is_found(rate):
    # Eight tracked values, and one more direction that grows from nothing.
    values = [*np.linspace(1.75, 1.4, 8), *np.linspace(1.0, 0.1, 56)]
    weight = jnp.diag(jnp.asarray(values, jnp.float32))
    project = project_spectral_norm(1.8, rank=8)
    update, state = jax.jit(project.update), project.init(weight)
    norms = []
    for step in range(120):
        change = jnp.zeros_like(weight)
        if step >= 20:
            change = change.at[63, 63].set(rate)
        change, state = update(change, state, weight)
        weight = weight + change
        norms.append(norm(weight))
    assert max(norms) <= 1.8 + rate
    assert norms[-1] <= 1.8 + 1e-4


def test_weights_that_were_changed_from_outside_come_back():
    start = spectrum([*np.linspace(1.7, 1.0, 8), *np.full(40, 0.5)], (48, 48))
    project = project_spectral_norm(1.8, rank=8)
    state = project.init(start)
    for _ in range(3):
        _, state = project.update(jnp.zeros_like(start), state, start)
    weight = start + 5 * jnp.outer(jnp.eye(48)[0], jnp.eye(48)[1])
    for _ in range(2):
        change, state = project.update(jnp.zeros_like(start), state, weight)
        weight = weight + change
    assert norm(weight) <= 1.8 + 1e-4


def test_an_update_that_is_not_finite_spoils_no_later_one():
    weight = 2 * jnp.eye(32)
    project = project_spectral_norm(1.0, rank=4)
    _, state = project.update(weight * jnp.nan, project.init(weight), weight)
    for _ in range(2):
        _, state = project.update(jnp.zeros_like(weight), state, weight)
    assert np.all(np.isfinite(state.vectors))


def test_kernels_of_convolutions_are_matrices_and_vectors_pass():
    params = {
        "kernel": random_matrix(0, (3, 3, 4, 8), "float32"),
        "bias": jnp.ones(8),
        "count": jnp.arange(3),
    }
    project = project_spectral_norm(0.5)
    updates = jax.tree.map(jnp.zeros_like, params)
    found, state = project.update(updates, project.init(params), params)
    assert norm((params["kernel"] + found["kernel"]).reshape(-1, 8)) <= 0.5 + 1e-6
    np.testing.assert_array_equal(found["bias"], 0)
    assert state.cuts["bias"] == 0


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "complex64"])
@pytest.mark.parametrize("rank", [None, 4])
def test_dtypes_stay(dtype, rank):
    start = 0.5 * random_matrix(
        0, (32, 16), "complex64" if dtype == "complex64" else "float32"
    )
    start = start.astype(dtype)
    project = project_spectral_norm(1.0, rank=rank)
    found, _ = project.update(jnp.zeros_like(start), project.init(start), start)
    assert found.dtype == start.dtype
    slack = 0.05 if dtype in ("bfloat16", "float16") else 1e-5
    assert norm((start + found).astype("complex64")) <= 1 + slack


@pytest.mark.parametrize("rank", [None, 4])
def test_what_is_not_finite_stays_so_in_its_own_leaf(rank):
    params = {"a": jnp.eye(32), "b": jnp.eye(32)}
    updates = {"a": jnp.full((32, 32), jnp.nan), "b": jnp.eye(32)}
    project = project_spectral_norm(1.0, rank=rank)
    found, _ = project.update(updates, project.init(params), params)
    assert not np.any(np.isfinite(found["a"]))
    np.testing.assert_allclose(found["b"], np.zeros((32, 32)), atol=1e-6)


def test_a_limit_of_zero_gives_zero_and_empty_leaves_pass():
    params = {"a": jnp.eye(3), "b": jnp.zeros((0, 3)), "c": jnp.zeros((3, 0))}
    project = project_spectral_norm(0.0)
    updates = jax.tree.map(jnp.zeros_like, params)
    found, _ = project.update(updates, project.init(params), params)
    np.testing.assert_array_equal(found["a"], -np.eye(3))
    assert project.update({}, project.init({}), {})[0] == {}


@pytest.mark.parametrize("rank", [None, 2])
@pytest.mark.parametrize("maximum", [0.0, 1.0])
def test_nothing_moves_zero(maximum, rank):
    project, zero = project_spectral_norm(maximum, rank=rank), jnp.zeros((16, 16))
    found, state = project.update(zero, project.init(zero), zero)
    np.testing.assert_array_equal(found, zero)
    assert all(np.all(np.isfinite(leaf)) for leaf in state)


@pytest.mark.parametrize("rank", [None, 2])
@pytest.mark.parametrize("size", [1e6, 1e20, 1e37])
def test_a_huge_step_ends_within_the_limit(size, rank):
    weight, project = jnp.eye(16), project_spectral_norm(1.5, rank=rank)
    state = project.init(weight)
    for seed in range(2):
        change = size * random_matrix(seed, (16, 16), "float32")
        change, state = project.update(change, state, weight)
        weight = weight + change
        assert norm(weight) <= 1.5 + 1e-5


@pytest.mark.parametrize("shape", [(), (1,), (0,), (2, 1, 3, 1, 2, 4), (2, 0, 3)])
def test_leaves_of_any_number_of_axes(shape):
    weight, project = jnp.ones(shape), project_spectral_norm(0.5)
    found, _ = project.update(jnp.zeros(shape), project.init(weight), weight)
    assert found.shape == shape
    if len(shape) == 6:
        assert norm((weight + found).reshape(-1, 4)) <= 0.5 + 1e-6
    else:
        np.testing.assert_array_equal(found, 0)


@pytest.mark.parametrize("rank", [None, 2])
@pytest.mark.parametrize("kinds", [("bfloat16", "float32"), ("float32", "bfloat16")])
def test_dtypes_of_updates_and_of_the_state_stay(kinds, rank):
    weight, change = 2 * jnp.eye(16, dtype=kinds[0]), jnp.zeros((16, 16), kinds[1])
    project = project_spectral_norm(1.0, rank=rank)
    before = project.init(weight)
    found, after = project.update(change, before, weight)
    assert found.dtype == change.dtype
    assert norm(optax.apply_updates(weight, found)) <= 1 + 1e-6
    for one, other in zip(before, after, strict=True):
        assert one.dtype == other.dtype


@pytest.mark.parametrize("missing", [None, optax.MaskedNode()])
def test_a_parameter_without_update_is_left_alone(missing):
    weight = 2 * jnp.eye(16)
    project = project_spectral_norm(1.0, rank=2)
    updates = {"a": missing, "b": jnp.zeros((16, 16))}
    for params in ({"a": weight, "b": weight}, {"a": missing, "b": weight}):
        state = project.init(params)
        for count in (1, 2):
            found, state = project.update(updates, state, params)
            assert found["a"] is missing
            np.testing.assert_allclose(found["b"], -np.eye(16), atol=1e-6)
            assert state.cuts["b"] == count


def test_the_limit_holds_under_momentum():
    target = spectrum([4.0, 3.0, 2.0], (48, 48), seed=7)
    start = spectrum(np.linspace(1.0, 0.5, 48), (48, 48))
    project = project_spectral_norm(1.8, rank=8)
    optimizer = cast(Any, optax.chain(optax.sgd(0.02, momentum=0.9), project))

    def step(carry, _):
        weight, state = carry
        updates, state = optimizer.update(weight - target, state, weight)
        weight = optax.apply_updates(weight, updates)
        return (weight, state), jnp.linalg.norm(weight, 2)

    carry: Any = start, optimizer.init(start)
    (weight, state), norms = jax.lax.scan(step, carry, length=200)
    assert jnp.max(norms) <= 1.8 + 1e-4
    expected = gs.linalg.clip_singular_values(target, maximum=1.8)
    np.testing.assert_allclose(jnp.asarray(weight), expected, atol=1e-3)
    assert 0 < state[1].cuts <= 200


class TestWithOptax:
    start = 2 * jnp.eye(16)

    def results(self, transform, steps=1) -> Any:
        params, state = {"w": self.start, "v": self.start}, None
        state = transform.init(params)
        for _ in range(steps):
            updates = jax.tree.map(jnp.zeros_like, params)
            updates, state = jax.jit(transform.update)(updates, state, params)
            params = optax.apply_updates(params, updates)
        return params

    def test_a_scheduled_limit_leaves_what_lies_within_it_to_the_bit(self):
        make: Any = optax.inject_hyperparams(project_spectral_norm)
        project, weight = make(lambda _: 1.8), random_matrix(0, (8, 8), "float32") / 30
        change = random_matrix(1, (8, 8), "float32") / 30
        found, _ = project.update(change, project.init(weight), weight)
        np.testing.assert_array_equal(found, change)
        below = make(lambda _: -1.0)
        found, _ = below.update(change, below.init(weight), weight)
        np.testing.assert_array_equal(weight + found, 0)

    @pytest.mark.parametrize("rank", [None, 2])
    def test_a_scheduled_limit_of_nan_is_seen_and_spoils_no_later_one(self, rank):
        make: Any = optax.inject_hyperparams(
            project_spectral_norm, static_args=("rank", "exact_every")
        )
        project = make(lambda count: jnp.where(count == 0, jnp.nan, 1.0), rank=rank)
        state, zero = project.init(self.start), jnp.zeros_like(self.start)
        found, state = project.update(zero, state, self.start)
        assert np.all(np.isnan(found))
        found, state = project.update(zero, state, self.start)
        np.testing.assert_allclose(found, -np.eye(16), atol=1e-6)

    @pytest.mark.parametrize("rank", [None, 2])
    def test_an_optimizer_of_flax_compiles_once(self, rank):
        model, traces = nnx.Linear(16, 16, rngs=nnx.Rngs(0)), []
        rule = optax.chain(optax.sgd(0.1), project_spectral_norm(0.5, rank=rank))
        optimizer = nnx.Optimizer(model, rule, wrt=nnx.Param)

        @nnx.jit
        def step(model, optimizer):
            traces.append(1)
            gradient = nnx.grad(lambda model: jnp.sum(model(jnp.ones((1, 16)))))(model)
            optimizer.update(model, gradient)

        for _ in range(3):
            step(model, optimizer)
        assert len(traces) == 1
        assert norm(model.kernel[...]) <= 0.5 + 1e-5

    @pytest.mark.parametrize("rank", [None, 2])
    def test_a_scheduled_limit(self, rank):
        schedule = optax.piecewise_constant_schedule(1.5, {1: 0.5})
        make = optax.inject_hyperparams(
            project_spectral_norm, static_args=("rank", "exact_every")
        )
        found = self.results(make(schedule, rank=rank), steps=2)
        np.testing.assert_allclose(found["w"], 0.75 * np.eye(16), atol=1e-6)

    def test_vmap(self):
        project = project_spectral_norm(1.0, rank=2)
        stack = jnp.stack([self.start, self.start / 4])
        state = jax.vmap(project.init)(stack)
        found, state = jax.vmap(project.update)(jnp.zeros_like(stack), state, stack)
        np.testing.assert_allclose(stack[0] + found[0], np.eye(16), atol=1e-6)
        np.testing.assert_array_equal(found[1], 0)
        np.testing.assert_array_equal(state.cuts, [1, 0])


def test_holds_the_candidate_of_a_gated_unit():
    cell = gs.nn.SpectralGRUCell(2, 8, rngs=nnx.Rngs(0))
    graph, params, rest = nnx.split(cell, nnx.Param, ...)
    mask = jax.tree_util.tree_map_with_path(
        lambda path, _: "candidate" in jax.tree_util.keystr(path[:1]), params
    )
    project = optax.masked(project_spectral_norm(0.9), mask)
    state = project.init(params)
    updates = jax.tree.map(jnp.zeros_like, params)
    updates, _ = project.update(updates, state, params)
    moved = nnx.merge(graph, optax.apply_updates(params, updates), rest)
    assert norm(moved.candidate()) == pytest.approx(0.9, abs=1e-5)
    np.testing.assert_array_equal(moved.reset(), cell.reset())


def train(cell, *rules, seed=1) -> Any:
    """Takes 200 steps of AdamW with decay; returns the cell and the last loss."""
    inputs, targets = random_matrix(seed, (2, 4, 6, 8), "float32")
    graph, params, rest = nnx.split(cell, nnx.Param, ...)
    optimizer = cast(Any, optax.chain(optax.adamw(1e-2, weight_decay=0.1), *rules))

    def loss(params):
        outputs = gs.nn.RNN(nnx.merge(graph, params, rest))(inputs[..., :2])
        return jnp.mean((outputs - 2 * targets) ** 2)

    def step(carry, _):
        params, state = carry
        value, gradient = jax.value_and_grad(loss)(params)
        updates, state = optimizer.update(gradient, state, params)
        return (optax.apply_updates(params, updates), state), value

    start = params, optimizer.init(params)
    run = jax.jit(lambda start: jax.lax.scan(step, start, length=200))
    (params, _), losses = run(start)
    assert np.all(np.isfinite(losses))
    assert losses[-1] < losses[0]
    return nnx.merge(graph, params, rest)


@pytest.mark.parametrize("rank", [None, 2])
def test_the_candidate_of_a_gated_unit_stays_within_the_limit_under_adamw(rank):
    cell = gs.nn.SpectralGRUCell(2, 8, rngs=nnx.Rngs(0))
    mask = jax.tree_util.tree_map_with_path(
        lambda path, _: "candidate" in jax.tree_util.keystr(path[:1]),
        nnx.state(cell, nnx.Param),
    )
    trained = train(cell, optax.masked(project_spectral_norm(1.1, rank=rank), mask))
    assert 1.05 < norm(trained.candidate()) <= 1.1 + 1e-4


@pytest.mark.parametrize("method", ["gradient", "heavy_ball", "nesterov"])
def test_a_cell_that_descends_stays_finite_under_adamw(method):
    turn = gs.nn.Cayley((8, 8), rngs=nnx.Rngs(0))
    cell = gs.nn.SBORNNCell(
        2, 8, method=method, step_size=0.1, recurrent=turn, rngs=nnx.Rngs(0)
    )
    trained = train(cell)
    assert float(trained.relative_step_size()) == pytest.approx(0.4, abs=1e-5)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(trained))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"maximum": -1.0}, "`maximum` must"),
        ({"maximum": float("nan")}, "`maximum` must"),
        ({"maximum": 1.0, "rank": 0}, "`rank` must"),
        ({"maximum": 1.0, "exact_every": 0}, "`exact_every` must"),
    ],
)
def test_refuses_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        project_spectral_norm(**options)
