"""How far a state drifts from the exact one when products are taken in bfloat16.

`python -m benchmarks.drift` runs cells with the state in float32, as is their default,
and products in bfloat16 or float32, beside the same cell in float64. What is printed
is the relative error of the state after T steps, the median over sequences.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from flax import nnx

import gradstab as gs

KINDS: dict[str, Callable[..., nnx.RNNCellBase]] = {
    "OrthogonalCell": gs.nn.OrthogonalCell,
    "SpectralRNNCell": gs.nn.SpectralRNNCell,
    "GRUCell": gs.nn.GRUCell,
    "SpectralGRUCell": gs.nn.SpectralGRUCell,
    "NCGRUCell": gs.nn.NCGRUCell,
    "LSTMCell": gs.nn.LSTMCell,
    "HDetachLSTMCell": gs.nn.HDetachLSTMCell,
    "ENRNNCell": partial(gs.nn.ENRNNCell, short_features=32),
    "SBORNNCell": gs.nn.SBORNNCell,
}
LENGTHS = (10, 100, 1000)
FEATURES = 4


@dataclass(frozen=True)
class Options:
    """What is run.

    Attributes:
        hidden: length of the state.
        batch: how many sequences.
    """

    hidden: int = 128
    batch: int = 32


def main(options: Options) -> int:
    """Prints the table."""
    print(f"relative error of the state, {options.hidden} hidden units")
    print(
        f"{'cell':16} {'products':10}" + "".join(f"{f'T = {t}':>12}" for t in LENGTHS)
    )
    with jax.enable_x64(True):
        for name, kind in KINDS.items():
            for dtype in (jnp.float32, jnp.bfloat16):
                errors = drift(kind, dtype, options)
                cells = "".join(f"{error:12.1e}" for error in errors)
                print(f"{name:16} {jnp.dtype(dtype).name:10}{cells}")
    return 0


def drift(
    kind: Callable[..., nnx.RNNCellBase], dtype: Any, options: Options
) -> list[float]:
    """Measures the relative error of the output at each length."""
    inputs = jax.random.normal(
        jax.random.key(1), (options.batch, max(LENGTHS), FEATURES), jnp.float64
    )
    exact, low = (
        kind(FEATURES, options.hidden, rngs=nnx.Rngs(0), **precision)
        for precision in (
            {"param_dtype": jnp.float64},
            {"param_dtype": jnp.float32, "dtype": dtype},
        )
    )
    for cell in (exact, low):
        cell.eval()
    # The same weights, rounded: the coordinates of the one are those of the other.
    rounded = jax.tree.map(
        lambda x, like: x.astype(like.dtype), nnx.state(exact), nnx.state(low)
    )
    nnx.update(low, rounded)
    right = np.asarray(jax.jit(lambda x: gs.nn.RNN(exact)(x))(inputs))
    found = np.asarray(jax.jit(lambda x: gs.nn.RNN(low)(x))(inputs), np.float64)
    size = np.linalg.norm(right, axis=-1)
    error = np.linalg.norm(found - right, axis=-1) / size
    return [float(np.median(error[:, length - 1])) for length in LENGTHS]


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
