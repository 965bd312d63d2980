import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import gradstab as gs

GOLDEN = json.loads(
    (Path(__file__).parents[1] / "golden" / "torch_recurrent.json").read_text()
)
KINDS: dict[str, Any] = {"GRU": gs.nn.GRUCell, "LSTM": gs.nn.LSTMCell}


def make(kind, **options):
    if kind == "GRU":
        options = {"candidate_bias": True} | options
    return KINDS[kind](3, 4, rngs=nnx.Rngs(0), **options)


@pytest.mark.parametrize("kind", KINDS)
def test_values_and_gradients_are_those_of_pytorch(kind):
    with jax.enable_x64(True):
        golden = GOLDEN[kind]
        cell = make(kind, param_dtype=jnp.float64)
        gs.nn.load_torch(cell, golden["weights"])
        rnn, inputs = gs.nn.RNN(cell), jnp.asarray(golden["inputs"])
        np.testing.assert_allclose(rnn(inputs), golden["outputs"], atol=1e-12)
        gradient = jax.grad(lambda x: jnp.sum(rnn(x) ** 3))(inputs)
        np.testing.assert_allclose(gradient, golden["gradient"], atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_single_precision_is_as_close_as_it_can_be(kind):
    cell = make(kind)
    gs.nn.load_torch(cell, GOLDEN[kind]["weights"])
    outputs = gs.nn.RNN(cell)(jnp.asarray(GOLDEN[kind]["inputs"], jnp.float32))
    np.testing.assert_allclose(outputs, GOLDEN[kind]["outputs"], atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_a_layer_without_biases(kind):
    weights = {k: v for k, v in GOLDEN[kind]["weights"].items() if "weight" in k}
    options = {"candidate_bias": False} if kind == "GRU" else {}
    cell = make(kind, bias_init=nnx.initializers.normal(), **options)
    gs.nn.load_torch(cell, weights)
    for gate in cell.gates:
        np.testing.assert_array_equal(getattr(cell, f"dense_{gate}").bias[...], 0)


def test_other_layers_by_their_suffix():
    weights = GOLDEN["LSTM"]["weights"]
    renamed = {k.replace("l0", "l1_reverse"): v for k, v in weights.items()}
    first, second = make("LSTM"), make("LSTM")
    gs.nn.load_torch(first, weights)
    gs.nn.load_torch(second, renamed, "l1_reverse")
    for one, other in zip(
        *map(jax.tree.leaves, map(nnx.state, (first, second))), strict=True
    ):
        np.testing.assert_array_equal(one, other)


@pytest.mark.error_text
def test_names_what_does_not_fit():
    weights = GOLDEN["GRU"]["weights"]
    with pytest.raises(ValueError, match="must have `candidate_bias` where"):
        gs.nn.load_torch(make("GRU", candidate_bias=False), weights)
    with pytest.raises(ValueError, match="must hold weight_ih_l3, got weight_ih_l0"):
        gs.nn.load_torch(make("GRU"), weights, "l3")
    with pytest.raises(ValueError, match=r"`weight_ih_l0` must have shape \(16, 3\)"):
        gs.nn.load_torch(make("LSTM"), weights)
    turn = gs.nn.Cayley((4, 4), rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="outside the set of Cayley"):
        gs.nn.load_torch(make("GRU", candidate=turn), weights)
