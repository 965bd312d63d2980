"""What reaches the first cell of an LSTM, and by which path: `... cell_path`.

h-detach (Arpit et al., "h-detach: Modifying the LSTM Gradient Towards Better
Optimization", ICLR 2019, arXiv:1810.03023) rests on a claim about the chain of ∂c_t by
∂c_0: the path through the cells alone is swamped by those through h as the recurrent
weights grow, and stopping these by chance brings it out. Shown is the ratio of the two
norms, ‖∂c_T/∂c_0‖ by the cells alone over ‖∂c_T/∂c_0‖ by all paths, for random LSTMs
with weights uniform in ±k/√n; and the same with every path through h halved, which is
the mean of h-detach at a probability of 1/2. For k = 1, 2, 4 and 8 the ratio is 2.7e-3,
1.8e-5, 4.1e-6 and 2.2e-7; halved 9.1e-2, 6.0e-3, 7.8e-3 and 9.4e-4.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

import gradstab as gs
from experiments.cells import symmetric_uniform
from experiments.experiment import Check
from experiments.limits import Limited
from experiments.table import print_table

ORDERED = 4.0  # scales up to this one: gates saturate at larger ones


@dataclass(frozen=True)
class CellPathSettings(Limited):
    """Suppression of the cell path of random LSTMs, and its relief.

    Attributes:
        hidden: units of an LSTM, n.
        length: time steps, T.
        scales: how much larger than 1/√n the recurrent weights may be, k.
        seeds: one LSTM each.
    """

    hidden: int = 32
    length: int = 30
    scales: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0)
    seeds: tuple[int, ...] = (0, 1, 2, 3)

    def problems(self) -> list[str]:
        """Lists what cannot be run, a line each; empty if all is well."""
        found = self.below(1, "hidden", "length")
        if not min(self.scales, default=0) > 0:
            found.append("--scales must be at least one number, all positive.")
        return found + self.not_seeds("seeds")


def path_norm(
    cell: gs.nn.LSTMCell, inputs: Float[Array, "time in"], share: float
) -> Float[Array, ""]:
    """Computes ‖∂c_T/∂c_0‖₂ with the gradient through every h scaled.

    Args:
        cell: the cell.
        inputs: what it reads.
        share: 1 for all paths, 0 for the cells alone.

    Returns:
        The norm.
    """

    def last(c):
        def advance(carry, x):
            c, h = carry
            return cell((c, gs.gradients.scale_gradient(h, share)), x)[0], None

        carry, _ = jax.lax.scan(advance, (c, jnp.zeros_like(c)), inputs)
        return carry[0]

    jacobian = jax.jacrev(last)(jnp.zeros(cell.hidden_features))
    return jnp.linalg.norm(jacobian, 2)


def ratios(
    scale: float, settings: CellPathSettings
) -> tuple[Float[np.ndarray, " seeds"], Float[np.ndarray, " seeds"]]:
    """Measures how much of the norm the cell path alone has.

    Args:
        scale: how much larger than 1/√n the recurrent weights may be.
        settings: see the class.

    Returns:
        For each seed the ratio to all paths, and to all with those through h halved.
    """
    limit = settings.hidden**-0.5

    def measure(key: Array) -> tuple[Array, Array]:
        rngs = nnx.Rngs(key)
        shape = settings.hidden, settings.hidden

        def recurrent() -> gs.nn.Unconstrained:
            init = symmetric_uniform(scale * limit)
            return gs.nn.Unconstrained(shape, matrix_init=init, rngs=rngs)

        cell = gs.nn.LSTMCell(
            1,
            settings.hidden,
            input=recurrent(),
            forget=recurrent(),
            candidate=recurrent(),
            output=recurrent(),
            kernel_init=symmetric_uniform(limit),
            bias_init=symmetric_uniform(limit),
            rngs=rngs,
        )
        inputs = jax.random.normal(rngs.params(), (settings.length, 1))
        alone, halved, full = (path_norm(cell, inputs, s) for s in (0.0, 0.5, 1.0))
        return alone / full, alone / halved

    keys = jax.vmap(jax.random.key)(jnp.asarray(settings.seeds, jnp.uint32))
    found = jax.jit(jax.vmap(measure))(keys)
    return np.asarray(found[0]), np.asarray(found[1])


def run_cell_path(settings: CellPathSettings) -> Mapping[float, tuple[float, float]]:
    """Measures every scale; prints the table and the claims.

    Args:
        settings: they have no problems.

    Returns:
        For each scale the two ratios, each the median over seeds.
    """
    found = {}
    for scale in settings.scales:
        full, halved = ratios(scale, settings)
        found[scale] = float(np.median(full)), float(np.median(halved))
    print(
        "‖∂c_T/∂c_0‖ by the cells alone over that by all paths, "
        f"n = {settings.hidden}, T = {settings.length}, "
        f"median of {len(settings.seeds)} seeds"
    )
    print_table(
        ("weights up to", "all paths", "those through h halved"),
        [
            (f"{scale:g}/√n", f"{full:.1e}", f"{halved:.1e}")
            for scale, (full, halved) in found.items()
        ],
    )
    for check in cell_path_checks(found):
        print(check)
    return found


def cell_path_checks(found: Mapping[float, tuple[float, float]]) -> Sequence[Check]:
    """Tests that weights suppress the cell path, and that halving relieves it."""
    full = [one for scale, (one, _) in sorted(found.items()) if scale <= ORDERED]
    pairs = list(found.values())
    return [
        Check(
            "the larger the weights, the less the cell path has of the gradient",
            full == sorted(full, reverse=True),
            " > ".join(f"{one:.1e}" for one in full),
        ),
        Check(
            "with the paths through h halved it has more, at every scale",
            all(halved > one for one, halved in pairs),
            ", ".join(f"{halved:.1e} against {one:.1e}" for one, halved in pairs),
        ),
    ]
