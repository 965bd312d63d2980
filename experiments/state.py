"""All that training changes and needs to go on."""

from typing import Any, NamedTuple

from jaxtyping import Array, Float, Int


class State(NamedTuple):
    """The state of a training; a leading axis of every array counts seeds.

    Attributes:
        params: what the optimizer moves.
        fixed: the rest of the model.
        optimizer: the state of the optimizer.
        rates: its learning rates, under the names of the settings.
        key: what training batches are drawn from; never used up.
        loss_sum: sum of the losses since the last measurement.
        worst_loss: the largest of them; -inf if there is none.
        largest_norm: the largest norm of a gradient since then, before any clipping.
        bad_step: the first step with a loss, or to a parameter, that was not finite;
            -1 if there was none.
        best_params: `params` at the best measurement.
        best_fixed: `fixed` at the best measurement.
        best_score: its validation score.
        best_step: the steps taken by then.
    """

    params: Any
    fixed: Any
    optimizer: Any
    rates: dict[str, Float[Array, ""]]
    key: Array
    loss_sum: Float[Array, ""]
    worst_loss: Float[Array, ""]
    largest_norm: Float[Array, ""]
    bad_step: Int[Array, ""]
    best_params: Any
    best_fixed: Any
    best_score: Float[Array, ""]
    best_step: Int[Array, ""]
