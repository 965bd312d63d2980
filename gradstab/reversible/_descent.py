"""What stays the same through a training run: the loss, and how arguments are held."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from gradstab._checks import check_real_scalar
from gradstab.reversible._fixed_point import FixedPoint


@dataclasses.dataclass(frozen=True)
class Descent:
    """A loss that is descended, as a function of lists of arrays.

    Attributes:
        loss: scalar function of parameters, hyperparameters and the number of the step.
        params: structure of the parameters.
        theta: structure of the hyperparameters.
        names: of the arrays of parameters.
        theta_names: of the hyperparameters, as messages have them.
        dtypes: of the arrays of parameters, as the loss takes them.
        formats: how they are held in between.
        steps: how many steps there are.
    """

    loss: Callable[[Any, Any, Int[Array, ""]], Float[Array, ""]]
    params: Any
    theta: Any
    names: tuple[str, ...]
    theta_names: tuple[str, ...]
    dtypes: tuple[jnp.dtype, ...]
    formats: tuple[FixedPoint, ...]
    steps: int

    def to_loss(self, positions: Sequence[Int[Array, "..."]]) -> list[Array]:
        """Parameters as the loss takes them."""
        held = zip(self.formats, positions, self.dtypes, strict=True)
        return [fixed.to_float(c).astype(dtype) for fixed, c, dtype in held]

    def gradient(
        self, x: list[Array], theta: list[Array], t: Int[Array, ""]
    ) -> list[Array]:
        """The gradient that moves the parameters.

        It must come out bit for bit as it did before when time runs backward. So it is
        compiled by itself, as the branch of a condition that always holds, of which the
        compiler knows nothing. Otherwise what stays the same in all steps would leave
        the loop, to be rounded as what surrounds it there demands, which is not the
        same in both directions under `jax.jit`.

        Args:
            x: the parameters.
            theta: the hyperparameters.
            t: the number of the step.

        Returns:
            The gradient.
        """
        return jax.lax.cond(
            t >= 0, jax.grad(self._value), lambda x, theta, t: x, x, theta, t
        )

    def products(
        self,
        x: list[Array],
        theta: list[Array],
        t: Int[Array, ""],
        direction: list[Array],
        moves: Sequence[bool],
    ) -> tuple[list[Array], list[Array]]:
        r"""The Hessian, and the mixed derivatives, times a direction.

        .. math:: \frac{\partial}{\partial \epsilon}
            \nabla_{x, \theta} L(x + \epsilon u, \theta) = \left(
            \nabla_x^2 L\,u, \left(\frac{\partial \nabla_x L}{\partial \theta}\right)^T
            u \right)

        Forward mode over reverse mode gives both at the cost of two gradients.

        Args:
            x: the parameters.
            theta: the hyperparameters.
            t: the number of the step.
            direction: u.
            moves: with respect to which of `theta` to differentiate.

        Returns:
            Both products.
        """
        free = [leaf for leaf, is_free in zip(theta, moves, strict=True) if is_free]

        def gradients(x: list[Array]) -> tuple[list[Array], list[Array]]:
            def value(x: list[Array], free: list[Array]) -> Array:
                rest = iter(free)
                chosen = zip(theta, moves, strict=True)
                return self._value(
                    x, [next(rest) if m else leaf for leaf, m in chosen], t
                )

            return jax.grad(value, argnums=(0, 1))(x, free)

        return jax.jvp(gradients, (x,), (direction,))[1]

    def _value(self, x: list[Array], theta: list[Array], t: Int[Array, ""]) -> Array:
        params = jax.tree.unflatten(self.params, x)
        value = self.loss(params, jax.tree.unflatten(self.theta, theta), t)
        check_real_scalar("loss", value)
        return value
