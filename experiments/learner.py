"""The compiled programs of one method on one task, every seed side by side."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Float, Int

import gradstab as gs
from experiments.feed import Feed
from experiments.gradient_profile import gradient_profile
from experiments.methods import METHODS
from experiments.pace import time_draws
from experiments.sequence_model import SequenceModel
from experiments.settings import MethodName, TrainingSettings
from experiments.task import Batch, Task

PROFILED_SEQUENCES = 64
EVALUATED_AT_ONCE = 500  # sequences; the outputs of all of them are in memory


class State(NamedTuple):
    """All that training changes and needs to go on; a leading axis counts seeds.

    Attributes:
        params: what the optimizer moves.
        fixed: the rest of the model.
        optimizer: the state of the optimizer.
        key: what training batches are drawn from; never used up.
        loss_sum: sum of the losses since the last measurement.
        bad_step: the first step whose loss was not finite; -1 if there was none.
        best_params: `params` at the best measurement.
        best_score: its validation score.
        best_step: the steps taken by then.
    """

    params: Any
    fixed: Any
    optimizer: Any
    key: Array
    loss_sum: Float[Array, ""]
    bad_step: Int[Array, ""]
    best_params: Any
    best_score: Float[Array, ""]
    best_step: Int[Array, ""]


class Learner:
    """Trains and measures one method on one task.

    Args:
        task: what is learned.
        method: what learns it.
        settings: see the class.
    """

    def __init__(self, task: Task, method: MethodName, settings: TrainingSettings):
        self._task = task
        self._build = partial(build_model, task, method, settings)
        outline = nnx.eval_shape(lambda: self._build(jax.random.key(0)))
        self._graph = nnx.graphdef(outline)
        self._optimizer = METHODS[method].optimizer(outline, settings)
        self._feed = Feed(task.stream, settings.seeds) if task.stream else None
        self._start = jax.jit(jax.vmap(self._start_one))
        self._advance = jax.jit(self._advance_all)
        self._learn = jax.jit(jax.vmap(self._learn_one, in_axes=(0, None, 0)))
        self._measure = jax.jit(jax.vmap(self._measure_one, in_axes=(0, None, None)))
        self._norms = jax.jit(jax.vmap(self._norms_one, in_axes=(0, None)))
        self._test = jax.jit(jax.vmap(self._test_one, in_axes=(0, None)))
        self._draw = jax.jit(self._draw_all)

    def start(self, seeds: tuple[int, ...]) -> State:
        """Builds the state before the first step."""
        keys = jax.vmap(jax.random.key)(jnp.asarray(seeds, jnp.uint32))
        return self._start(keys)

    def advance(self, state: State, done: int, until: int) -> State:
        """Takes training steps, each on batches that depend on its number alone.

        How many are taken in one call changes no number.

        Args:
            state: the state after some steps.
            done: how many.
            until: how many there shall be.

        Returns:
            The state after `until` steps.
        """
        if self._feed is None:
            return self._advance(state, done, until, self._task.train)
        for number in range(done, until):
            state = self._learn(state, number, self._feed.batch(number))
        return state

    def measure(
        self, state: State, steps: int
    ) -> tuple[State, Float[Array, " seeds"], Float[Array, "seeds time"]]:
        """Validates, and remembers the parameters if they are the best so far.

        Args:
            state: the state after some steps.
            steps: how many.

        Returns:
            The state with a new sum of losses; the validation score of each seed, NaN
            if a parameter is not finite; and ‖∂L/∂h_t‖, the mean over the first 64
            validation sequences.
        """
        return self._measure(state, steps, self._task.validation)

    def norms(self, state: State) -> tuple[dict[str, Array], dict[str, Array]]:
        """Measures each parameter, and the gradient in it.

        The gradient is that of the mean loss of the first 64 validation sequences.

        Args:
            state: any state.

        Returns:
            Two tables of Frobenius norms under the parameters' paths.
        """
        return self._norms(state, self._task.validation)

    def test(self, state: State) -> Float[Array, " seeds"]:
        """Scores the best parameters of each seed on the test set."""
        return self._test(state, self._task.test)

    def milliseconds_per_draw(self, state: State) -> float:
        """Measures what a step waits for its batches.

        Args:
            state: any state.

        Returns:
            The time that was waited for the disk, or what drawing takes by itself.
        """
        if self._feed is not None:
            return self._feed.milliseconds
        return time_draws(lambda count: self._draw(state.key, count, self._task.train))

    def models(self, state: State) -> list[SequenceModel]:
        """Builds the best model of each seed."""
        merged = nnx.merge(self._graph, state.best_params, state.fixed)
        return [
            jax.tree.map(lambda leaf, at=place: leaf[at], merged)
            for place in range(state.best_step.shape[0])
        ]

    def _start_one(self, key: Array) -> State:
        model_key, data_key = jax.random.split(key)
        _, params, fixed = nnx.split(self._build(model_key), nnx.Param, ...)
        worst = -jnp.inf if self._task.higher_is_better else jnp.inf
        return State(
            params=params,
            fixed=fixed,
            optimizer=self._optimizer.init(params),
            key=data_key,
            loss_sum=jnp.zeros(()),
            bad_step=jnp.array(-1),
            best_params=params,
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

    def _draw_all(self, keys: Array, count: Array, train: Any) -> Array:
        def draw(key: Array, number: Array) -> Array:
            inputs, targets = self._task.draw(_step_key(key, number), train)
            return jnp.sum(inputs) + jnp.sum(targets.astype(inputs.dtype))

        draws = jax.vmap(draw, in_axes=(0, None))
        return jax.lax.fori_loop(
            0,
            count,
            lambda number, total: total + draws(keys, number),
            jnp.zeros(keys.shape),
        )

    def _step_one(self, state: State, number: Array, train: Any) -> State:
        batch = self._task.draw(_step_key(state.key, number), train)
        return self._learn_one(state, number, batch)

    def _learn_one(self, state: State, number: Array, batch: Batch) -> State:
        inputs, targets = batch
        value, gradient = jax.value_and_grad(self._loss)(
            state.params, state.fixed, inputs, targets
        )
        updates, optimizer = self._optimizer.update(
            gradient, state.optimizer, state.params
        )
        is_first_bad = ~jnp.isfinite(value) & (state.bad_step < 0)
        return state._replace(
            params=optax.apply_updates(state.params, updates),
            optimizer=optimizer,
            loss_sum=state.loss_sum + value,
            bad_step=jnp.where(is_first_bad, number, state.bad_step),
        )

    def _measure_one(
        self, state: State, steps: Array, validation: Batch
    ) -> tuple[State, Array, Array]:
        params = state.params
        model = nnx.merge(self._graph, params, state.fixed)
        score = self._score(model, validation)
        inputs, targets = jax.tree.map(lambda x: x[:PROFILED_SEQUENCES], validation)
        model = gs.nn.materialize(model)
        profile = gradient_profile(
            model.rnn.cell,
            lambda outputs: self._task.losses(model.answer(outputs), targets),
            inputs,
        )
        # An accuracy is finite for any parameters.
        sound = jnp.stack([jnp.all(jnp.isfinite(x)) for x in jax.tree.leaves(params)])
        score = jnp.where(jnp.all(sound), score, jnp.nan)
        ahead = score - state.best_score
        better = ahead > 0 if self._task.higher_is_better else ahead < 0
        kept = state._replace(
            loss_sum=jnp.zeros_like(state.loss_sum),
            best_params=_where(better, params, state.best_params),
            best_score=jnp.where(better, score, state.best_score),
            best_step=jnp.where(better, steps, state.best_step),
        )
        return kept, score, jnp.mean(profile, axis=1)

    def _norms_one(
        self, state: State, validation: Batch
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        inputs, targets = jax.tree.map(lambda x: x[:PROFILED_SEQUENCES], validation)
        gradient = jax.grad(self._loss)(state.params, state.fixed, inputs, targets)
        return _norms_by_path(state.params), _norms_by_path(gradient)

    def _loss(
        self, params: Any, fixed: Any, inputs: Array, targets: Array
    ) -> Float[Array, ""]:
        model = nnx.merge(self._graph, params, fixed)
        return jnp.mean(self._task.losses(model(inputs), targets))

    def _test_one(self, state: State, test: Batch) -> Float[Array, ""]:
        model = nnx.merge(self._graph, state.best_params, state.fixed)
        return self._score(model, test)

    def _score(self, model: SequenceModel, batch: Batch) -> Float[Array, ""]:
        model = gs.nn.materialize(model)

        def score_one(sequence: Batch) -> Float[Array, ""]:
            inputs, targets = jax.tree.map(lambda x: x[None], sequence)
            return self._task.scores(model(inputs), targets)[0]

        return jnp.mean(jax.lax.map(score_one, batch, batch_size=EVALUATED_AT_ONCE))


def build_model(
    task: Task, method: MethodName, settings: TrainingSettings, key: Array
) -> SequenceModel:
    """Builds the untrained model of one seed."""
    rngs = nnx.Rngs(key)
    cell = METHODS[method].cell(task.in_features, settings, rngs)
    return SequenceModel(
        cell,
        settings.hidden,
        task.out_features,
        every_step=task.every_step,
        rngs=rngs,
    )


def _step_key(key: Array, number: int | Array) -> Array:
    return jax.random.fold_in(key, number)


def _norms_by_path(tree: Any) -> dict[str, Array]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): jnp.linalg.norm(
            leaf.ravel()
        )
        for path, leaf in leaves
    }


def _where(condition: Array, chosen: Any, other: Any) -> Any:
    return jax.tree.map(partial(jnp.where, condition), chosen, other)
