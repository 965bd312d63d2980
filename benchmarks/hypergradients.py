"""What the gradient of a whole training run costs, against two ways of having it.

`python -m benchmarks.hypergradients` trains a tanh network by momentum and takes the
derivative of its final loss with respect to the initial parameters and every step size:
by reversal, with checkpoints in place of it, by automatic differentiation through the
unrolled loop, and through the same with `jax.checkpoint` at every square root of its
length. It prints medians of ratios to the training alone, and the temporary memory that
XLA reports.
"""

import dataclasses
import functools
import math
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from jaxtyping import Array, Float

from benchmarks._harness import Candidate, interleave, spread, timed, verdict
from gradstab.reversible import Schedules, train

TIME_GOAL = 4.0  # of reversal, in runs of training
MEMORY_GOAL = 1 / 100  # of reversal, of what the unrolled loop needs


@dataclasses.dataclass(frozen=True)
class Options:
    """What is run.

    Attributes:
        sizes: units of each layer, inputs first.
        steps: length of the training.
        batch: examples in a minibatch.
        momentum: of every step.
        rounds: samples of each program.
    """

    sizes: tuple[int, ...] = (64, 50, 50, 50, 10)
    steps: int = 1000
    batch: int = 50
    momentum: float = 0.9
    rounds: int = 5


def weights(sizes: tuple[int, ...]) -> list[Any]:
    """Returns kernels and biases, drawn for unit variance."""
    rng = np.random.default_rng(0)
    return [
        (
            jnp.asarray(rng.normal(size=(fan_in, fan_out)) / math.sqrt(fan_in)),
            jnp.zeros(fan_out),
        )
        for fan_in, fan_out in zip(sizes[:-1], sizes[1:], strict=True)
    ]


def make_loss(options: Options) -> Callable[[Any, Any, Array], Float[Array, ""]]:
    """Returns the cross-entropy on random labels, of the minibatch of a step."""
    rng = np.random.default_rng(1)
    count = 20 * options.batch
    inputs = jnp.asarray(rng.normal(size=(count, options.sizes[0])), jnp.float32)
    labels = jnp.asarray(rng.integers(0, options.sizes[-1], count))

    def loss(params: Any, theta: None, step: Array) -> Float[Array, ""]:
        del theta
        first = step * options.batch % count
        x, y = (
            jax.lax.dynamic_slice_in_dim(data, first, options.batch)
            for data in (inputs, labels)
        )
        *hidden, (kernel, bias) = params
        for w, b in hidden:
            x = jnp.tanh(x @ w + b)
        logits = jax.nn.log_softmax(x @ kernel + bias)
        return -jnp.mean(jnp.take_along_axis(logits, y[:, None], axis=1))

    return loss


def unrolled(loss: Any, params: Any, rates: Schedules, stretch: int) -> Any:
    """Trains in floating point, for reverse mode to store.

    Args:
        loss: as for `train`.
        params: the initial parameters.
        rates: step sizes and momenta of every step.
        stretch: steps of which the first state alone is stored; 1 for all.

    Returns:
        The trained parameters.
    """

    def step(state: Any, inputs: Any) -> tuple[Any, None]:
        x, v = state
        t, alpha, beta = inputs
        slope = jax.grad(loss)(x, None, t)
        v = jax.tree.map(lambda v, g: beta * v - (1 - beta) * g, v, slope)
        return (jax.tree.map(lambda x, v: x + alpha * v, x, v), v), None

    def steps(state: Any, inputs: Any) -> tuple[Any, None]:
        return jax.lax.scan(step, state, inputs)

    count = len(rates.step_size)
    inputs = jnp.arange(count), *rates
    state = params, jax.tree.map(jnp.zeros_like, params)
    over = count % stretch
    state, _ = steps(state, jax.tree.map(lambda x: x[:over], inputs))
    folded = jax.tree.map(lambda x: x[over:].reshape(-1, stretch), inputs)
    body = jax.checkpoint(steps, prevent_cse=False) if stretch > 1 else steps
    return jax.lax.scan(body, state, folded)[0][0]


def programs(options: Options) -> Mapping[str, Any]:
    """Returns the compiled programs, each a function of params and step sizes."""
    loss = make_loss(options)
    root = round(math.sqrt(options.steps))
    momentum = jnp.full(options.steps, options.momentum)

    def final(descend: Any, params: Any, sizes: Array) -> Float[Array, ""]:
        return loss(descend(params, Schedules(sizes, momentum)), None, jnp.asarray(0))

    ours = functools.partial(_ours, loss, options.steps)
    ways = {
        "reversal": functools.partial(ours, None),
        "checkpoints": functools.partial(ours, root),
        "unrolled": lambda params, rates: unrolled(loss, params, rates, 1),
        "jax.checkpoint": lambda params, rates: unrolled(loss, params, rates, root),
    }
    start = weights(options.sizes), jnp.full(options.steps, 0.1)
    found: dict[str, Any] = {"training": functools.partial(final, ways["reversal"])}
    found["in float32"] = functools.partial(final, ways["unrolled"])
    for name, way in ways.items():
        found[name] = jax.grad(functools.partial(final, way), argnums=(0, 1))
    return {name: jax.jit(one).lower(*start).compile() for name, one in found.items()}


def _ours(
    loss: Any, steps: int, every: int | None, params: Any, rates: Schedules
) -> Any:
    return train(loss, params, rates, None, steps, checkpoint_every=every)


def main(options: Options) -> int:
    """Prints the table."""
    compiled = programs(options)
    arguments = weights(options.sizes), jnp.full(options.steps, 0.1)
    size = sum(leaf.size for leaf in jax.tree.leaves(arguments[0]))
    clock = time.perf_counter
    candidates = [
        Candidate(
            name,
            lambda calls, one=one: timed(
                lambda: jax.block_until_ready(one(*arguments)), calls, clock
            ),
            one.memory_analysis().temp_size_in_bytes,
        )
        for name, one in compiled.items()
    ]
    memory = {one.name: one.temporary_bytes for one in candidates}
    samples = interleave(candidates, rounds=options.rounds, sample_seconds=0.1)
    slopes = {name: compiled[name](*arguments) for name in list(compiled)[2:]}
    print(
        f"Gradient of a training run: {size:,} parameters, {options.steps:,} steps of "
        f"{options.batch}, momentum {options.momentum:g}; goals: {TIME_GOAL:g} runs of "
        f"training, {MEMORY_GOAL:g} of the memory of the unrolled loop"
    )
    print(f"training alone: {1e3 * statistics.median(samples['training']):.0f} ms")
    print(
        f"{'way':16} {'time, in runs':26} {'memory, MB':>10} {'of unrolled':20} "
        "differs by"
    )
    for name in list(compiled)[1:]:
        pairs = zip(samples[name], samples["training"], strict=True)
        ratios = [mine / its for mine, its in pairs]
        ratio, share = statistics.median(ratios), memory[name] / memory["unrolled"]
        is_ours = name == "reversal"
        print(
            f"{name:16} {ratio:8.2f} ±{spread(ratios):4.0%} "
            f"{verdict(ratio, TIME_GOAL if is_ours else None):11} "
            f"{memory[name] / 1e6:10.2f} {share:9.4f} "
            f"{verdict(share, MEMORY_GOAL if is_ours else None):10} "
            + (
                f"{_distance(slopes[name], slopes['unrolled']):.1e}"
                if name in slopes
                else "-"
            )
        )
    return 0


def _distance(found: Any, expected: Any) -> float:
    """How far two gradients differ, relative to the second."""
    pairs = list(zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True))
    apart = sum(float(jnp.sum((a - b) ** 2)) for a, b in pairs)
    return math.sqrt(apart / sum(float(jnp.sum(b**2)) for _, b in pairs))


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
