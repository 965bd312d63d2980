"""The compiled programs that train one method on one task, every seed side by side."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from experiments.evaluation import Evaluator
from experiments.feed import Feed
from experiments.methods import METHODS
from experiments.network import Network
from experiments.pace import time_draws
from experiments.sequence_model import SequenceModel
from experiments.settings import RATES, MethodName, TrainingSettings
from experiments.state import State
from experiments.task import Batch, Task


class Learner:
    """Trains one method on one task.

    Learning rates and keys are numbers in the state: one learner serves every seed and
    every rate, and is compiled once.

    Args:
        task: what is learned.
        method: what learns it.
        settings: see the class; `seeds` and the rates are left to `start`.

    Attributes:
        task: what is learned.
        method: what learns it.
        evaluator: the programs that measure a state.
    """

    def __init__(self, task: Task, method: MethodName, settings: TrainingSettings):
        self.task = task
        self.method: MethodName = method
        self._settings = settings
        self._network = Network(task, method, settings)
        self.evaluator = Evaluator(task, self._network)
        self._start = jax.jit(jax.vmap(self._start_one, in_axes=(0, None)))
        self._advance = jax.jit(self._advance_all)
        self._learn = jax.jit(jax.vmap(self._learn_one, in_axes=(0, None, 0)))

    def start(self, settings: TrainingSettings) -> State:
        """Builds the state before the first step, for its seeds and rates."""
        keys = jax.vmap(jax.random.key)(jnp.asarray(settings.seeds, jnp.uint32))
        rates = {name: jnp.float32(getattr(settings, name)) for name in RATES}
        return self._start(keys, rates)

    def advance(
        self, state: State, done: int, until: int, feed: Feed | None = None
    ) -> State:
        """Takes training steps, each on batches that depend on its number alone.

        How many are taken in one call changes no number.

        Args:
            state: the state after some steps.
            done: how many.
            until: how many there shall be.
            feed: where batches come from, if the task does not draw them.

        Returns:
            The state after `until` steps.
        """
        if feed is None:
            return self._advance(state, done, until, self.task.train)
        for number in range(done, until):
            state = self._learn(state, number, feed.batch(number))
        return state

    def milliseconds_per_draw(self, state: State) -> float:
        """Measures what drawing the batches of a step takes by itself."""
        task = self.task
        return time_draws(lambda count: _draws(task.draw, state.key, count, task.train))

    def models(self, state: State) -> list[SequenceModel]:
        """Builds the best model of each seed."""
        return self._each(state.best_params, state.best_fixed)

    def present_models(self, state: State) -> list[SequenceModel]:
        """Builds the model of each seed as it is now."""
        return self._each(state.params, state.fixed)

    def _each(self, params: Any, fixed: Any) -> list[SequenceModel]:
        merged = self._network.model(params, fixed)
        merged.eval()
        count = jax.tree.leaves(params)[0].shape[0]
        return [
            jax.tree.map(lambda leaf, at=place: leaf[at], merged)
            for place in range(count)
        ]

    def _optimizer(self, rates: dict[str, Any]) -> optax.GradientTransformation:
        settings = replace(self._settings, **rates)
        return METHODS[self.method].optimizer(self._network.outline, settings)

    def _start_one(self, key: Array, rates: dict[str, Array]) -> State:
        model_key, data_key = jax.random.split(key)
        params, fixed = self._network.init(model_key)
        worst = -jnp.inf if self.task.higher_is_better else jnp.inf
        return State(
            params=params,
            fixed=fixed,
            optimizer=self._optimizer(rates).init(params),
            rates=rates,
            key=data_key,
            loss_sum=jnp.zeros(()),
            worst_loss=jnp.array(-jnp.inf),
            largest_norm=jnp.zeros(()),
            bad_step=jnp.array(-1),
            best_params=params,
            best_fixed=fixed,
            best_score=jnp.array(worst),
            best_step=jnp.array(0),
        )

    def _advance_all(
        self, state: State, done: Array, until: Array, train: Any
    ) -> State:
        step = jax.vmap(self._step_one, in_axes=(0, None, None))
        return jax.lax.fori_loop(
            done, until, lambda number, state: step(state, number, train), state
        )

    def _step_one(self, state: State, number: Array, train: Any) -> State:
        batch = self.task.draw(_step_key(state.key, number), train)
        return self._learn_one(state, number, batch)

    def _learn_one(self, state: State, number: Array, batch: Batch) -> State:
        # Another key than that of the batch, which a stream does not draw.
        key = jax.random.fold_in(_step_key(state.key, number), 1)
        value, gradient = jax.value_and_grad(self._network.loss)(
            state.params, state.fixed, batch, key
        )
        updates, optimizer = self._optimizer(state.rates).update(
            gradient, state.optimizer, state.params
        )
        params = optax.apply_updates(state.params, updates)
        fixed = state.fixed
        if METHODS[self.method].refreshed:
            params, fixed = self._network.refresh(params, fixed)
        sound = [jnp.all(jnp.isfinite(x)) for x in (value, *jax.tree.leaves(params))]
        is_first_bad = ~jnp.all(jnp.stack(sound)) & (state.bad_step < 0)
        return state._replace(
            params=params,
            fixed=fixed,
            optimizer=optimizer,
            loss_sum=state.loss_sum + value,
            worst_loss=jnp.maximum(state.worst_loss, value),
            largest_norm=jnp.maximum(state.largest_norm, optax.tree.norm(gradient)),
            bad_step=jnp.where(is_first_bad, number, state.bad_step),
        )


# Of the task alone, so that all methods have one program.
@partial(jax.jit, static_argnums=0)
def _draws(
    draw: Callable[[Array, Any], Batch], keys: Array, count: Array, train: Any
) -> Array:
    """Draws the batches of some steps, and sums all numbers of each seed's."""

    def drawn(key: Array, number: Array) -> Array:
        batch = draw(_step_key(key, number), train)
        parts = (jnp.sum(x.astype(jnp.float32)) for x in jax.tree.leaves(batch))
        return jnp.asarray(sum(parts))

    each = jax.vmap(drawn, in_axes=(0, None))
    return jax.lax.fori_loop(
        0,
        count,
        lambda number, total: total + each(keys, number),
        jnp.zeros(keys.shape),
    )


def _step_key(key: Array, number: int | Array) -> Array:
    return jax.random.fold_in(key, number)
