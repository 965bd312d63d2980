"""One call that tells what the gradients of a model do."""

import functools
from typing import Any

import jax
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array

from gradstab.diagnostics._measure import Measurement, measure
from gradstab.diagnostics._recurrence_measurement import Extent
from gradstab.diagnostics._report import Report
from gradstab.diagnostics._taps import Loss


def diagnose(
    model: nnx.Module,
    batch: Any,
    loss: Loss,
    *,
    opt_state: Any = None,
    key: Array | None = None,
    exponents: int | None = 8,
    jacobians: int = 8,
    probes: int = 8,
) -> Report:
    r"""Tells whether the gradients of a model vanish, explode or drift into chaos.

    The model is not edited. Every recurrent layer in it (`nnx.RNN`, `gradstab.nn.RNN`
    and what derives from them, with any cell, and cells called step by step) is
    followed through time: the gradient ‖∂L/∂h_t‖ of each sequence; for four of them,
    how far back the last state remembers, ‖∂h_T/∂h_t‖; Lyapunov exponents; spectra of
    the Jacobian ∂h_{t+1}/∂h_t; the size of the state; and what the gates of known cells
    do. The other layers make a profile over depth, and every `Parametrization` is held
    to its set. What was not seen at work is named: a cell within a `jax.lax.scan` of
    your own, say, for which there are `lyapunov_exponents`, `reach` and
    `jacobian_spectrum`.

    It takes about as long as a few steps of training, and stores one number for each
    step and sequence beside what a backward pass stores. A random cell, such as
    `nn.HDetachLSTMCell`, is measured with one draw, and its exponents are those of the
    recursion which its gradient follows.

    Example:
        >>> from flax import nnx
        >>> import jax.numpy as jnp
        >>> import gradstab as gs
        >>> model = nnx.RNN(nnx.SimpleCell(3, 8, rngs=nnx.Rngs(0)))
        >>> def loss(model, batch):
        ...     return jnp.mean(model(batch)[:, -1] ** 2)
        >>> report = gs.diagnostics.diagnose(model, jnp.ones((4, 100, 3)), loss)
        >>> report.verdict == "vanishing"
        True

    Args:
        model: any Flax NNX module. It is left unchanged.
        batch: what `loss` takes: a tree of arrays, and of constants that can be hashed.
        loss: function (model, batch) -> a scalar, or a tuple whose first is one. Pass a
            named function: every new lambda is compiled anew.
        opt_state: the state of an optimizer that holds `safe_clip_by_global_norm`: how
            often that has clipped becomes part of the report.
        key: of random directions; key 0 if None.
        exponents: how many Lyapunov exponents; None for all, at the cost of as many
            Jacobian-vector products a step.
        jacobians: at how many steps the Jacobian is built, O(n³) each up to 512 numbers
            of state, without a matrix beyond; 0 for none.
        probes: how many directions are followed back through time.

    Returns:
        The report: print it, `plot` it, `save` it, or ask for its `verdict`.

    Raises:
        ValueError: if the loss is no real scalar, a number is no integer >= 1 or, of
            Jacobians, >= 0, or there is neither a recurrence nor a layer at work.
    """
    key = jax.random.key(0) if key is None else key
    extent = Extent(exponents, jacobians, probes)
    graph, state = nnx.split(model)
    leaves, tree = jax.tree.flatten(batch)
    is_array = [isinstance(x, jax.Array | np.ndarray | np.generic) for x in leaves]
    fixed = tuple(
        None if array else leaf for leaf, array in zip(leaves, is_array, strict=True)
    )
    arrays = [x for x, array in zip(leaves, is_array, strict=True) if array]
    parts = tree, tuple(is_array), fixed
    measurement = _measure_compiled(graph, loss, extent, parts, state, arrays, key)
    return Report(jax.device_get(measurement), _share_clipped(opt_state))


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _measure_compiled(
    graph: Any,
    loss: Loss,
    extent: Extent,
    parts: tuple[Any, tuple[bool, ...], tuple[Any, ...]],
    state: Any,
    arrays: list[Array],
    key: Array,
) -> Measurement:
    tree, is_array, fixed = parts
    rest = iter(arrays)
    leaves = [next(rest) if a else x for a, x in zip(is_array, fixed, strict=True)]
    batch = jax.tree.unflatten(tree, leaves)
    return measure(nnx.merge(graph, state, copy=True), batch, loss, key, extent)


def _share_clipped(opt_state: Any) -> float | None:
    """Reads how often an optimizer has clipped, if it says."""
    found = {
        name: optax.tree_utils.tree_get_all_with_path(opt_state, name)
        for name in ("clipped", "updates")
    }
    if not found["clipped"]:
        return None
    clipped, updates = (
        sum(float(np.asarray(value)) for _, value in found[name]) for name in found
    )
    return clipped / max(updates, 1.0)
