"""What `diagnostics.diagnose` costs, in steps of training of the same model.

`python -m benchmarks.diagnosis` times a step of Adam and a diagnosis in turn, both
compiled, and prints the median of their ratios, with the Jacobians of eight steps and
without them, and the ratio of the temporary memory that XLA reports.
"""

import functools
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
import tyro
from flax import nnx
from jaxtyping import Array, Float

import gradstab as gs
from benchmarks._harness import Candidate, interleave, spread, timed, verdict

TIME_GOAL, MEMORY_GOAL = 5.0, 2.0  # in steps of training, without Jacobians
IN_FEATURES = 32


@dataclass(frozen=True)
class Options:
    """What is run.

    Attributes:
        hidden: units of each cell.
        steps: length of the sequences.
        batch: how many there are.
        rounds: samples of each program.
        only: names of models; all if there are none.
    """

    hidden: int = 256
    steps: int = 1000
    batch: int = 32
    rounds: int = 5
    only: tuple[str, ...] = ()


def models(hidden: int) -> Mapping[str, Callable[[], nnx.Module]]:
    """Returns what builds each model."""
    flax = {
        "nnx.SimpleCell": nnx.SimpleCell,
        "nnx.GRUCell": nnx.GRUCell,
        "nnx.OptimizedLSTMCell": nnx.OptimizedLSTMCell,
    }
    ours = {
        "OrthogonalCell": gs.nn.OrthogonalCell,
        "GRUCell": gs.nn.GRUCell,
        "LSTMCell": gs.nn.LSTMCell,
    }

    def build(layer: Any, cell: Any) -> nnx.Module:
        return layer(cell(IN_FEATURES, hidden, rngs=nnx.Rngs(0)))

    return {
        name: functools.partial(build, layer, cell)
        for layer, cells in ((nnx.RNN, flax), (gs.nn.RNN, ours))
        for name, cell in cells.items()
    }


def loss(model: Any, batch: Array) -> Float[Array, ""]:
    """Reads the last output."""
    return jnp.mean(model(batch)[:, -1] ** 2)


def compare(build: Callable[[], nnx.Module], options: Options) -> list[str]:
    """Times one model; returns the cells of its line."""
    model = build()
    graph, params, rest = nnx.split(model, nnx.Param, ...)
    shape = options.batch, options.steps, IN_FEATURES
    batch = jax.random.normal(jax.random.key(1), shape)
    adam = optax.adam(1e-3)
    moments = adam.init(params)

    @jax.jit
    def train(params: Any, moments: Any) -> Any:
        def total(params: Any) -> Float[Array, ""]:
            return loss(nnx.merge(graph, params, rest, copy=True), batch)

        slopes = jax.grad(total)(params)
        updates, moments = adam.update(slopes, moments, params)
        return optax.apply_updates(params, updates), moments

    def measured(jacobians: int) -> Any:
        monitor = gs.diagnostics.Monitor(loss, every=1, jacobians=jacobians)
        state = monitor.init(model, batch)

        @jax.jit
        def measure(params: Any) -> Any:
            whole = nnx.merge(graph, params, rest, copy=True)
            return monitor.update(state, whole, batch).measurement

        return measure.lower(params).compile()

    steps = train.lower(params, moments).compile()
    programs = {
        "train": (steps, (params, moments)),
        "without": (measured(0), (params,)),
        "whole": (measured(8), (params,)),
    }
    clock = time.perf_counter
    candidates = [
        Candidate(
            name,
            lambda calls, program=program, args=args: timed(
                lambda: jax.block_until_ready(program(*args)), calls, clock
            ),
            program.memory_analysis().temp_size_in_bytes,
        )
        for name, (program, args) in programs.items()
    ]
    found = interleave(candidates, rounds=options.rounds, sample_seconds=0.1)
    memory = {one.name: one.temporary_bytes for one in candidates}
    cells = [f"{1e3 * statistics.median(found['train']):10.0f}"]
    for name, goal in (("without", TIME_GOAL), ("whole", None)):
        ratios = [a / b for a, b in zip(found[name], found["train"], strict=True)]
        ratio = statistics.median(ratios)
        cells.append(f"{ratio:8.2f} ±{spread(ratios):4.0%} {verdict(ratio, goal):10}")
    share = memory["whole"] / memory["train"]
    cells.append(f"{share:8.2f} {verdict(share, MEMORY_GOAL)}")
    return cells


def main(options: Options) -> int:
    """Prints the table."""
    print(
        f"diagnose in steps of training: n = {options.hidden}, T = {options.steps}, "
        f"batch {options.batch}; goals {TIME_GOAL:g} without Jacobians, "
        f"{MEMORY_GOAL:g} of memory"
    )
    print(
        f"{'cell':22} {'train, ms':>10} {'without Jacobians':25} {'with eight':25} "
        "memory"
    )
    for name, build in models(options.hidden).items():
        if not options.only or name in options.only:
            print(f"{name:22}", *compare(build, options), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
