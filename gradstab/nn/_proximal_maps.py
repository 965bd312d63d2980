"""Proximal maps: activations that solve a small minimization exactly."""

import dataclasses
import math
from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from gradstab._checks import check_real


@dataclasses.dataclass(frozen=True)
class ProximalMap:
    r"""An activation together with the penalty that it is the proximal map of.

    .. math:: h(z) \in \arg\min_y \tfrac12 \| z - y \|^2 + \varphi(y)

    The maps here act on each number by itself. A subclass supplies `__call__`, which is
    h, `penalty`, which is φ, and says whether φ is convex; only then is h a Lipschitz
    map, with the constant 1. Objects are constants: equal ones do not compile a program
    again. So a subclass is a `dataclass(frozen=True)`, and whatever its values depend
    on is a field of it.

    Every map of the library has the slope 0 wherever its value is 0, at its kinks too,
    and the slope 1 elsewhere. NaN is kept.
    """

    is_convex: ClassVar[bool] = False

    def __call__(self, z: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """Applies h."""
        raise NotImplementedError

    def penalty(self, y: Float[Array, "*batch code"]) -> Float[Array, "*batch"]:
        """Computes φ of each code; infinite outside the set where φ is finite."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class ReLU(ProximalMap):
    r"""The rectifier, the projection onto the codes without a negative number.

    .. math:: h(z) = \max(z, 0), \qquad
        \varphi(y) = 0 \text{ if } y \ge 0, \text{ else } \infty

    References:
        Lyu & Tsang, "Neural Optimization Kernel: Towards Robust Deep Learning", 2021,
        arXiv:2106.06097. That the rectifier is a proximal map is older: Combettes &
        Pesquet, "Deep Neural Network Structures Solving Variational Inequalities",
        Set-Valued and Variational Analysis 28, 2020, arXiv:1808.07526.
    """

    is_convex: ClassVar[bool] = True

    def __call__(self, z: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """Cuts negative numbers off."""
        return _zero_where(z <= 0, z)

    def penalty(self, y: Float[Array, "*batch code"]) -> Float[Array, "*batch"]:
        """Tells 0 or infinity."""
        return _indicator(y)


@dataclasses.dataclass(frozen=True)
class _Weighted(ProximalMap):
    """A map whose penalty has a factor."""

    strength: float = 0.1

    def __post_init__(self) -> None:
        check_real("strength", self.strength, 0.0)


@dataclasses.dataclass(frozen=True)
class ShiftedReLU(_Weighted):
    r"""The rectifier with a threshold: codes without a negative number, and few others.

    .. math:: h(z) = \max(z - \lambda, 0), \qquad
        \varphi(y) = \lambda \sum_i y_i \text{ if } y \ge 0, \text{ else } \infty

    Args:
        strength: the number λ, at least 0; 0 gives `ReLU`.

    References:
        Lyu & Tsang, 2021, arXiv:2106.06097; see `ReLU`.
    """

    is_convex: ClassVar[bool] = True

    def __call__(self, z: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """Cuts off what is below λ."""
        return _zero_where(z <= self.strength, z - self.strength)

    def penalty(self, y: Float[Array, "*batch code"]) -> Float[Array, "*batch"]:
        """Sums a code, or tells infinity."""
        return self.strength * jnp.sum(y, axis=-1) + _indicator(y)


@dataclasses.dataclass(frozen=True)
class SoftThreshold(_Weighted):
    r"""Shrinkage toward zero, the proximal map of the l1 norm.

    .. math:: h(z) = \operatorname{sign}(z) \max(|z| - \lambda, 0), \qquad
        \varphi(y) = \lambda \| y \|_1

    Args:
        strength: the number λ, at least 0; 0 gives the identity, but for the slope at
            0, which is 0.

    References:
        Daubechies, Defrise & De Mol, "An Iterative Thresholding Algorithm for Linear
        Inverse Problems with a Sparsity Constraint", Communications on Pure and Applied
        Mathematics 57, 2004, arXiv:math/0307152.
    """

    is_convex: ClassVar[bool] = True

    def __call__(self, z: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """Moves every number by λ toward 0, and no further."""
        return _zero_where(jnp.abs(z) <= self.strength, z - self.strength * jnp.sign(z))

    def penalty(self, y: Float[Array, "*batch code"]) -> Float[Array, "*batch"]:
        """Sums the moduli."""
        return self.strength * jnp.sum(jnp.abs(y), axis=-1)


@dataclasses.dataclass(frozen=True)
class HardThreshold(_Weighted):
    r"""Keeping large numbers as they are, the proximal map of the number of nonzeros.

    .. math:: h(z) = z \text{ if } |z| > \sqrt{2 \lambda}, \text{ else } 0, \qquad
        \varphi(y) = \lambda \| y \|_0

    φ is not convex and h jumps by √(2λ): its slope says nothing of the jump, and it has
    no Lipschitz constant. At the threshold both values are minimizers; here it is 0.

    Args:
        strength: the number λ, at least 0.

    References:
        Blumensath & Davies, "Iterative Thresholding for Sparse Approximations", Journal
        of Fourier Analysis and Applications 14, 2008.
    """

    def __call__(self, z: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
        """Keeps what is above √(2λ)."""
        return _zero_where(jnp.abs(z) <= math.sqrt(2 * self.strength), z)

    def penalty(self, y: Float[Array, "*batch code"]) -> Float[Array, "*batch"]:
        """Counts the numbers that are not 0."""
        return self.strength * jnp.sum((y != 0).astype(y.dtype), axis=-1)


def _zero_where(cut: Array, value: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    # Asking where to cut, not where to keep, leaves NaN in: it compares as False.
    return jnp.where(cut, jnp.zeros_like(value), value)


def _indicator(y: Float[Array, "*batch code"]) -> Float[Array, "*batch"]:
    inside = jnp.all(y >= 0, axis=-1)
    return jnp.where(inside, 0.0, jnp.inf).astype(y.dtype)
