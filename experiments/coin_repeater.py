"""Networks that repeat a coin of long ago, flossed before they are trained."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float

import gradstab as gs
from experiments.limits import Limited

Start = Literal["gaussian", "orthogonal", "flossed", "flossed again"]
BETWEEN = 100  # training steps from one flossing to the next
AVERAGED = 100  # last training steps whose mean error counts


@dataclass(frozen=True)
class FlossingSettings(Limited):
    """Repeating a coin of long ago, with and without gradient flossing.

    Attributes:
        hidden: units of the network.
        length: steps of a sequence.
        batch: sequences of a training step.
        exponents: how many are moved to 0.
        floss_steps: steps of descent on them before training.
        floss_length: steps of the sequence along which they are computed.
        floss_rate: learning rate of that descent.
        again: steps of it after every 100 steps of training, for one of the networks.
        delays: how long ago the coin fell; a network each.
        steps: of training, by Adam.
        learning_rate: of training.
        seeds: networks for each delay.
        figure: where reach and errors are drawn, without the ending.
    """

    hidden: int = 64
    length: int = 100
    batch: int = 16
    exponents: int = 16
    floss_steps: int = 300
    floss_length: int = 60
    floss_rate: float = 1e-3
    again: int = 3
    delays: tuple[int, ...] = (10, 20, 30, 40)
    steps: int = 2000
    learning_rate: float = 1e-3
    seeds: tuple[int, ...] = (0, 1, 2)
    figure: Path = Path("runs/flossing")

    def problems(self) -> list[str]:
        """Lists what cannot be run, a line each; empty if all is well."""
        found = self.below(
            1, "hidden", "length", "batch", "floss_steps", "floss_length", "steps"
        )
        found += self.below(0, "again")
        found += self.outside(1, {"exponents": self.hidden})
        if not all(0 < delay < self.length for delay in self.delays or (0,)):
            found.append("--delays must lie between 1 and --length, at least one.")
        if not self.seeds:
            found.append("--seeds must name at least one.")
        if not (self.floss_rate > 0 and self.learning_rate > 0):
            found.append("--floss-rate and --learning-rate must be above 0.")
        return found


class Repeater(nnx.Module):
    """A tanh recurrence with a linear answer at every step."""

    def __init__(self, hidden: int, *, orthogonal: bool, rngs: nnx.Rngs):
        init = nnx.initializers
        recurrent = init.orthogonal() if orthogonal else init.normal(hidden**-0.5)
        cell = nnx.SimpleCell(
            1,
            hidden,
            kernel_init=init.normal(1.0),
            recurrent_kernel_init=recurrent,
            rngs=rngs,
        )
        self.rnn = gs.nn.RNN(cell)
        self.readout = nnx.Linear(hidden, 1, rngs=rngs)

    def __call__(self, coins: Float[Array, "batch time 1"]) -> Array:
        """Answers at every step."""
        return self.readout(self.rnn(coins))


@dataclass(frozen=True)
class Outcome:
    """What came of one start.

    Attributes:
        errors: for each delay and seed the error at the end of training.
        penalties: the mean square of the exponents before training, for each seed.
        report: on the first seed's network before training.
    """

    errors: Float[np.ndarray, "delays seeds"]
    penalties: Float[np.ndarray, " seeds"]
    report: gs.diagnostics.Report


class Trainer:
    """Flosses and trains the networks of one start, all delays and seeds at once."""

    def __init__(self, start: Start, settings: FlossingSettings):
        self._settings = settings
        self._again = settings.again if start == "flossed again" else 0
        self._flossed = start in {"flossed", "flossed again"}
        self._build = partial(
            Repeater, settings.hidden, orthogonal=start == "orthogonal"
        )
        outline = nnx.eval_shape(lambda: self._build(rngs=nnx.Rngs(0)))
        self._graph, _, self._rest = nnx.split(outline, nnx.Param, ...)
        self._adam = optax.adam(settings.learning_rate)
        self._flosser = optax.adam(settings.floss_rate)

    def begin(self, key: Array) -> tuple[Any, Array]:
        """Builds a network, flossed if its start says so, and its penalty."""
        _, params, _ = nnx.split(self._build(rngs=nnx.Rngs(key)), nnx.Param, ...)
        moments = self._flosser.init(params)
        if self._flossed:
            params, moments = jax.lax.fori_loop(
                0,
                self._settings.floss_steps,
                lambda i, state: self._floss(state, jax.random.fold_in(key, i)),
                (params, moments),
            )
        return params, self._penalty(params, key)

    def train(self, params: Any, key: Array, delay: Array) -> Float[Array, ""]:
        """Trains a network; returns the mean error of the last steps."""
        settings = self._settings

        def step(number: Array, state: Any) -> Any:
            params, moments, floss_moments, total = state
            own = jax.random.fold_in(key, number)
            error, slopes = jax.value_and_grad(self._error)(params, own, delay)
            updates, moments = self._adam.update(slopes, moments, params)
            params = optax.apply_updates(params, updates)
            if self._again:
                params, floss_moments = jax.lax.cond(
                    number % BETWEEN == BETWEEN - 1,
                    self._floss_again,
                    lambda params, moments, _: (params, moments),
                    params,
                    floss_moments,
                    own,
                )
            counted = number >= settings.steps - AVERAGED
            return params, moments, floss_moments, total + jnp.where(counted, error, 0)

        state = params, self._adam.init(params), self._flosser.init(params), 0.0
        total = jax.lax.fori_loop(0, settings.steps, step, state)[-1]
        return total / min(AVERAGED, settings.steps)

    def model(self, params: Any) -> Repeater:
        """Puts a network together."""
        return nnx.merge(self._graph, params, self._rest, copy=True)

    def _error(self, params: Any, key: Array, delay: Array) -> Float[Array, ""]:
        coins = self._coins(key)
        wanted = jnp.roll(coins, delay, axis=1)
        squares = (self.model(params)(coins) - wanted) ** 2
        times = jnp.arange(coins.shape[1])[None, :, None]
        return jnp.mean(squares, where=times >= delay)

    def _penalty(self, params: Any, key: Array) -> Float[Array, ""]:
        settings = self._settings
        return gs.diagnostics.lyapunov_penalty(
            self.model(params).rnn,
            self._coins(key)[:, : settings.floss_length],
            count=settings.exponents,
            sequences=1,
            burn_in=min(5, settings.floss_length - 1),
            key=key,
        )

    def _floss(self, state: Any, key: Array) -> Any:
        params, moments = state
        slopes = jax.grad(self._penalty)(params, key)
        updates, moments = self._flosser.update(slopes, moments, params)
        return optax.apply_updates(params, updates), moments

    def _floss_again(self, params: Any, moments: Any, key: Array) -> Any:
        return jax.lax.fori_loop(
            0,
            self._again,
            lambda i, state: self._floss(state, jax.random.fold_in(key, i)),
            (params, moments),
        )

    def _coins(self, key: Array) -> Float[Array, "batch time 1"]:
        settings = self._settings
        shape = settings.batch, max(settings.length, settings.floss_length), 1
        return jax.random.bernoulli(key, 0.5, shape).astype(jnp.float32)


def mean_square(model: Repeater, coins: Array) -> Float[Array, ""]:
    """A loss that reads the end of a sequence, for the diagnosis."""
    return jnp.mean(model(coins)[:, -1] ** 2)


def outcome(start: Start, settings: FlossingSettings) -> Outcome:
    """Trains the networks of one start.

    Args:
        start: which.
        settings: see the class.

    Returns:
        What came of them.
    """
    trainer = Trainer(start, settings)
    keys = jax.vmap(jax.random.key)(jnp.asarray(settings.seeds, jnp.uint32))
    params, penalties = jax.jit(jax.vmap(trainer.begin))(keys)
    over_seeds = jax.vmap(trainer.train, in_axes=(0, 0, None))
    over_delays = jax.vmap(over_seeds, in_axes=(None, None, 0))
    errors = jax.jit(over_delays)(params, keys, jnp.asarray(settings.delays))
    first = trainer.model(jax.tree.map(lambda x: x[0], params))
    coins = jax.random.bernoulli(
        jax.random.key(0), 0.5, (settings.batch, settings.length, 1)
    )
    report = gs.diagnostics.diagnose(
        first,
        coins.astype(jnp.float32),
        mean_square,
        exponents=settings.exponents,
        probes=settings.hidden,
    )
    return Outcome(np.asarray(errors), np.asarray(penalties), report)
