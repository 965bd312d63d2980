"""Weights of PyTorch's recurrent layers in gradstab's cells."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array

from gradstab.nn._gru import GRUCell
from gradstab.nn._lstm import LSTMCell


def load_torch(
    cell: GRUCell | LSTMCell, weights: Mapping[str, Any], suffix: str = "l0"
) -> None:
    """Gives a cell the weights of a layer of `torch.nn.GRU` or `torch.nn.LSTM`.

    The cell then computes what the layer does. A GRU needs `candidate_bias`, which
    PyTorch has and Flax has not; the other pairs of biases, which PyTorch only ever
    adds, become one.

    Args:
        cell: a `GRUCell` or `LSTMCell` of the sizes of the layer. It is changed. Its
            recurrent parametrizations take their blocks by `assign`.
        weights: the layer's `state_dict()`, as arrays that NumPy can read.
        suffix: which layer and direction: "l0", "l1", "l0_reverse".

    Raises:
        ValueError: if weights are missing or have other shapes, if biases have no place
            in the cell, or if a block lies outside the set of its parametrization. The
            cell may then hold some of the weights.

    References:
        The equations in the documentation of `torch.nn.GRU` and `torch.nn.LSTM`.
    """
    blocks = _blocks(cell, weights, suffix)
    biases = [blocks.get(name) for name in ("bias_ih", "bias_hh")]
    has_candidate_bias = getattr(cell, "candidate_bias", None) is not None
    if isinstance(cell, GRUCell) and has_candidate_bias != (biases[0] is not None):
        raise ValueError(
            "`cell` must have `candidate_bias` where the layer has biases, and only "
            "there: PyTorch resets the recurrent bias of the candidate."
        )
    for place, gate in enumerate(cell.gates):
        dense: nnx.Linear = getattr(cell, f"dense_{gate}")
        dense.kernel[...] = blocks["weight_ih"][place].T
        getattr(cell, gate).assign(blocks["weight_hh"][place])
        if biases[0] is None or biases[1] is None:
            if dense.bias is not None:
                dense.bias[...] = jnp.zeros_like(dense.bias[...])
            continue
        if dense.bias is None:
            raise ValueError("`cell` must have biases where the layer has them.")
        bias, recurrent_bias = biases[0][place], biases[1][place]
        if isinstance(cell, GRUCell) and gate == "candidate":
            assert cell.candidate_bias is not None
            cell.candidate_bias[...] = recurrent_bias
            dense.bias[...] = bias
        else:
            dense.bias[...] = bias + recurrent_bias


def _blocks(
    cell: GRUCell | LSTMCell, weights: Mapping[str, Any], suffix: str
) -> dict[str, list[Array]]:
    """Cuts each weight into those of its gates."""
    hidden, count = cell.hidden_features, len(cell.gates)
    shapes = {
        "weight_ih": (count * hidden, cell.in_features),
        "weight_hh": (count * hidden, hidden),
        "bias_ih": (count * hidden,),
        "bias_hh": (count * hidden,),
    }
    found = {}
    for name, shape in shapes.items():
        key = f"{name}_{suffix}"
        if key not in weights:
            if name.startswith("bias") and f"bias_ih_{suffix}" not in weights:
                continue
            raise ValueError(f"`weights` must hold {key}, got {', '.join(weights)}.")
        weight = np.asarray(weights[key])
        if weight.shape != shape:
            raise ValueError(f"`{key}` must have shape {shape}, got {weight.shape}.")
        whole = jnp.asarray(weight, cell.param_dtype)
        found[name] = jnp.split(whole, count)
    return found
