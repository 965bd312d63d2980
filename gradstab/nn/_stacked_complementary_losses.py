"""Losses at several stages of a network, which complement that of its task."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from gradstab._checks import check_real
from gradstab.gradients import detach, reverse_gradient
from gradstab.nn._domain_losses import (
    cross_entropy_domain_loss,
    focal_domain_loss,
    least_squares_domain_loss,
)

Net = Callable[[Array], Array]
DomainLoss = Callable[[Array, Array], Array]


class Complement(NamedTuple):
    """What the stages of a network give beside the last one's features.

    Attributes:
        context: of each example, what the context networks make of every stage, the
            last stage first; of no length without such networks.
        losses: the domain loss of each stage, with the factor of its weight.
    """

    context: Float[Array, "batch context"]
    losses: Float[Array, " stages"]


class StackedComplementaryLosses(nnx.Module):
    r"""Domain losses at every stage, and context that is detached from it.

    .. math:: c_k = G_k(\operatorname{detach}(e_k)), \qquad
        L_k = w_k \ell_k(D_k(\operatorname{reverse}_\eta(e_k)))

    of the features e_k that the stages of any network give. The heads D_k learn to tell
    two domains apart, and through the reversed gradient the stages learn to give them
    nothing to do it by; what reads the context trains the context networks G_k and no
    stage. So the task trains the stages through the last one's features alone::

        features = stage_1(images), ...                      # e_1 .. e_K
        found = complement(features, is_target, strength)
        answers = readout(jnp.concatenate([found.context, vector], axis=-1))
        loss = task_loss(answers) + jnp.sum(found.losses)

    η changes nothing that is learned by the heads. It is best raised from 0 as training
    goes on: an adversary of untrained features is noise.

    Args:
        heads: D_k, a network for each stage that turns its features into logits of the
            target domain, of one for each example or for each position.
        contexts: G_k, a network for each stage that turns its features into a vector
            for each example; none for no context.
        losses: ℓ_k, functions of logits and of whether each example is of the target
            domain; None for those of the paper: `least_squares_domain_loss` at the
            first of several stages, `focal_domain_loss` at the last, and
            `cross_entropy_domain_loss` between, those with a weight of 0.15.
        weights: w_k; None for 1, but see above.
        detaches: whether the context is detached, which is what the paper proposes.

    Raises:
        ValueError: if there are no heads, not as many of the others, or a weight that
            is negative or not finite.

    References:
        Shen, Maheshwari, Yao & Savvides, "SCL: Towards Accurate Domain Adaptive Object
        Detection via Gradient Detach Based Stacked Complementary Losses", 2019,
        arXiv:1911.02559. Their instances' domain loss is `focal_domain_loss` of a head
        on what `readout` reads, behind `gradients.reverse_gradient`.
    """

    def __init__(
        self,
        heads: Sequence[Net],
        *,
        contexts: Sequence[Net] = (),
        losses: Sequence[DomainLoss] | None = None,
        weights: Sequence[float] | None = None,
        detaches: bool = True,
    ):
        count = len(heads)
        if not count:
            raise ValueError("`heads` must hold at least one network, got none.")
        between = max(0, count - 2)
        if losses is None:
            first = [least_squares_domain_loss] * (count > 1)
            middle = [cross_entropy_domain_loss] * between
            losses = [*first, *middle, focal_domain_loss]
            if weights is None:
                weights = [1.0] * (count > 1) + [0.15] * between + [1.0]
        if weights is None:
            weights = [1.0] * count
        for name, given in (
            ("contexts", contexts),
            ("losses", losses),
            ("weights", weights),
        ):
            if len(given) != count and (len(given) or name != "contexts"):
                raise ValueError(
                    f"`{name}` must be as many as `heads`, {count}, got {len(given)}."
                )
        for weight in weights:
            check_real("weights", weight, 0.0)
        self.heads, self.contexts = nnx.List(heads), nnx.List(contexts)
        self.losses, self.weights = tuple(losses), tuple(map(float, weights))
        self.detaches = detaches

    def __call__(
        self,
        features: Sequence[Float[Array, "batch ..."]],
        is_target: Bool[Array, " batch"],
        strength: float | Float[Array, ""] = 1.0,
    ) -> Complement:
        """Reads the features of all stages.

        Args:
            features: e_k, of each stage in their order.
            is_target: of each example, whether it belongs to the target domain.
            strength: η, what the reversed gradient is multiplied by; 0 trains the heads
                alone.

        Returns:
            Context and losses.

        Raises:
            ValueError: if there are not as many features as heads.
        """
        self._check_stages(features)
        losses = [
            weight * loss(head(reverse_gradient(one, strength)), is_target)
            for head, loss, weight, one in zip(
                self.heads, self.losses, self.weights, features, strict=True
            )
        ]
        return Complement(self.context(features), jnp.stack(losses))

    def context(
        self, features: Sequence[Float[Array, "batch ..."]]
    ) -> Float[Array, "batch context"]:
        """Reads the context alone, which is all that answers need.

        Args:
            features: e_k, of each stage in their order.

        Returns:
            The context, the last stage first.

        Raises:
            ValueError: if there are not as many features as heads.
        """
        self._check_stages(features)
        if not self.contexts:
            return jnp.zeros((len(features[0]), 0), features[0].dtype)
        read = [
            context(detach(one) if self.detaches else one)
            for context, one in zip(self.contexts, features, strict=True)
        ]
        return jnp.concatenate(read[::-1], axis=-1)

    def _check_stages(self, features: Sequence[Array]) -> None:
        if len(features) != len(self.heads):
            raise ValueError(
                "`features` must be as many as `heads`, "
                f"{len(self.heads)}, got {len(features)}."
            )
