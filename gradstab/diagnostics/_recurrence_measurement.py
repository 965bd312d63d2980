"""All that is measured of one recurrence."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gradstab._checks import check_integer
from gradstab.diagnostics._jacobian_spectrum import JacobianSpectrum, jacobian_spectrum
from gradstab.diagnostics._lyapunov_exponents import (
    LyapunovExponents,
    lyapunov_exponents,
)
from gradstab.diagnostics._reach import Reach, reach
from gradstab.diagnostics._recurrence import Recurrence
from gradstab.diagnostics._tapped_modules import root_mean_square

CLOSED, OPEN = 0.1, 0.9  # a gate beyond them is called saturated


@dataclasses.dataclass(frozen=True)
class Extent:
    """How much is measured.

    Attributes:
        exponents: how many Lyapunov exponents, at least 1; None for all.
        jacobians: at how many steps the Jacobian is built, 0 for none.
        probes: how many directions are followed back through time, at least 1.

    Raises:
        ValueError: if a number is no such integer.
    """

    exponents: int | None
    jacobians: int
    probes: int

    def __post_init__(self) -> None:
        if self.exponents is not None:
            check_integer("exponents", self.exponents, 1)
        check_integer("jacobians", self.jacobians)
        check_integer("probes", self.probes, 1)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Gate:
    """A gate over all units, sequences and steps that were followed.

    Attributes:
        closed: the share below 0.1.
        opened: the share above 0.9.
        time_scales: of the gate that keeps the state, -1 over the mean of its
            logarithm: in how many steps a unit forgets; None of the others.
    """

    closed: Float[Array, ""]
    opened: Float[Array, ""]
    time_scales: Float[Array, " units"] | None


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class RecurrenceMeasurement:
    """What one recurrence does to gradients.

    The gradient is measured on all sequences, the rest on the first four, or the four
    longest. Steps are in the order of the run, which is backwards in time for a layer
    that runs backwards.

    Attributes:
        name: the path of its layer.
        gradients: ‖∂L/∂h_t‖ for the carry h_t that enters step t, of each sequence.
        reach: how large ∂h_T/∂h_t is, for each sequence.
        lyapunov: exponents, for each sequence.
        jacobian_steps: the steps whose Jacobian was built.
        jacobians: their spectra, along the first sequence.
        states: the root mean square of the carry that enters each step, and of the last
            one.
        changes: the same of what each step changes in it.
        lengths: how many steps of each sequence were taken.
        gates: of cells that are known, by name.
    """

    name: str = dataclasses.field(metadata={"static": True})
    gradients: Float[Array, "steps batch"]
    reach: Reach
    lyapunov: LyapunovExponents
    jacobian_steps: tuple[int, ...] = dataclasses.field(metadata={"static": True})
    jacobians: JacobianSpectrum
    states: Float[Array, "sequences moments"]
    changes: Float[Array, "sequences steps"]
    lengths: Float[Array, " sequences"]
    gates: dict[str, Gate]


def measure_recurrence(
    name: str,
    one: Recurrence,
    gradients: Float[Array, "steps batch"],
    key: Array,
    extent: Extent,
) -> RecurrenceMeasurement:
    """Measures one recurrence.

    Args:
        name: see `RecurrenceMeasurement`.
        one: its first sequences.
        gradients: see `RecurrenceMeasurement`.
        key: of random directions.
        extent: how much is measured.

    Returns:
        The measurement.
    """
    steps = gradients.shape[0]
    keys = jax.random.split(key, 3)
    size = _numbers(one.carry)
    count = size if extent.exponents is None else min(extent.exponents, size)

    def along(carry: Any, inputs: Any, mask: Any) -> tuple[Any, ...]:
        inputs = one.prepare(inputs)
        back = reach(
            one.step, carry, inputs, probes=extent.probes, mask=mask, key=keys[0]
        )
        exponents = lyapunov_exponents(
            one.step,
            carry,
            inputs,
            count=count,
            burn_in=steps // 10,
            mask=mask,
            key=keys[1],
        )
        return back, exponents, *_follow(one, carry, inputs, mask)

    back, exponents, states, sizes, changes, gates = jax.vmap(along)(
        one.carry, one.inputs, one.mask
    )
    lengths = jnp.full(sizes.shape[0], steps, sizes.dtype)
    if one.mask is not None:
        lengths = jnp.sum(one.mask, axis=1).astype(sizes.dtype)
    times = _spread(steps, extent.jacobians)
    first = one.prepare(jax.tree.map(lambda x: x[0], one.inputs))

    def spectrum(time: Array) -> JacobianSpectrum:
        carry = jax.tree.map(lambda x: x[0, time], states)
        here = jax.tree.map(lambda x: x[time], first)
        return jacobian_spectrum(one.step, carry, here, key=keys[2])

    return RecurrenceMeasurement(
        name=name,
        gradients=gradients,
        reach=back,
        lyapunov=exponents,
        jacobian_steps=times,
        # One after another: of a stack, one matrix could hold up all others.
        jacobians=jax.lax.map(spectrum, jnp.asarray(times, jnp.int32)),
        states=sizes,
        changes=changes,
        lengths=lengths,
        gates=_summarize(one, gates),
    )


def _follow(one: Recurrence, carry: Any, inputs: Any, mask: Any) -> tuple[Any, ...]:
    """Runs over one sequence: carries, their sizes and changes, the gates."""

    def advance(carry: Any, here: Any) -> tuple[Any, Any]:
        inputs, taken = here
        new = one.step(carry, inputs)
        if taken is not None:
            new = jax.tree.map(lambda x, old: jnp.where(taken, x, old), new, carry)
        gates = {} if one.gates is None else one.gates(carry, inputs)
        change = _size(jax.tree.map(jnp.subtract, new, carry))
        return new, (carry, _size(carry), change, gates)

    last, (states, sizes, changes, gates) = jax.lax.scan(advance, carry, (inputs, mask))
    return states, jnp.append(sizes, _size(last)), changes, gates


def _size(carry: Any) -> Float[Array, ""]:
    """Returns the root mean square of all numbers of a carry."""
    dtype = jnp.zeros(()).dtype
    moving = [x for x in jax.tree.leaves(carry) if jnp.issubdtype(x.dtype, jnp.inexact)]
    return root_mean_square(
        jnp.concatenate([jnp.abs(x).astype(dtype).ravel() for x in moving])
    )


def _numbers(carry: Any) -> int:
    """Counts the real numbers in the carry of one sequence."""
    moving = [x for x in jax.tree.leaves(carry) if jnp.issubdtype(x.dtype, jnp.inexact)]
    return sum(x[0].size * (2 if jnp.iscomplexobj(x) else 1) for x in moving)


def _summarize(one: Recurrence, gates: dict[str, Array]) -> dict[str, Gate]:
    """Reduces gates (sequences, steps, units) to shares and times."""
    summary = {}
    for name, values in gates.items():
        taken = jnp.ones(values.shape[:2], bool) if one.mask is None else one.mask
        weights = taken[..., None].astype(values.dtype)
        number = jnp.maximum(jnp.sum(weights), 1)
        lost = jnp.any(jnp.isnan(jnp.where(taken[..., None], values, 0)))
        closed, opened = (
            jnp.where(lost, jnp.nan, jnp.sum(jnp.where(outside, weights, 0)))
            / (number * values.shape[-1])
            for outside in (values < CLOSED, values > OPEN)
        )
        times = None
        if one.gating is not None and name == one.gating.keeps:
            logs = jnp.where(taken[..., None], jnp.log(values), 0)
            times = number / jnp.abs(jnp.sum(logs, axis=(0, 1)))
        summary[name] = Gate(closed, opened, times)
    return summary


def _spread(steps: int, count: int) -> tuple[int, ...]:
    """Spreads some steps evenly over a run, the first and the last among them."""
    count = min(count, steps)
    return tuple(round(i * (steps - 1) / max(count - 1, 1)) for i in range(count))
