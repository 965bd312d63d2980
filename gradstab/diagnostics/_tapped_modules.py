"""Modules that measure as they are called, and pass for what they were."""

import functools
import itertools
import operator
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from flax.errors import TraceContextError
from jaxtyping import Array, Float

from gradstab.diagnostics._norm_probe import norm_probe, trailing_norm
from gradstab.diagnostics._probed_rnn import (
    first_sequences,
    is_rnn,
    rnn_base,
    run_probed,
)
from gradstab.nn import Parametrization

Path = tuple[Any, ...]


class _Slot(nnx.Variable):
    """Numbers whose gradient is the norm of a gradient."""


class _Record(nnx.Variable):
    """What one call of a module has left."""


def root_mean_square(x: Array) -> Float[Array, ""]:
    """Returns the root of the mean of |x|²; no square overflows."""
    return trailing_norm(x, 0) / max(x.size, 1) ** 0.5


class _Tracker:
    """What the tapped modules of a model share; static, told by identity."""

    def __init__(self) -> None:
        self.next = itertools.count().__next__
        self.running: set[Path] = set()
        # Of each cell what it returned last, and the number of its run.
        self.carries: dict[Path, list[Any]] = {}
        self.runs: dict[Path, int] = {}


def tap(tapped: Mapping[Path, Any], slots: Mapping[Path, list[Array]]) -> None:
    """Puts a class that measures in the place of each module's own.

    What the calls of a module leave is in its `_tap_records`, with their `order` among
    all calls and, of a cell called step by step, the number of the `run`.

    Args:
        tapped: the modules, which are changed for good.
        slots: for each call of a module an array whose gradient will be the norms;
            without, zeros that tell its shape are left.
    """
    tracker = _Tracker()
    for path, module in tapped.items():
        measure = _measure_layer
        if is_rnn(module):
            measure = _measure_rnn
        elif _is_cell(module):
            measure = _measure_cell
        base = rnn_base(module)
        kind = _tapped_class(type(module), base, measure)
        object.__setattr__(module, "__class__", kind)
        module._tap_tracker = tracker
        module._tap_path = path
        module._tap_slots = nnx.List([_Slot(x) for x in slots.get(path, ())])
        module._tap_records = nnx.List([])


@functools.cache
def _tapped_class(kind: type, base: type | None, measure: Callable[..., Any]) -> type:
    """Derives a class whose calls are measured and which passes for `kind`."""
    # With a base it is the base's own call that is measured: a class that derives from
    # it calls that with arguments of its own choice.
    within = base or kind

    def __call__(self, *args, **options):
        running = self._tap_tracker.running
        # A module that calls a view of itself, its matrices built, is called once.
        if self._tap_path in running:
            return within.__call__(self, *args, **options)
        running.add(self._tap_path)
        try:
            call = functools.partial(within.__call__, self)
            return measure(self, call, *args, **options)
        finally:
            running.remove(self._tap_path)

    names = {"__call__": __call__, "__module__": kind.__module__}
    tapped = type(kind.__name__, (within,), names)
    # Between the class and its base, where `super().__call__` looks first.
    return tapped if within is kind else type(kind.__name__, (kind, tapped), {})


def _measure_layer(layer: Any, call: Callable[..., Any], *args: Any, **options: Any):
    out = call(*args, **options)
    if not isinstance(out, jax.Array) or not jnp.issubdtype(out.dtype, jnp.inexact):
        return out
    slot = _next_slot(layer, ())
    left = _leave(layer, {"slot": slot, "rms": root_mean_square(out)})
    return norm_probe(out, slot) if left else out


def _measure_rnn(rnn: Any, call: Callable[..., Any], *args: Any, **options: Any):
    slot = functools.partial(_next_slot, rnn)
    try:
        out, left = run_probed(rnn, call, slot, *args, **options)
    except TraceContextError:
        return call(*args, **options)
    return out if _leave(rnn, left) else call(*args, **options)


def _measure_cell(cell: Any, call: Callable[..., Any], *args: Any, **options: Any):
    is_plain = len(args) == 2 and isinstance(args[1], jax.Array) and not options
    if not is_plain:
        return call(*args, **options)
    carry, inputs = args
    batch_axes = inputs.ndim - cell.num_feature_axes
    slot = _next_slot(cell, inputs.shape[:batch_axes])
    first = functools.partial(first_sequences, batch_axes=batch_axes)
    left = {"slot": slot.ravel(), "input": first(inputs)}
    left["carry"] = jax.tree.map(first, carry)
    if not _leave(cell, left, _run_of(cell, carry)):
        return call(carry, inputs)
    out = call(norm_probe(carry, slot), inputs)
    cell._tap_tracker.carries[cell._tap_path] = jax.tree.leaves(out[0])
    return out


def _run_of(cell: Any, carry: Any) -> int:
    """Numbers the run of a cell: a new one unless it goes on from the last carry."""
    tracker, path = cell._tap_tracker, cell._tap_path
    last, leaves = tracker.carries.get(path, []), jax.tree.leaves(carry)
    goes_on = len(last) == len(leaves) and all(map(operator.is_, last, leaves))
    if not goes_on:
        tracker.runs[path] = tracker.runs.get(path, -1) + 1
    return tracker.runs[path]


def _next_slot(module: Any, shape: tuple[int, ...]) -> Array:
    """Returns what this call was given to differentiate, zeros if nothing."""
    index = len(module._tap_records)
    if index < len(module._tap_slots):
        return module._tap_slots[index][...].reshape(shape)
    return jnp.zeros(shape, jnp.zeros(()).dtype)


def _leave(module: Any, left: dict[str, Any], run: int = 0) -> bool:
    """Stores what a call has seen, if its module can be written to where it runs."""
    order = module._tap_tracker.next()
    try:
        module._tap_records.append(_Record(left, order=order, run=run))
    except TraceContextError:
        return False
    return True


def tappable(model: nnx.Module) -> Iterator[tuple[Path, Any]]:
    """Yields recurrences, and layers that are part of none."""
    inside: list[Path] = []
    for path, module in sorted(nnx.iter_modules(model), key=lambda one: len(one[0])):
        if any(path[: len(outer)] == outer for outer in inside):
            continue
        if is_rnn(module) or _is_cell(module):
            inside.append(path)
            yield path, module
        elif isinstance(module, Parametrization):
            inside.append(path)
        elif callable(module) and _has_own_parameters(module):
            yield path, module


def _is_cell(module: Any) -> bool:
    return isinstance(module, nnx.RNNCellBase)


def _has_own_parameters(module: nnx.Module) -> bool:
    held = vars(module).values()
    return any(isinstance(value, nnx.Param | Parametrization) for value in held)
