"""Training the same recurrent cell from several starts, on tasks of long memory."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from flax.typing import Initializer
from jaxtyping import Array, Float

import gradstab as gs
from experiments.data import TRIVIAL_ERROR, adding_batch
from experiments.losses import squared_errors
from experiments.sequence_model import SequenceModel
from experiments.task import Batch

SYMBOLS = 8
VALIDATION_KEY, TEST_KEY = 2**31, 2**31 + 1
AT_ONCE = 50  # sequences of all networks that are in memory together
LONGEST = 1.0  # norm of a gradient: longer ones are shortened


class Memory(NamedTuple):
    """A task whose answer was given long ago.

    Attributes:
        title: with the number of steps.
        in_features: numbers read at a step.
        out_features: numbers answered at the end.
        draw: (key, batch=) -> sequences and what is to be answered.
        losses: (answers, targets) -> of each sequence.
        scores: (answers, targets) -> of each sequence, what is reported.
        higher_is_better: whether a larger score is the better one.
        guess: the score of an answer that needs no memory.
    """

    title: str
    in_features: int
    out_features: int
    draw: Callable[..., Batch]
    losses: Callable[[Array, Array], Array]
    scores: Callable[[Array, Array], Array]
    higher_is_better: bool
    guess: float


def recall_batch(key: Array, *, batch: int, length: int) -> Batch:
    """Draws a symbol for the first step, noise for all; the symbol is asked for last.

    Args:
        key: a random key.
        batch: how many sequences.
        length: time steps of each.

    Returns:
        The inputs, one-hot at the first step and noise of unit variance in a channel of
        its own at every step, and the symbols.
    """
    by_symbol, by_noise = jax.random.split(key)
    symbols = jax.random.randint(by_symbol, (batch,), 0, SYMBOLS)
    shown = jnp.zeros((batch, length, SYMBOLS))
    shown = shown.at[:, 0].set(jax.nn.one_hot(symbols, SYMBOLS))
    noise = jax.random.normal(by_noise, (batch, length, 1))
    return jnp.concatenate([shown, noise], axis=-1), symbols


def recall(length: int) -> Memory:
    """Makes the task of naming the symbol of the first step."""
    return Memory(
        f"recall, {length} steps: accuracy",
        SYMBOLS + 1,
        SYMBOLS,
        partial(recall_batch, length=length),
        optax.softmax_cross_entropy_with_integer_labels,
        lambda answers, symbols: jnp.argmax(answers, axis=-1) == symbols,
        True,
        1 / SYMBOLS,
    )


def adding(length: int) -> Memory:
    """Makes the adding problem."""
    return Memory(
        f"adding, {length} steps: error",
        2,
        1,
        partial(adding_batch, length=length),
        squared_errors,
        squared_errors,
        False,
        TRIVIAL_ERROR,
    )


@dataclass(frozen=True)
class Family:
    """One cell, and the starts it is trained from.

    Attributes:
        title: what the cell is called.
        dt: length of its steps.
        starts: of its recurrent matrix; the first is the one with closed curves.
    """

    title: str
    dt: float
    starts: Mapping[str, Initializer]


def families(hidden: int) -> tuple[Family, ...]:
    """Makes the cells that are compared.

    Args:
        hidden: units of each.

    Returns:
        The leaky network and, at steps of length 1, the tanh network.
    """
    others = {
        "orthogonal": nnx.initializers.orthogonal(),
        "Gaussian": nnx.initializers.normal(hidden**-0.5),
    }
    return (
        Family(
            "leaky, Δ = 0.1", 0.1, {"limit cycles": gs.nn.limit_cycle_init()} | others
        ),
        Family("tanh", 1.0, {"torus": gs.nn.torus_init()} | others),
    )


class Trained(NamedTuple):
    """What came of one start, at every rate.

    Attributes:
        validation: mean losses after training.
        test: mean scores after training.
    """

    validation: Float[np.ndarray, "rates seeds"]
    test: Float[np.ndarray, "rates seeds"]

    @property
    def best(self) -> int:
        """The place of the rate with the lowest validation loss, mean over seeds."""
        losses = np.mean(np.nan_to_num(self.validation, nan=np.inf), axis=1)
        return int(np.argmin(losses))

    @property
    def scores(self) -> Float[np.ndarray, " seeds"]:
        """The test scores at that rate."""
        return self.test[self.best]


@dataclass(frozen=True)
class Training:
    """How every network is trained.

    Attributes:
        hidden: units.
        steps: of Adam.
        batch: sequences of a step.
        rates: learning rates; each start is shown at its best.
        seeds: networks for each rate.
        evaluated: sequences that are validated on, and as many tested on.
    """

    hidden: int
    steps: int
    batch: int
    rates: tuple[float, ...]
    seeds: tuple[int, ...]
    evaluated: int = 500


def train(memory: Memory, family: Family, training: Training) -> dict[str, Trained]:
    """Trains one cell from all its starts, at all rates and seeds at once.

    Args:
        memory: the task.
        family: the cell and its starts.
        training: see the class.

    Returns:
        What came of each start.
    """
    keys = jax.vmap(jax.random.key)(jnp.asarray(training.seeds, jnp.uint32))
    builds = [
        partial(model, memory, start, family.dt, training.hidden)
        for start in family.starts.values()
    ]
    graph, _, rest = nnx.split(builds[0](keys[0]), nnx.Param, ...)
    trees = [jax.jit(jax.vmap(partial(_params, build)))(keys) for build in builds]
    params = jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)

    def answers(params: Any, inputs: Array) -> Array:
        return nnx.merge(graph, params, rest, copy=True)(inputs)

    def loss(params: Any, batch: Batch) -> Array:
        inputs, targets = batch
        return jnp.mean(memory.losses(answers(params, inputs), targets))

    def measured(measure: Callable, params: Any, batch: Batch) -> Array:
        def one(sequence: Batch) -> Array:
            inputs, targets = jax.tree.map(lambda x: x[None], sequence)
            return jnp.mean(measure(answers(params, inputs), targets))

        return jnp.mean(jax.lax.map(one, batch, batch_size=AT_ONCE))

    def run(params: Any, rate: Array, key: Array) -> tuple[Array, Array]:
        rule = optax.chain(optax.clip_by_global_norm(LONGEST), optax.adam(rate))

        def step(number: Array, state: Any) -> Any:
            params, moments = state
            own = jax.random.fold_in(key, number)
            slopes = jax.grad(loss)(params, memory.draw(own, batch=training.batch))
            updates, moments = rule.update(slopes, moments, params)
            return optax.apply_updates(params, updates), moments

        state = params, rule.init(params)
        params, _ = jax.lax.fori_loop(0, training.steps, step, state)
        held, test = (
            memory.draw(jax.random.key(number), batch=training.evaluated)
            for number in (VALIDATION_KEY, TEST_KEY)
        )
        return measured(memory.losses, params, held), measured(
            memory.scores, params, test
        )

    over_seeds = jax.vmap(run, in_axes=(0, None, 0))
    over_rates = jax.vmap(over_seeds, in_axes=(None, 0, None))
    over_starts = jax.jit(jax.vmap(over_rates, in_axes=(0, None, None)))
    found = over_starts(params, jnp.asarray(training.rates), keys)
    return {
        name: Trained(*(np.asarray(one[place]) for one in found))
        for place, name in enumerate(family.starts)
    }


def model(
    memory: Memory, start: Initializer, dt: float, hidden: int, key: Array
) -> SequenceModel:
    """Builds an untrained network; it answers 0."""
    rngs = nnx.Rngs(key)
    recurrent = gs.nn.Unconstrained((hidden, hidden), matrix_init=start, rngs=rngs)
    cell = gs.nn.LimitCycleCell(
        memory.in_features, hidden, recurrent=recurrent, dt=dt, rngs=rngs
    )
    return SequenceModel(cell, hidden, memory.out_features, rngs=rngs)


def _params(build: Callable[[Array], SequenceModel], key: Array) -> Any:
    return nnx.state(build(key), nnx.Param)
