"""The gradient over time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.flatten_util import ravel_pytree

import gradstab as gs
from gradstab.diagnostics import gradient_norms
from tests.diagnostics.models import CELLS, Reader, inputs, make_cell, mean_square

STEPS, SIZE, STEP = 4, 3, 1e-6
NAMES = list(CELLS)


def loss_from(model, batch, start, carry):
    """Continues a run from a carry, and reads the end; nothing but cells and loops."""
    output = None
    for time in range(start, batch.shape[1]):
        carry, output = model.rnn.cell(carry, batch[:, time])
    return jnp.mean(model.head(output) ** 2)


def central_differences(model, batch):
    """Computes ‖∂L/∂h_t‖ of each sequence, entry by entry."""
    model.rnn.cell = gs.nn.materialize(model.rnn.cell)
    carry = model.rnn.cell.initialize_carry(
        (batch.shape[0], batch.shape[2]), nnx.Rngs(0)
    )
    evaluate = jax.jit(
        lambda carry, start: loss_from(model, batch, start, carry), static_argnums=1
    )
    norms = np.zeros((batch.shape[1], batch.shape[0]))
    for time in range(batch.shape[1]):
        flat, rebuild = ravel_pytree(carry)
        slopes = [
            (
                evaluate(rebuild(flat.at[i].add(STEP)), time)
                - evaluate(rebuild(flat.at[i].add(-STEP)), time)
            )
            / (2 * STEP)
            for i in range(flat.size)
        ]
        slopes = jax.tree.leaves(rebuild(jnp.stack(slopes)))
        squares = [np.sum(np.asarray(x) ** 2, axis=1) for x in slopes]
        norms[time] = np.sqrt(sum(squares))
        carry, _ = model.rnn.cell(carry, batch[:, time])
    return norms


@pytest.mark.parametrize("layer", [nnx.RNN, gs.nn.RNN], ids=["flax", "ours"])
@pytest.mark.parametrize("name", NAMES)
def test_equals_central_differences(name, layer):
    with jax.enable_x64(True):
        model = Reader(layer(make_cell(name, SIZE)), SIZE)
        batch = inputs(STEPS)
        found = jax.jit(lambda batch: gradient_norms(model, batch, mean_square))(batch)
        expected = central_differences(model, batch)
    np.testing.assert_allclose(found["rnn"], expected, rtol=1e-6, atol=1e-11)


class Options(nnx.Module):
    """A recurrence called with options, and a sum of all its outputs."""

    def __init__(self, layer, **options):
        self.rnn = layer(nnx.SimpleCell(2, SIZE, rngs=nnx.Rngs(0)))
        self.options = tuple(options.items())

    def __call__(self, inputs):
        return self.rnn(inputs, **dict(self.options))


def reference(model, batch):
    """Differentiates with respect to perturbations of all carries."""
    cell = model.rnn.cell
    still = jnp.zeros((batch.shape[1], batch.shape[0], SIZE))

    def loss(perturbations):
        carry, total = jnp.zeros((batch.shape[0], SIZE)), 0.0
        for time in range(batch.shape[1]):
            carry, output = cell(carry + perturbations[time], batch[:, time])
            total += jnp.sum(output**2)
        return total

    return jnp.linalg.norm(jax.grad(loss)(still), axis=-1)


def sum_square(model, batch):
    return jnp.sum(model(batch) ** 2)


@pytest.mark.parametrize("layer", [nnx.RNN, gs.nn.RNN], ids=["flax", "ours"])
class TestOptions:
    def test_time_first(self, layer):
        model = Options(layer, time_major=True)
        batch = inputs(5)
        found = gradient_norms(model, jnp.swapaxes(batch, 0, 1), sum_square)
        np.testing.assert_allclose(found["rnn"], reference(model, batch), rtol=1e-5)

    def test_reverse_runs_are_in_the_order_of_the_run(self, layer):
        model = Options(layer, reverse=True)
        batch = inputs(5)
        found = gradient_norms(model, batch, sum_square)
        expected = reference(model, batch[:, ::-1])
        np.testing.assert_allclose(found["rnn"], expected, rtol=1e-5)

    def test_axes_of_a_batch_are_made_one(self, layer):
        model = Options(layer)
        batch = inputs(5, batch=6)
        found = gradient_norms(model, batch.reshape(2, 3, 5, 2), sum_square)
        np.testing.assert_allclose(found["rnn"], reference(model, batch), rtol=1e-5)

    def test_of_an_initial_carry(self, layer):
        class FromState(Options):
            def __call__(self, inputs):
                carry = jnp.zeros((inputs.shape[0], SIZE))
                return self.rnn(inputs, initial_carry=carry)

        model, batch = FromState(layer), inputs(5)
        found = gradient_norms(model, batch, sum_square)
        np.testing.assert_allclose(found["rnn"], reference(model, batch), rtol=1e-5)


def test_what_a_sequence_has_not_is_zero():
    model = Reader(gs.nn.RNN(nnx.SimpleCell(2, SIZE, rngs=nnx.Rngs(0))), SIZE)
    batch = inputs(6)

    def loss(model, batch):
        lengths = jnp.asarray([2, 6, 4])
        return jnp.sum(model.rnn(batch, seq_lengths=lengths) ** 2)

    found = gradient_norms(model, batch, loss)["rnn"]
    assert np.all((found > 0) == (np.arange(6)[:, None] < np.asarray([2, 6, 4])))


def test_both_directions_have_a_name():
    model = nnx.Bidirectional(
        nnx.RNN(nnx.GRUCell(2, SIZE, rngs=nnx.Rngs(0))),
        nnx.RNN(nnx.GRUCell(2, SIZE, rngs=nnx.Rngs(1))),
    )
    found = gradient_norms(model, inputs(5), mean_square)
    assert sorted(found) == ["backward_rnn", "forward_rnn"]
    assert all(norms.shape == (5, 3) for norms in found.values())


def test_two_calls_of_one_layer_are_told_apart():
    class Twice(nnx.Module):
        def __init__(self):
            self.rnn = nnx.RNN(nnx.SimpleCell(2, 2, rngs=nnx.Rngs(0)))

        def __call__(self, inputs):
            once = self.rnn(inputs)
            assert isinstance(once, jax.Array)
            return self.rnn(once)

    found = gradient_norms(Twice(), inputs(5), mean_square)
    assert sorted(found) == ["rnn (call 1)", "rnn (call 2)"]


def test_a_cell_called_step_by_step_is_a_recurrence():
    class Loop(nnx.Module):
        def __init__(self):
            self.rnn = nnx.RNN(nnx.SimpleCell(2, SIZE, rngs=nnx.Rngs(0)))
            self.cell = self.rnn.cell
            del self.rnn

        def __call__(self, inputs):
            carry, outputs = jnp.zeros((inputs.shape[0], SIZE)), []
            for time in range(inputs.shape[1]):
                carry, output = self.cell(carry, inputs[:, time])
                outputs.append(output)
            return jnp.stack(outputs, 1)

    model, batch = Loop(), inputs(5)
    found = gradient_norms(model, batch, sum_square)
    whole = Options(nnx.RNN)
    expected = gradient_norms(whole, batch, sum_square)["rnn"]
    np.testing.assert_allclose(found["cell"], expected, rtol=1e-5)


class Wrapped(nnx.Module):
    """A recurrence within a transform of Flax."""

    def __init__(self, transform):
        self.rnn = nnx.RNN(nnx.SimpleCell(2, SIZE, rngs=nnx.Rngs(0)))
        self.transform = transform

    def __call__(self, inputs):
        return self.transform(lambda rnn, x: rnn(x))(self.rnn, inputs)


@pytest.mark.parametrize("transform", [nnx.jit, nnx.remat], ids=["jit", "remat"])
def test_within_a_transform_of_flax(transform):
    batch = inputs(5)
    found = gradient_norms(Wrapped(transform), batch, sum_square)
    expected = gradient_norms(Options(nnx.RNN), batch, sum_square)
    np.testing.assert_allclose(found["rnn"], expected["rnn"], rtol=1e-5)


def test_random_cells_have_the_gradient_of_their_draw():
    with jax.enable_x64(True):
        dtype = jnp.float64
        cell = gs.nn.HDetachLSTMCell(
            2, SIZE, p_detach=0.5, param_dtype=dtype, rngs=nnx.Rngs(0)
        )
        model = Reader(gs.nn.RNN(cell, rngs=nnx.Rngs(3)), SIZE)
        batch = inputs(6)
        found = gradient_norms(model, batch, mean_square)["rnn"]
        coins = cell.draw(nnx.Rngs(3).fork().draw(), 6)
        still = jnp.zeros((6, 2, 3, SIZE))

        def loss(perturbations):
            zeros = jnp.zeros((3, SIZE))
            carry = zeros, zeros
            for time in range(6):
                memory, hidden = carry
                memory += perturbations[time, 0]
                hidden += perturbations[time, 1]
                projected = jax.tree.map(
                    lambda x: x[0], cell.project(batch[None, :, time])
                )
                hidden = gs.gradients.scale_gradient(hidden, coins[time])
                products = tuple(hidden @ k for k in cell.recurrent_kernels())
                carry = cell.activate((memory, hidden), products, projected)
            return jnp.mean(model.head(carry[1]) ** 2)

        slopes = jax.grad(loss)(still)
        expected = jnp.sqrt(jnp.sum(slopes**2, axis=(1, 3)))
        assert 0 < np.sum(coins) < 6
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_small_gradients_do_not_underflow():
    model = Reader(nnx.RNN(nnx.SimpleCell(2, SIZE, rngs=nnx.Rngs(0))), SIZE)

    def loss(model, batch):
        return 1e-25 * mean_square(model, batch)

    batch = inputs(3)
    found = gradient_norms(model, batch, loss)["rnn"]
    expected = gradient_norms(model, batch, mean_square)["rnn"]
    np.testing.assert_allclose(found * 1e25, expected, rtol=1e-5)


def test_the_model_is_left_unchanged():
    model = Reader(nnx.RNN(nnx.GRUCell(2, SIZE, rngs=nnx.Rngs(0))), SIZE)
    graph, params, counts, _ = nnx.split(model, nnx.Param, nnx.RngCount, ...)
    before = jax.tree.map(jnp.copy, (params, counts))
    kinds = [type(module) for _, module in nnx.iter_modules(model)]
    gradient_norms(model, inputs(3), mean_square)
    graph_after, *after, _ = nnx.split(model, nnx.Param, nnx.RngCount, ...)
    assert graph == graph_after
    jax.tree.map(np.testing.assert_array_equal, before, tuple(after))
    assert kinds == [type(module) for _, module in nnx.iter_modules(model)]


@pytest.mark.parametrize(
    "loss", [lambda m, b: m(b), lambda m, b: jnp.sum(m(b)).astype(int)]
)
def test_a_loss_that_is_no_real_scalar_is_refused(loss):
    model = Reader(nnx.RNN(nnx.SimpleCell(2, SIZE, rngs=nnx.Rngs(0))), SIZE)
    with pytest.raises(ValueError, match="`loss` must return a real scalar"):
        gradient_norms(model, inputs(3), loss)
