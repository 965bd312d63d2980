"""How well a network tells two domains apart, as a loss."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from gradstab._checks import check_real
from gradstab._precision import widened


def least_squares_domain_loss(
    logits: Float[Array, "batch ..."], is_target: Bool[Array, " batch"]
) -> Float[Array, ""]:
    r"""Computes half the mean squared error of P in each domain.

    .. math:: L = \tfrac{1}{2} \operatorname{mean}_{source} P^2
        + \tfrac{1}{2} \operatorname{mean}_{target} (1 - P)^2

    with P the logistic sigmoid of the logits, the probability of the target domain.
    Each mean is over the examples of one domain and their positions; one without
    examples adds nothing.

    Args:
        logits: one for each example, or each of its positions.
        is_target: of each example, whether it belongs to the target domain.

    Returns:
        The loss.

    Raises:
        ValueError: if the two have not as many examples, there are none, `is_target` is
            not of dtype bool or `logits` not of a real one.

    References:
        Shen, Maheshwari, Yao & Savvides, "SCL: Towards Accurate Domain Adaptive Object
        Detection via Gradient Detach Based Stacked Complementary Losses", 2019,
        arXiv:1911.02559: the loss of their first stage.
    """
    # 1 - P of the domain that the example has.
    wrong = jax.nn.sigmoid(-_toward_own_domain(logits, is_target))
    return _halved_mean(wrong**2, is_target)


def cross_entropy_domain_loss(
    logits: Float[Array, "batch ..."], is_target: Bool[Array, " batch"]
) -> Float[Array, ""]:
    r"""Computes half the mean cross-entropy in each domain.

    .. math:: L = \tfrac{1}{2} \operatorname{mean}_{source} (-\log(1 - P))
        + \tfrac{1}{2} \operatorname{mean}_{target} (-\log P)

    Their program multiplies it by 0.15; here it has no factor.

    Args:
        logits: see `least_squares_domain_loss`, as for P and what is averaged.
        is_target: see there.

    Returns:
        The loss.

    Raises:
        ValueError: see there.

    References:
        See there: the loss of their second stage.
    """
    own = _toward_own_domain(logits, is_target)
    return _halved_mean(-jax.nn.log_sigmoid(own), is_target)


def focal_domain_loss(
    logits: Float[Array, "batch ..."],
    is_target: Bool[Array, " batch"],
    gamma: float = 5.0,
) -> Float[Array, ""]:
    r"""Computes half the mean focal loss in each domain.

    .. math:: L = \tfrac{1}{2} \operatorname{mean}_{source} f(1 - P)
        + \tfrac{1}{2} \operatorname{mean}_{target} f(P), \qquad
        f(P) = -(1 - P)^\gamma \log P

    It leaves out what is easily told apart; `cross_entropy_domain_loss` is that of a γ
    of 0. Loss and gradient are finite for every finite logit.

    Args:
        logits: see `least_squares_domain_loss`, as for P and what is averaged.
        is_target: see there.
        gamma: γ, at least 0.

    Returns:
        The loss.

    Raises:
        ValueError: if `gamma` is negative or not finite; else see there.

    References:
        See there: the loss of their third stage, and of the instances; Lin, Goyal,
        Girshick, He & Dollár, "Focal Loss for Dense Object Detection", ICCV 2017,
        arXiv:1708.02002, equation 4.
    """
    check_real("gamma", gamma, 0.0)
    own = _toward_own_domain(logits, is_target)
    # A power of 1 - P has no derivative at 0 for γ < 1; its logarithm has.
    weight = jnp.exp(gamma * jax.nn.log_sigmoid(-own))
    return _halved_mean(-weight * jax.nn.log_sigmoid(own), is_target)


def _toward_own_domain(
    logits: Float[Array, "batch ..."], is_target: Bool[Array, " batch"]
) -> Float[Array, "batch ..."]:
    """Turns the logits of the target domain into those of each example's own."""
    if is_target.ndim != 1 or logits.shape[:1] != is_target.shape or not logits.size:
        raise ValueError(
            "`is_target` must have one entry for each example of `logits`, at least "
            f"one, got shapes {is_target.shape} and {logits.shape}."
        )
    if is_target.dtype != bool or not jnp.issubdtype(logits.dtype, jnp.floating):
        raise ValueError(
            "`is_target` must be of dtype bool and `logits` of a real one, got "
            f"{is_target.dtype} and {logits.dtype}; write `domains == 1`."
        )
    places = is_target.reshape(-1, *(1,) * (logits.ndim - 1))
    return jnp.where(places, logits, -logits)


def _halved_mean(
    losses: Float[Array, "batch ..."], is_target: Bool[Array, " batch"]
) -> Float[Array, ""]:
    """Averages over each domain apart, and halves the sum."""
    # Counts and sums of many examples leave the range of float16.
    each = jnp.mean(widened(losses).reshape(len(is_target), -1), axis=1)

    def mean(is_in: Array) -> Array:
        count = jnp.maximum(jnp.sum(is_in), 1).astype(each.dtype)
        return jnp.sum(jnp.where(is_in, each, jnp.zeros_like(each))) / count

    return ((mean(is_target) + mean(~is_target)) / 2).astype(losses.dtype)
