"""Measuring inside a model that knows nothing of it."""

import dataclasses
from collections.abc import Callable, Collection, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from gradstab.diagnostics._tapped_modules import Path, tap, tappable

Loss = Callable[[Any, Any], Any]


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
        tapped = {path: one for path, one in tappable(copy) if path in chosen}
        tap(tapped, slots)
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
    chosen = [path for path, _ in tappable(model)]
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
