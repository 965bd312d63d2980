from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import gradstab as gs
from tests.helpers import random_matrix

FORMS: dict[str, dict[str, Any]] = {
    "factors": {"rank": 2},
    "dense": {"rank": 5},
    "number": {"rank": 0},
    "matrix": {},
}
METHODS = ("gradient", "heavy_ball", "nesterov")


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def make(form="dense", method: Any = "gradient", hidden=6, **options):
    rngs = nnx.Rngs(0)
    if form == "matrix":
        shape = (hidden, hidden)
        options["recurrent"] = gs.nn.Unconstrained(
            shape, param_dtype=jnp.float64, rngs=rngs
        )
    options = {"step_size": 0.1, "param_dtype": jnp.float64} | FORMS[form] | options
    cell = gs.nn.SBORNNCell(3, hidden, method=method, rngs=rngs, **options)
    if cell.scale is not None:
        cell.scale[...] = jnp.asarray(0.7)
    return cell


def objective(cell, state, inputs):
    image = cell.recurrent_matrix() @ state + cell.dense(inputs)
    return jnp.sum((cell.decay * state - jax.nn.relu(image)) ** 2) / 2


def start(cell, seed=1):
    return random_matrix(seed, (cell.hidden_features,), "float64")


INPUTS = random_matrix(2, (3,), "float32")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("decay", [1.0, 0.5])
def test_each_method_follows_the_gradient_of_the_objective(form, decay):
    inputs = INPUTS.astype(jnp.float64)
    state, other = (random_matrix(seed, (6,), "float64") for seed in (1, 3))
    for method in METHODS:
        cell = make(form, method, decay=decay, momentum=0.3)
        move = -0.1 * jax.grad(lambda h, c=cell: objective(c, h, inputs))(state)
        if method == "gradient":
            expected = state + move
        elif method == "heavy_ball":
            expected = state + 0.3 * other + move, 0.3 * other + move
        else:
            ahead = state + move
            expected = ahead + 0.3 * (ahead - other), ahead
        carry = state if method == "gradient" else (state, other)
        found, output = cell(carry, inputs)
        for one, two in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
            np.testing.assert_allclose(one, two, atol=1e-14)
        np.testing.assert_array_equal(output, jax.tree.leaves(found)[0])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("method", METHODS)
def test_the_lean_gradient_is_that_of_stock_flax(form, method):
    cell = make(form, method)
    inputs = random_matrix(4, (2, 7, 3), "float64")

    def loss(layer, inputs):
        carry = cell.initialize_carry((2, 3))
        return jnp.sum(layer(inputs, initial_carry=carry) ** 3)

    slope = jax.jit(jax.grad(loss, (0, 1)))
    ours, stock = (
        slope(gs.nn.RNN(cell), inputs),
        slope(nnx.RNN(cell, rngs=False), inputs),
    )
    for one, other in zip(*map(jax.tree.leaves, (ours, stock)), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-14)
    weights = jax.tree.leaves(nnx.state(ours[0], nnx.Param))
    assert all(np.any(leaf != 0) for leaf in weights)  # every weight is trained


@pytest.mark.parametrize("form", FORMS)
def test_the_jacobian_of_a_gradient_step_is_symmetric_and_known(form):
    cell = make(form)
    inputs = INPUTS.astype(jnp.float64)
    state = start(cell)
    jacobian = jax.jacobian(lambda h: cell(h, inputs)[0])(state)
    matrix = cell.recurrent_matrix()
    is_open = (matrix @ state + cell.dense(inputs) > 0).astype(jnp.float64)
    k = jnp.eye(6) - matrix.mT * is_open[None, :]
    np.testing.assert_allclose(jacobian, np.eye(6) - 0.1 * k @ k.mT, atol=1e-13)


@pytest.mark.parametrize("relative", [0.5, 1.9])
def test_products_of_jacobians_do_not_grow(relative):
    cell = make("factors", hidden=8)
    cell.step_size *= relative / float(cell.relative_step_size())
    assert cell.relative_step_size() == pytest.approx(relative)
    step = jax.jit(
        lambda h, x: (jax.jacobian(lambda h: cell(h, x)[0])(h), cell(h, x)[0])
    )
    state, total = start(cell), jnp.eye(8)
    for x in random_matrix(5, (200, 3), "float64"):
        jacobian, state = step(state, x)
        values = jnp.linalg.eigvalsh(jacobian)
        assert jnp.max(values) <= 1 + 1e-12
        assert jnp.min(values) >= 1 - relative - 1e-12
        total = jacobian @ total
        assert jnp.linalg.norm(total, 2) <= 1 + 1e-12
    if relative < 1:
        smallest = jnp.linalg.svd(total, compute_uv=False)[-1]
        assert smallest >= (1 - relative) ** 200


def test_the_objective_falls_where_the_pattern_of_activity_stays():
    cell = make("dense", step_size=1e-3)
    assert cell.relative_step_size() <= 1
    for seed in range(10):
        state, inputs = start(cell, seed), random_matrix(seed + 50, (3,), "float64")
        after, _ = cell(state, inputs)
        patterns = [
            cell.recurrent_matrix() @ h + cell.dense(inputs) > 0 for h in (state, after)
        ]
        if jnp.all(patterns[0] == patterns[1]):
            assert objective(cell, after, inputs) < objective(cell, state, inputs)


def test_without_momentum_the_three_methods_are_one():
    inputs = random_matrix(6, (2, 9, 3), "float64")
    outputs = [
        gs.nn.RNN(make("factors", method, momentum=0.0))(inputs) for method in METHODS
    ]
    for other in outputs[1:]:
        np.testing.assert_allclose(other, outputs[0], atol=1e-15)


@pytest.mark.parametrize("method", METHODS)
def test_a_step_size_of_zero_moves_nothing(method):
    cell = make("factors", method, step_size=0.0)
    state = start(cell)
    second = {"gradient": None, "heavy_ball": jnp.zeros(6), "nesterov": state}[method]
    carry = state if second is None else (state, second)
    moved, _ = cell(carry, INPUTS.astype(jnp.float64))
    for one, other in zip(*map(jax.tree.leaves, (moved, carry)), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("method", METHODS)
def test_a_fixed_point_of_the_plain_recurrence_is_one_of_every_method(method):
    cell = make("number", method)
    cell.scale = nnx.Param(jnp.asarray(0.5))
    cell.dense.kernel[...] = jnp.zeros((3, 6))
    cell.dense.bias = nnx.Param(jnp.arange(1.0, 7.0))
    state = 2 * jnp.arange(1.0, 7.0)  # h = h / 2 + b
    carry = {
        "gradient": state,
        "heavy_ball": (state, jnp.zeros(6)),
        "nesterov": (state, state),
    }[method]
    moved, _ = cell(carry, jnp.zeros(3))
    for one, other in zip(*map(jax.tree.leaves, (moved, carry)), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-14)


def test_where_all_units_are_open_the_way_to_the_fixed_point_is_linear():
    cell = make("dense")
    cell.dense.bias = nnx.Param(jnp.full(6, 50.0))
    matrix, inputs = cell.recurrent_matrix(), INPUTS.astype(jnp.float64)
    k = jnp.eye(6) - matrix.mT
    goal = jnp.linalg.solve(jnp.eye(6) - matrix, cell.dense(inputs))
    state = start(cell)
    moved, _ = cell(state, inputs)
    expected = (jnp.eye(6) - 0.1 * k @ k.mT) @ (state - goal)
    np.testing.assert_allclose(moved - goal, expected, atol=1e-10)


def test_few_factors_make_no_square_product():
    def products(rank):
        rnn = gs.nn.RNN(make("dense", hidden=16, rank=rank))
        jaxpr = str(jax.make_jaxpr(rnn)(jnp.ones((2, 4, 3))))
        return "f64[16,16]" in jaxpr

    assert not products(7)
    assert products(8)


@pytest.mark.error_text
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "adam"}, "`method` must be one of"),
        ({"step_size": -1.0}, "`step_size` must"),
        ({"decay": float("nan")}, "`decay` must"),
        ({"momentum": float("inf")}, "`momentum` must"),
        ({"rank": 7}, "`rank` must"),
        (
            {"rank": 1, "recurrent": gs.nn.Cayley((6, 6), rngs=nnx.Rngs(0))},
            "`rank` must be None",
        ),
    ],
)
def test_refuses_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        gs.nn.SBORNNCell(3, 6, rngs=nnx.Rngs(0), **options)


def test_small_cells_have_factors_too():
    cell = gs.nn.SBORNNCell(1, 2, rngs=nnx.Rngs(0))
    assert cell.scale is None
    assert cell.expand is not None
    assert cell.expand.shape == (2, 1)


@pytest.mark.parametrize(
    "make_cell",
    [
        lambda **options: gs.nn.SBORNNCell(2, 4, **options),
        lambda **options: gs.nn.GRUCell(2, 4, **options),
        lambda **options: gs.nn.NCGRUCell(2, 4, **options),
        lambda **options: gs.nn.ENRNNCell(2, 4, short_features=2, **options),
    ],
)
def test_real_cells_refuse_complex_parameters(make_cell):
    with pytest.raises(ValueError, match="`param_dtype` must"):
        make_cell(param_dtype=jnp.complex64, rngs=nnx.Rngs(0))
