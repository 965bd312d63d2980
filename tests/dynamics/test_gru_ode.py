from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from gradstab.dynamics import (
    Euler,
    GRUODECell,
    RungeKutta,
    Tsitouras,
    fixed_points,
    grid_points,
)
from gradstab.nn import Cayley
from tests.dynamics.flows import SQUARE, gru, rotation
from tests.helpers import check_grads, check_sequence_gradient, random_matrix


def make(dtype=jnp.float32, **options):
    return GRUODECell(
        3,
        4,
        bias_init=nnx.initializers.normal(),
        param_dtype=dtype,
        rngs=nnx.Rngs(0),
        **options,
    )


@pytest.mark.parametrize("reset_after", [False, True])
def test_field_is_the_documented_equation(reset_after, dtype, atol):
    cell = make(dtype, reset_after=reset_after)
    h, x = random_matrix(1, (4,), dtype), random_matrix(2, (3,), dtype)

    def drive(gate):
        dense = getattr(cell.gru, f"dense_{gate}")
        return dense.kernel[...].T @ x + dense.bias[...]

    r = jax.nn.sigmoid(drive("reset") + cell.gru.reset() @ h)
    z = jax.nn.sigmoid(drive("update") + cell.gru.update() @ h)
    matrix = cell.gru.candidate()
    inner = r * (matrix @ h) if reset_after else matrix @ (r * h)
    expected = (1 - z) * (jnp.tanh(drive("candidate") + inner) - h)
    np.testing.assert_allclose(cell.field(h, x), expected, atol=atol)


@pytest.mark.parametrize("reset_after", [False, True])
def test_one_step_of_euler_is_the_discrete_unit(reset_after, dtype):
    cell = make(dtype, reset_after=reset_after, integrator=Euler(1.0))
    h, x = random_matrix(1, (2, 4), dtype), random_matrix(2, (2, 3), dtype)
    found, output = cell(h, x)
    assert output is found
    limit = 4 * float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(found, cell.gru(h, x)[0], atol=limit)
    if reset_after:
        twin = cell.gru.flax_twin()
        assert twin is not None
        np.testing.assert_allclose(found, twin(h, x)[0], atol=limit)


def test_the_sequence_layers_take_it():
    cell = make(duration=0.3)
    inputs = jax.random.normal(jax.random.key(0), (2, 5, 3))
    check_sequence_gradient(cell, inputs, atol=1e-5)


@pytest.mark.usefixtures("double")
def test_adaptive_steps_follow_the_same_flow():
    kind = jnp.float64
    adaptive = make(kind, integrator=Tsitouras(rtol=1e-9, atol=1e-11), duration=2.0)
    fine = make(kind, integrator=RungeKutta(0.01), duration=2.0)
    h, x = random_matrix(1, (2, 4), kind), random_matrix(2, (2, 3), kind)
    end = jax.jit(lambda h, x: adaptive(h, x)[0])
    np.testing.assert_allclose(end(h, x), fine(h, x)[0], atol=1e-8)
    check_grads(end, (h, x), order=1, modes=["rev"])


@pytest.mark.parametrize("integrator", [Euler(), Tsitouras()])
def test_what_is_not_finite_stays_in_its_sequence(integrator):
    cell = make(integrator=integrator)
    h = jnp.zeros((2, 4))
    x = jax.random.normal(jax.random.key(0), (2, 3))
    found, _ = cell(h, x.at[0].set(jnp.nan))
    assert np.all(np.isnan(found[0]))
    np.testing.assert_array_equal(found[1], cell(h, x)[0][1])


@pytest.mark.usefixtures("double")
def test_the_cube_is_invariant_and_attracts():
    field = gru(5 * random_matrix(0, (3, 3), jnp.float64), update=-2.0, reset=3.0)
    inside = 2 * jax.random.uniform(jax.random.key(0), (200, 3)) - 1
    # On a face the flow points inwards.
    for axis in range(3):
        for side in (-1.0, 1.0):
            velocity = jax.vmap(field)(inside.at[:, axis].set(side))[:, axis]
            assert np.all(side * velocity < 0)
    outside = jnp.asarray([3.0, -4.0, 2.0])
    end = RungeKutta(0.02)(field, outside, 60.0)
    assert np.all(np.abs(end) <= 1)


@pytest.mark.usefixtures("double")
def test_where_it_rests_does_not_depend_on_the_update_gate():
    starts = grid_points(SQUARE, 9)
    options: dict[str, Any] = {"reset": [[2.1, -0.7], [-1.3, 1.5]], "bias": [0.1, 0.0]}
    matrix = rotation(0.1, 3.0)
    plain = fixed_points(gru(matrix, **options), starts)
    assert len(plain) > 1
    random = random_matrix(3, (2, 2), jnp.float64)
    gated = fixed_points(gru(matrix, update=random, update_bias=0.7, **options), starts)
    for one, other in zip(plain, gated, strict=True):
        np.testing.assert_allclose(one.state, other.state, atol=1e-12)


def test_slow_units_keep_their_digits():
    """1 - z is some 1e-6 where the update gate is nearly closed."""
    with jax.enable_x64(True):
        exact = make(jnp.float64)
        bias = exact.gru.dense_update.bias
        assert bias is not None
        bias[...] += 14
        h, x = random_matrix(1, (4,), jnp.float64), random_matrix(2, (3,), jnp.float64)
        expected = np.asarray(exact.field(h, x))
        graph, state = nnx.split(exact)
        state = jax.tree.map(lambda w: w.astype(jnp.float32), state)
        h, x = h.astype(jnp.float32), x.astype(jnp.float32)
    cell = make()
    nnx.update(cell, state)
    np.testing.assert_allclose(cell.field(h, x), expected, rtol=1e-4)


def test_matrices_are_built_once_a_step():
    def products(cell):
        jaxpr = jax.make_jaxpr(lambda h, x: cell(h, x)[0])(jnp.ones(4), jnp.ones(3))
        (loop,) = (eqn for eqn in jaxpr.eqns if eqn.primitive.name == "scan")
        return str(loop.params["jaxpr"]).count("dot_general")

    plain = make(integrator=Euler(0.1))
    held = make(integrator=Euler(0.1), candidate=Cayley((4, 4), rngs=nnx.Rngs(0)))
    assert products(plain) == products(held) == 3


def test_batches_of_states_and_inputs_broadcast():
    cell = make()
    h, x = random_matrix(1, (2, 4), jnp.float32), random_matrix(2, (3,), jnp.float32)
    found = cell(h, x)[0]
    np.testing.assert_allclose(found, cell(h, jnp.stack([x, x]))[0], rtol=1e-6)


def test_refuses_a_state_of_another_length():
    for call in (make().field, make()):
        with pytest.raises(ValueError, match="`carry` must have 4 features"):
            call(jnp.zeros(7), jnp.zeros(3))


@pytest.mark.parametrize("duration", [0.0, -1.0, np.nan])
def test_rejects_bad_arguments(duration):
    with pytest.raises(ValueError, match="`duration` must"):
        make(duration=duration)
    with pytest.raises(ValueError, match="`integrator` must be an Integrator"):
        make(integrator=cast(Any, "euler"))
    with pytest.raises(ValueError, match="`inputs` must have 3 features"):
        make().field(jnp.zeros(4), jnp.zeros(2))
