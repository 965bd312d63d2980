import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import gradstab as gs


class Model(nnx.Module):
    def __init__(self, *, rngs):
        self.turn = gs.nn.Cayley((4, 4), rngs=rngs)

    def __call__(self, inputs):
        return inputs @ self.turn()


pytestmark = pytest.mark.usefixtures("nnx_mode")


def test_a_constrained_stock_layer_is_stock_again():
    layer = nnx.Linear(4, 4, rngs=nnx.Rngs(0))
    constrained = gs.nn.constrain(
        layer,
        nnx.PathContains("kernel"),
        lambda shape: gs.nn.Householder(shape, rngs=nnx.Rngs(1)),
    )
    exported = gs.nn.export(constrained)
    assert type(exported) is nnx.Linear
    assert type(exported.kernel) is nnx.Param
    inputs = jax.random.normal(jax.random.key(0), (2, 4))
    np.testing.assert_array_equal(
        exported(inputs), gs.nn.materialize(constrained)(inputs)
    )
    assert isinstance(constrained.kernel, gs.nn.Householder)


def test_a_module_of_the_user_keeps_working():
    model = Model(rngs=nnx.Rngs(0))
    exported = gs.nn.export(model)
    inputs = jnp.ones((2, 4))
    np.testing.assert_array_equal(exported(inputs), model(inputs))
    assert set(nnx.to_pure_dict(nnx.state(exported, nnx.Param))) == {"turn"}


def test_cells_become_their_flax_twins():
    rngs = nnx.Rngs(0)
    cell = gs.nn.OrthogonalCell(
        3, 4, recurrent=gs.nn.Cayley((4, 4), rngs=rngs), rngs=rngs
    )
    model = gs.nn.RNN(cell)
    exported = gs.nn.export(model)
    assert type(exported) is nnx.RNN
    assert type(exported.cell) is nnx.SimpleCell
    for leaf in jax.tree.leaves(nnx.state(exported), is_leaf=_is_variable):
        assert "gradstab" not in type(leaf).__module__
    inputs = jax.random.normal(jax.random.key(0), (2, 5, 3))
    np.testing.assert_allclose(exported(inputs), model(inputs), atol=1e-6)


def _is_variable(leaf):
    return isinstance(leaf, nnx.Variable)


def test_a_cell_without_a_twin_keeps_its_class_and_says_so():
    cell = gs.nn.OrthogonalCell(3, 4, activation_fn=gs.nn.modrelu, rngs=nnx.Rngs(0))
    model = gs.nn.RNN(cell)
    with pytest.warns(UserWarning, match="OrthogonalCell, RNN keep"):
        exported = gs.nn.export(model)
    inputs = jax.random.normal(jax.random.key(0), (2, 5, 3))
    np.testing.assert_allclose(exported(inputs), model(inputs), atol=1e-6)
    assert isinstance(exported.cell.recurrent, nnx.Param)


def test_a_model_without_gradstab_is_equal_and_silent():
    layer = nnx.Linear(4, 4, rngs=nnx.Rngs(0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        exported = gs.nn.export(layer)
    np.testing.assert_array_equal(exported.kernel[...], layer.kernel[...])


class Doubled(gs.nn.OrthogonalCell):
    """Another equation with the same weights."""

    def activate(self, carry, products, projected):
        return 2 * super().activate(carry, products, projected)


class Shifted(gs.nn.GRUCell):
    """Another equation with the same weights."""

    def project(self, inputs):
        return super().project(inputs + 1)


class Summed(gs.nn.LSTMCell):
    """Another equation with the same weights."""

    def recurrent_state(self, carry):
        return carry[0] + carry[1]


@pytest.mark.parametrize("kind", [Doubled, Shifted, Summed])
def test_a_subclass_with_other_equations_keeps_its_class(kind):
    model = gs.nn.RNN(kind(3, 4, rngs=nnx.Rngs(0)))
    inputs = jax.random.normal(jax.random.key(0), (2, 5, 3))
    with pytest.warns(UserWarning, match=f"{kind.__name__}.* keep their class"):
        exported = gs.nn.export(model)
    np.testing.assert_allclose(exported(inputs), model(inputs), atol=1e-6)


@pytest.mark.filterwarnings("ignore:No exact Flax twin")
@pytest.mark.parametrize("option", ["param_dtype", "dtype"])
@pytest.mark.parametrize("kind", [gs.nn.OrthogonalCell, gs.nn.GRUCell, gs.nn.LSTMCell])
def test_cells_of_low_precision_can_be_called_when_exported(kind, option):
    model = gs.nn.RNN(kind(3, 4, rngs=nnx.Rngs(0), **{option: jnp.bfloat16}))
    inputs = jax.random.normal(jax.random.key(0), (2, 5, 3))
    with jax.numpy_dtype_promotion("standard"):
        exported = gs.nn.export(model)(inputs)
        np.testing.assert_allclose(exported, model(inputs), atol=0.02)


@pytest.mark.parametrize(
    "make",
    [
        lambda rngs: gs.nn.ENRNNCell(2, 4, short_features=1, rngs=rngs),
        lambda rngs: gs.nn.SBORNNCell(2, 4, rngs=rngs),
        lambda rngs: gs.nn.NCGRUCell(2, 4, rngs=rngs),
    ],
)
def test_names_every_cell_that_flax_has_not(make):
    cell = make(nnx.Rngs(0))
    with pytest.warns(UserWarning, match=type(cell).__name__):
        gs.nn.export(cell)
