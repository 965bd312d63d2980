"""Models of many shapes, which know nothing of being measured."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from gradstab.diagnostics import diagnose, gradient_norms
from tests.diagnostics.models import inputs, mean_square

QUICK: dict[str, Any] = {"exponents": 1, "jacobians": 0, "probes": 2}
SIZE = 3


def cell(**options):
    return nnx.SimpleCell(2, SIZE, rngs=nnx.Rngs(0), **options)


class Mapped(nnx.Module):
    """Runs over the batch by a vmap of Flax."""

    def __init__(self):
        self.rnn = nnx.RNN(cell())

    def __call__(self, x):
        return nnx.vmap(lambda rnn, x: rnn(x), in_axes=(None, 0))(self.rnn, x)


class Scanned(nnx.Module):
    """Runs its cell by a scan of Flax."""

    def __init__(self):
        self.cell = cell()

    def __call__(self, x):
        @nnx.scan(
            in_axes=(nnx.StateAxes({...: None}), nnx.Carry, 1), out_axes=(nnx.Carry, 1)
        )
        def run(cell, carry, x):
            return cell(carry, x)

        return run(self.cell, jnp.zeros((x.shape[0], SIZE)), x)[1]


class Branched(nnx.Module):
    """Calls its layer in a branch of Flax."""

    def __init__(self):
        self.layer = nnx.Linear(2, SIZE, rngs=nnx.Rngs(0))

    def __call__(self, x):
        def apply(layer, x):
            return layer(x)

        return nnx.cond(jnp.sum(x) > 0, apply, apply, self.layer, x)


@pytest.mark.parametrize("kind", [Mapped, Scanned, Branched])
def test_a_transform_that_bars_changes_hides_its_module_alone(kind):
    class Whole(nnx.Module):
        def __init__(self):
            self.hidden = kind()
            self.seen = nnx.Linear(SIZE, 1, rngs=nnx.Rngs(1))

        def __call__(self, x):
            return self.seen(self.hidden(x))

    report = diagnose(Whole(), inputs(5), mean_square, **QUICK)
    assert report.measurement.depth.names == ("seen",)
    assert report.measurement.recurrences == ()
    assert all(name.startswith("hidden") for name in report.measurement.unseen)
    assert report.measurement.unseen
    expected = mean_square(Whole(), inputs(5))
    np.testing.assert_allclose(report.to_dict()["loss"], expected, rtol=1e-6)


def test_recurrences_stacked_by_a_transform_are_named_unseen():
    class Ensemble(nnx.Module):
        def __init__(self):
            @nnx.vmap(in_axes=0)
            def create(rngs):
                return nnx.RNN(nnx.SimpleCell(2, SIZE, rngs=rngs))

            self.members = create(nnx.Rngs(0).split(3))
            self.head = nnx.Linear(SIZE, 1, rngs=nnx.Rngs(1))

        def __call__(self, x):
            run = nnx.vmap(lambda member, x: member(x), in_axes=(0, None))
            return self.head(jnp.mean(run(self.members, x), axis=0))

    report = diagnose(Ensemble(), inputs(5), mean_square, **QUICK)
    assert any(name.startswith("members") for name in report.measurement.unseen)


class Doubling(nnx.RNN):
    """Changes its inputs, and asks its cell for a size."""

    def __call__(self, x, lengths=None, **options):
        cell: Any = self.cell
        assert cell.in_features == 2
        return super().__call__(2 * x, seq_lengths=lengths, **options)


def test_a_layer_that_derives_from_one_of_flax_is_measured():
    class Model(nnx.Module):
        def __init__(self):
            self.rnn = Doubling(cell())

        def __call__(self, x):
            return self.rnn(x, jnp.asarray([4, 5, 5]))

    class Plain(Model):
        def __init__(self):
            self.rnn = nnx.RNN(cell())

        def __call__(self, x):
            return self.rnn(2 * x, seq_lengths=jnp.asarray([4, 5, 5]))

    found = gradient_norms(Model(), inputs(5), mean_square)
    expected = gradient_norms(Plain(), inputs(5), mean_square)
    np.testing.assert_allclose(found["rnn"], expected["rnn"], rtol=1e-6)


class Siamese(nnx.Module):
    """Runs one cell twice, step by step."""

    def __init__(self):
        self.cell = cell()

    def run(self, x):
        carry = jnp.zeros((x.shape[0], SIZE))
        for time in range(x.shape[1]):
            carry, _ = self.cell(carry, x[:, time])
        return carry

    def __call__(self, x):
        return self.run(x) - self.run(-x)


def test_two_runs_of_a_cell_are_two_recurrences():
    found = gradient_norms(Siamese(), inputs(4), mean_square)
    assert {name: norms.shape for name, norms in found.items()} == {
        "cell (call 1)": (4, 3),
        "cell (call 2)": (4, 3),
    }


def test_a_cell_called_in_its_own_way_is_named_unseen():
    class Scaled(nnx.SimpleCell):
        def __call__(self, carry, inputs, scale=1.0):
            return super().__call__(carry, scale * inputs)

    class Model(nnx.Module):
        def __init__(self):
            self.cell = Scaled(2, SIZE, rngs=nnx.Rngs(0))
            self.head = nnx.Linear(SIZE, 1, rngs=nnx.Rngs(1))

        def __call__(self, x):
            carry = jnp.zeros((x.shape[0], SIZE))
            for time in range(x.shape[1]):
                carry, _ = self.cell(carry, x[:, time], scale=0.5)
            return self.head(carry)

    report = diagnose(Model(), inputs(4), mean_square, **QUICK)
    assert report.measurement.recurrences == ()
    assert report.measurement.unseen == ("cell.dense_h", "cell.dense_i")


def test_large_integers_are_not_rounded():
    class Parity(nnx.RNNCellBase):
        def __init__(self):
            self.weight = nnx.Param(jnp.ones(()))

        def __call__(self, carry, inputs):
            odd = (inputs % 2).astype(jnp.float32)
            carry = 0.5 * carry + self.weight * odd
            return carry, carry

        def initialize_carry(self, input_shape, rngs=None, carry_init=None):
            return jnp.zeros(input_shape)

        @property
        def num_feature_axes(self):
            return 1

    model, batch = nnx.RNN(Parity()), jnp.full((2, 4, 1), 2**24 + 1)
    report = diagnose(model, batch, mean_square, **QUICK)
    np.testing.assert_allclose(
        report.to_dict()["loss"], mean_square(model, batch), rtol=1e-6
    )


def test_constants_of_a_batch_stay_constants():
    def loss(model, batch):
        outputs = model(batch["x"][:, : batch["steps"]])
        assert batch["mode"] == "train"
        return jnp.mean(outputs**2)

    batch = {"x": inputs(6), "steps": 4, "mode": "train"}
    report = diagnose(nnx.RNN(cell()), batch, loss, **QUICK)
    assert report.summaries[0].steps == 4


def test_the_longest_sequences_are_followed():
    def loss(model, batch):
        lengths = jnp.asarray([1, 1, 1, 1, 6, 6, 6, 6])
        return jnp.mean(model(batch, seq_lengths=lengths) ** 2)

    report = diagnose(nnx.RNN(cell()), inputs(6, batch=8), loss, **QUICK)
    (found,) = report.measurement.recurrences
    np.testing.assert_array_equal(found.lengths, np.full(4, 6))


def test_an_error_of_the_model_is_its_own():
    class Failing(nnx.Module):
        def __init__(self):
            self.layer = nnx.Linear(2, 2, rngs=nnx.Rngs(0))

        def __call__(self, x):
            raise KeyError("its own")

    with pytest.raises(KeyError, match="its own"):
        diagnose(Failing(), inputs(3), mean_square)


def test_a_batch_of_nothing_is_refused():
    with pytest.raises(ValueError, match="must have a recurrence or a layer"):
        diagnose(nnx.RNN(cell()), inputs(3)[:0], lambda m, b: jnp.sum(m(b)), **QUICK)
