"""The compiled programs that measure a state, every seed side by side."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from experiments.network import Network
from experiments.state import State
from experiments.task import Batch, Task

PROFILED_SEQUENCES = 64


class Evaluator:
    """Measures the states of one network.

    Args:
        task: what is learned.
        network: what learns it.
    """

    def __init__(self, task: Task, network: Network):
        self._task = task
        self._network = network
        self._validate = jax.jit(jax.vmap(self._validate_one, in_axes=(0, None, None)))
        self._norms = jax.jit(jax.vmap(self._norms_one, in_axes=(0, None)))
        self._test = jax.jit(jax.vmap(self._test_one, in_axes=(0, None)))

    def validate(
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
        return self._validate(state, steps, self._task.validation)

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

    def _validate_one(
        self, state: State, steps: Array, validation: Batch
    ) -> tuple[State, Array, Array]:
        params, fixed = state.params, state.fixed
        score = self._network.score(params, fixed, validation)
        # An accuracy is finite for any parameters.
        sound = jnp.stack([jnp.all(jnp.isfinite(x)) for x in jax.tree.leaves(params)])
        score = jnp.where(jnp.all(sound), score, jnp.nan)
        ahead = score - state.best_score
        better = ahead > 0 if self._task.higher_is_better else ahead < 0
        kept = state._replace(
            loss_sum=jnp.zeros_like(state.loss_sum),
            worst_loss=jnp.full_like(state.worst_loss, -jnp.inf),
            largest_norm=jnp.zeros_like(state.largest_norm),
            best_params=_where(better, params, state.best_params),
            best_fixed=_where(better, fixed, state.best_fixed),
            best_score=jnp.where(better, score, state.best_score),
            best_step=jnp.where(better, steps, state.best_step),
        )
        profiled = first_sequences(validation)
        profile = self._network.gradient_over_time(params, fixed, profiled)
        return kept, score, profile

    def _norms_one(
        self, state: State, validation: Batch
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        gradient = jax.grad(self._network.loss)(
            state.params, state.fixed, first_sequences(validation)
        )
        return _norms_by_path(state.params), _norms_by_path(gradient)

    def _test_one(self, state: State, test: Batch) -> Float[Array, ""]:
        return self._network.score(state.best_params, state.best_fixed, test)


def first_sequences(batch: Batch) -> Batch:
    """Selects the sequences whose gradients are measured."""
    return jax.tree.map(lambda x: x[:PROFILED_SEQUENCES], batch)


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
