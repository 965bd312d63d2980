"""Measuring inside a model that knows nothing of it."""

import dataclasses
import functools
import itertools
import operator
from collections.abc import Callable, Collection, Iterator, Mapping
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
Loss = Callable[[Any, Any], Any]


class _Slot(nnx.Variable):
    """Numbers whose gradient is the norm of a gradient."""


class _Record(nnx.Variable):
    """What one call of a module has left."""


@dataclasses.dataclass(frozen=True)
class Call:
    """One call of a module.

    Attributes:
        path: of the module.
        order: the number of the call among those of the model.
        run: of a cell called step by step, which of its runs the call belongs to.
        left: `slot`; of a layer `rms`, of a recurrence `inputs`, `carry` and what else
            `run_probed` says.
        gradient: of its slot: norms.
    """

    path: Path
    order: int
    run: int
    left: dict[str, Any]
    gradient: Any = None


def tapped_calls(
    model: nnx.Module, batch: Any, loss: Loss
) -> tuple[Float[Array, ""], list[Call]]:
    """Evaluates a loss, and measures its gradient at every recurrence and layer.

    Recurrences are `nnx.RNN`, `gradstab.nn.RNN` and what derives from them, and cells
    that are called step by step; layers are the other modules with parameters or
    parametrizations of their own. A call within a loop of JAX that knows nothing of the
    module, such as a `jax.lax.scan` over a closure, leaves nothing, and a module that a
    transform of Flax keeps from changing is left alone.

    Args:
        model: any module. It is left unchanged.
        batch: what `loss` takes.
        loss: function (model, batch) -> a scalar, or a tuple whose first is one.

    Returns:
        The loss, and the calls in their order.

    Raises:
        ValueError: if the loss is no real scalar.
    """
    graph, state = nnx.split(model)
    traced: list[Call] = []

    def run(
        slots: Mapping[Path, list[Array]], chosen: Collection[Path]
    ) -> tuple[Array, list[Any]]:
        copy = nnx.merge(graph, state, copy=True)
        tapped = {path: one for path, one in _tappable(copy) if path in chosen}
        _tap(tapped, slots)
        value = loss(copy, batch)
        value = jnp.asarray(value[0] if isinstance(value, tuple) else value)
        if value.shape != () or not jnp.issubdtype(value.dtype, jnp.floating):
            raise ValueError(
                "`loss` must return a real scalar, or a tuple whose first is one, got "
                f"{value.dtype.name} of shape {value.shape}."
            )
        calls = [
            Call(
                path,
                record.get_metadata("order"),
                record.get_metadata("run"),
                record.get_value(),
            )
            for path, module in tapped.items()
            for record in module._tap_records
        ]
        traced[:] = sorted(calls, key=lambda call: call.order)
        return value, [call.left for call in traced]

    def look(chosen: Collection[Path]) -> list[Any]:
        return jax.eval_shape(lambda: [left["slot"] for left in run({}, chosen)[1]])

    def can_be_tapped(path: Path) -> bool:
        try:
            look([path])
        except Exception:  # noqa: BLE001 - whatever a transform of Flax may raise
            return False
        return True

    # A first look, without arithmetic, tells who is called and how large the slots are.
    chosen = [path for path, _ in _tappable(model)]
    try:
        shapes = look(chosen)
    except Exception:  # noqa: BLE001 - it may be the model's own, or due to a tap
        look([])  # raises what is the model's own
        chosen = list(filter(can_be_tapped, chosen))
        shapes = look(chosen)
    paths = [call.path for call in traced]

    def with_slots(values: list[Array]) -> tuple[Array, list[Any]]:
        slots: dict[Path, list[Array]] = {}
        for path, value in zip(paths, values, strict=True):
            slots.setdefault(path, []).append(value)
        return run(slots, chosen)

    zeros = [jnp.zeros(like.shape, like.dtype) for like in shapes]
    (value, left), norms = jax.value_and_grad(with_slots, has_aux=True)(zeros)
    calls = [
        dataclasses.replace(call, left=own, gradient=norm)
        for call, own, norm in zip(traced, left, norms, strict=True)
    ]
    return value, calls


def recurrent_calls(calls: list[Call]) -> list[Call]:
    """Selects the recurrences, the calls of a cell step by step made one.

    Args:
        calls: see `tapped_calls`.

    Returns:
        Calls of recurrent layers whose gradients have shape (steps, sequences).
    """
    # Stacked by a transform of Flax, a recurrence has axes that nothing tells apart.
    found = [
        call
        for call in calls
        if "inputs" in call.left and jnp.ndim(call.gradient) == 2 and call.gradient.size
    ]
    runs: dict[tuple[Path, int], list[Call]] = {}
    for call in calls:
        if "input" in call.left and jnp.ndim(call.gradient) == 1:
            runs.setdefault((call.path, call.run), []).append(call)
    for steps in runs.values():
        inputs = [step.left["input"] for step in steps]
        if len(steps) < 2 or len({jnp.shape(x) for x in inputs}) > 1:
            continue
        left = {"inputs": jnp.stack(inputs, 1), "carry": steps[0].left["carry"]}
        gradient = jnp.stack([step.gradient for step in steps])
        found.append(dataclasses.replace(steps[0], left=left, gradient=gradient))
    return sorted(found, key=lambda call: call.order)


def unseen_modules(model: nnx.Module, seen: Collection[Path]) -> list[str]:
    """Names the modules with parameters that are part of nothing that was seen."""
    return [
        path_name(path)
        for path, module in nnx.iter_modules(model)
        if any(isinstance(value, nnx.Param) for value in vars(module).values())
        and not any(path[: len(whole)] == whole for whole in seen if whole)
        and () not in seen
    ]


def names_of(calls: list[Call]) -> list[str]:
    """Names calls by the paths of their modules, and tells several calls apart."""
    paths = [path_name(call.path) for call in calls]
    names = []
    for index, path in enumerate(paths):
        before = paths[:index].count(path)
        several = paths.count(path) > 1
        names.append(f"{path} (call {before + 1})" if several else path)
    return names


def path_name(path: Path) -> str:
    """Writes the path of a module as its name."""
    return ".".join(map(str, path)) or "model"


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


def _tap(tapped: Mapping[Path, Any], slots: Mapping[Path, list[Array]]) -> None:
    """Puts a class that measures in the place of each module's own."""
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


def _tappable(model: nnx.Module) -> Iterator[tuple[Path, Any]]:
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
