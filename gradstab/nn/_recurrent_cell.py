"""The contract of a recurrent cell."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from flax.typing import Dtype, Initializer
from jaxtyping import Array

from gradstab._checks import check_integer, check_param_dtype
from gradstab._precision import at_least_single
from gradstab.nn._materialize import materialize
from gradstab.nn._methods import overrides


class RecurrentCell(nnx.RNNCellBase):
    """One step of a recurrence, split into what needs the carry and what does not.

    A subclass implements `project` and `step`, which are pure. It may hold
    `Parametrization`s: `RNN` builds them once a sequence, and for a token-by-token loop
    call `materialize` once and then the cell many times.

    Args:
        in_features: length of the input.
        hidden_features: length of the state.
        dtype: dtype of the products with weights; `param_dtype` if None. Inputs,
            integers and booleans too, are cast to it. The state is never kept below
            float32.
        param_dtype: dtype of the parameters.
    """

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        *,
        dtype: Dtype | None = None,
        param_dtype: Dtype = jnp.float32,
    ):
        check_integer("in_features", in_features, 1)
        check_integer("hidden_features", hidden_features, 1)
        check_param_dtype(param_dtype)
        self.in_features = in_features
        self.hidden_features = hidden_features
        self.dtype = param_dtype if dtype is None else dtype
        self.param_dtype = param_dtype
        if self._is_complex and not jnp.issubdtype(self.dtype, jnp.complexfloating):
            raise ValueError(
                "`dtype` must be complex, as `param_dtype` is, got "
                f"{jnp.dtype(self.dtype).name}."
            )

    def project(self, inputs: Array) -> Any:
        """Computes all that does not depend on the carry.

        Args:
            inputs: shape (time, *batch, in_features), of any length of time.

        Returns:
            A tree of arrays with leading axis `time`: input weights and biases applied.
        """
        raise NotImplementedError

    def draw(self, key: Array, steps: int) -> Any:
        """Draws the randomness of a sequence; None for a deterministic cell.

        A cell that `draws` gets the pair (projected, drawn) in `step` when `RNN` runs
        it, where each array drawn has an axis of length 1 or the batch for every
        axis of the batch; what a single `__call__` does is its own to define.

        Args:
            key: a random key.
            steps: the length of the sequence.

        Returns:
            A tree of arrays with leading axis `steps`, shared by all sequences.
        """
        return None

    @property
    def draws(self) -> bool:
        """Whether `RNN` draws for it: by default, whether it overrides `draw`."""
        return overrides(type(self), RecurrentCell, "draw")

    def _built(self) -> Any:
        """Returns the cell as `RNN` runs it over a sequence: its matrices built."""
        # Private, because `nnx.tabulate` jits whatever is not.
        return materialize(self)

    def step(self, carry: Any, projected: Any) -> tuple[Any, Any]:
        """Advances one time step.

        Args:
            carry: the state, a tree of arrays (*batch, ...).
            projected: what `project` gave for this step.

        Returns:
            The new carry, of the same shapes and dtypes, and the output.
        """
        raise NotImplementedError

    def __call__(self, carry: Any, inputs: Array) -> tuple[Any, Any]:
        """Advances one time step from raw inputs of shape (*batch, in_features)."""
        self.check_inputs(inputs)
        projected = self.project(inputs[None])
        return self.step(carry, jax.tree.map(lambda x: x[0], projected))

    def initialize_carry(
        self,
        input_shape: tuple[int, ...],
        rngs: nnx.Rngs | nnx.RngStream | None = None,
        carry_init: Initializer | None = None,
    ) -> Any:
        """Creates the carry before the first time step.

        Args:
            input_shape: shape of the inputs at one time step, features last.
            rngs: source of the `carry` keys, needed with `carry_init` only.
            carry_init: initializer of the carry. Zeros if None.

        Returns:
            A tree of arrays (*batch, features) in the dtype of the state.

        Raises:
            ValueError: if `carry_init` is given without `rngs`.
        """
        if carry_init is not None and rngs is None:
            raise ValueError("`rngs` is required when `carry_init` is given.")
        stream = rngs.carry if isinstance(rngs, nnx.Rngs) else rngs
        batch = input_shape[: -self.num_feature_axes]

        def create(features):
            shape = (*batch, features)
            if carry_init is None or stream is None:
                return jnp.zeros(shape, self.carry_dtype)
            return carry_init(stream(), shape, self.carry_dtype)

        return jax.tree.map(create, self.carry_features)

    def check_inputs(self, inputs: Array) -> None:
        """Checks the last axis and the dtype of some inputs.

        Args:
            inputs: shape (..., in_features).

        Raises:
            ValueError: if the number of features differs, or complex inputs meet a real
                cell.
        """
        if inputs.ndim == 0 or inputs.shape[-1] != self.in_features:
            raise ValueError(
                f"`inputs` must have {self.in_features} features on the last axis, "
                f"got shape {inputs.shape}."
            )
        if jnp.iscomplexobj(inputs) and not self._is_complex:
            raise ValueError(
                f"`inputs` must be real, as the cell is, got {inputs.dtype.name}."
            )

    @property
    def _is_complex(self) -> bool:
        return jnp.issubdtype(self.param_dtype, jnp.complexfloating)

    @property
    def carry_features(self) -> Any:
        """The lengths of the arrays of the carry, as a tree of integers."""
        return self.hidden_features

    @property
    def carry_dtype(self) -> Dtype:
        """The dtype of the state: `param_dtype`, but at least float32."""
        return at_least_single(self.param_dtype)

    def flax_twin(self) -> nnx.Module | None:
        """Returns the module of Flax with the same weights and values, if there is one.

        None for a cell that Flax has not.
        """
        return None

    @property
    def contraction_bound(self) -> float | None:
        """A Lipschitz constant of carry -> carry', or None where none is known.

        It holds for every input and every finite value of the parameters.
        """
        return None

    @property
    def num_feature_axes(self) -> int:
        """The number of trailing axes of an input that are features."""
        return 1
