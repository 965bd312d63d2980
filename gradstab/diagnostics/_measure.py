"""All that one diagnosis measures, as one pure function of arrays."""

import dataclasses
from typing import Any

import jax
from flax import nnx
from jaxtyping import Array, Float

from gradstab.diagnostics._constraint_report import Constraint, constraint_report
from gradstab.diagnostics._depth_gradient_profile import DepthProfile, depth_profile
from gradstab.diagnostics._probed_rnn import is_rnn
from gradstab.diagnostics._recurrence import recurrence
from gradstab.diagnostics._recurrence_measurement import (
    Extent,
    RecurrenceMeasurement,
    measure_recurrence,
)
from gradstab.diagnostics._taps import (
    Loss,
    names_of,
    recurrent_calls,
    tapped_calls,
    unseen_modules,
)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Measurement:
    """What was measured of a model.

    Attributes:
        loss: its value.
        recurrences: one for each call of a recurrent layer.
        depth: the layers that are no part of one.
        constraints: the parametrizations.
        unseen: modules with parameters that were not seen at work.
    """

    loss: Float[Array, ""]
    recurrences: tuple[RecurrenceMeasurement, ...]
    depth: DepthProfile
    constraints: dict[str, Constraint]
    unseen: tuple[str, ...] = dataclasses.field(metadata={"static": True})


def measure(
    model: nnx.Module, batch: Any, loss: Loss, key: Array, extent: Extent
) -> Measurement:
    """Measures a model; can be traced.

    Args:
        model: any module. It is left unchanged.
        batch: what `loss` takes.
        loss: function (model, batch) -> a scalar, or a tuple whose first is one.
        key: of random directions.
        extent: how much is measured.

    Returns:
        The measurement.
    """
    value, calls = tapped_calls(model, batch, loss)
    modules = dict(nnx.iter_modules(nnx.merge(*nnx.split(model), copy=True)))
    runs = recurrent_calls(calls)
    measured = []
    for name, call in zip(names_of(runs), runs, strict=True):
        key, own = jax.random.split(key)
        module: Any = modules[call.path]
        cell = module.cell if is_rnn(module) else module
        one = recurrence(cell, call.left)
        measured.append(measure_recurrence(name, one, call.gradient, own, extent))
    layers = [call for call in calls if "rms" in call.left]
    seen = {call.path for call in (*runs, *layers)}
    return Measurement(
        loss=value,
        recurrences=tuple(measured),
        depth=depth_profile(calls),
        constraints=constraint_report(model),
        unseen=tuple(unseen_modules(model, seen)),
    )
