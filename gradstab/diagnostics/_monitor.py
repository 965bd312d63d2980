"""A diagnosis every so many steps of training, inside of the compiled step."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Int

from gradstab._checks import check_integer
from gradstab.diagnostics._measure import Measurement, measure
from gradstab.diagnostics._recurrence_measurement import Extent
from gradstab.diagnostics._report import Report
from gradstab.diagnostics._taps import Loss


class MonitorState(NamedTuple):
    """The state of a `Monitor`.

    Attributes:
        updates: how many times it was updated.
        measured_at: the number of updates at the last measurement, -1 before the first.
        measurement: the last one; NaN before the first.
    """

    updates: Int[Array, ""]
    measured_at: Int[Array, ""]
    measurement: Measurement


@dataclasses.dataclass(frozen=True)
class Monitor:
    """Measures what `diagnose` does in every k-th step of training.

    It is updated inside of a compiled step, without a callback to the host: the other
    steps skip the work. What it has measured is a tree of arrays, to be read when and
    if it is wanted.

    Example:
        >>> from flax import nnx
        >>> import jax.numpy as jnp
        >>> import gradstab as gs
        >>> model = nnx.RNN(nnx.SimpleCell(3, 8, rngs=nnx.Rngs(0)))
        >>> batch = jnp.ones((4, 100, 3))
        >>> def loss(model, batch):
        ...     return jnp.mean(model(batch)[:, -1] ** 2)
        >>> monitor = gs.diagnostics.Monitor(loss, every=100)
        >>> state = monitor.init(model, batch)
        >>> @nnx.jit
        ... def train_step(model, batch, state):
        ...     return monitor.update(state, model, batch)  # and an optimizer's step
        >>> state = train_step(model, batch, state)
        >>> str(monitor.report(state).verdict)
        'vanishing'

    Args:
        loss: function (model, batch) -> a scalar, or a tuple whose first is one.
        every: the number k.
        exponents: see `diagnose`.
        jacobians: see `diagnose`.
        probes: see `diagnose`.

    Raises:
        ValueError: as `diagnose` does for its numbers.
    """

    loss: Loss
    every: int
    _: dataclasses.KW_ONLY
    exponents: int | None = 8
    jacobians: int = 8
    probes: int = 8

    def __post_init__(self) -> None:
        check_integer("every", self.every, 1)
        self._extent()  # which checks the other numbers

    def init(self, model: nnx.Module, batch: Any) -> MonitorState:
        """Makes the first state.

        Args:
            model: any module.
            batch: of the shapes that will be measured.

        Returns:
            The state, with NaN for what is not yet measured.
        """
        shapes = jax.eval_shape(lambda: self._measure(model, batch))
        empty = jax.tree.map(
            lambda like: jnp.full(like.shape, jnp.nan, like.dtype), shapes
        )
        return MonitorState(
            jnp.zeros((), jnp.int32), jnp.full((), -1, jnp.int32), empty
        )

    def update(
        self, state: MonitorState, model: nnx.Module, batch: Any
    ) -> MonitorState:
        """Measures the model if it is time to, and counts.

        Args:
            state: the last one.
            model: as it is now. It is left unchanged.
            batch: of this step.

        Returns:
            The next state.
        """
        due = state.updates % self.every == 0
        measurement = jax.lax.cond(
            due, lambda: self._measure(model, batch), lambda: state.measurement
        )
        measured_at = jnp.where(due, state.updates, state.measured_at)
        return MonitorState(state.updates + 1, measured_at, measurement)

    def report(self, state: MonitorState) -> Report:
        """Makes a report of the last measurement.

        Args:
            state: one that was updated.

        Returns:
            The report.

        Raises:
            ValueError: if nothing was measured yet.
        """
        if int(state.measured_at) < 0:
            raise ValueError("`state` must have been updated: nothing is measured yet.")
        return Report(jax.device_get(state.measurement))

    def _extent(self) -> Extent:
        return Extent(self.exponents, self.jacobians, self.probes)

    def _measure(self, model: nnx.Module, batch: Any) -> Measurement:
        return measure(model, batch, self.loss, jax.random.key(0), self._extent())
