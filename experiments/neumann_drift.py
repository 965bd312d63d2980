"""How far a Neumann-Cayley matrix drifts: `python -m experiments neumann_drift`.

NC-GRU (Mucllari et al., "Orthogonal Gated Recurrent Unit with Neumann-Cayley
Transformation", Neural Computation 2024, arXiv:2208.06496) keeps P = (I + A)⁻¹ up to
date by a truncated series instead of an inverse. There are three rules for what the
series is in; see `neumann_rules`. Shown is the largest ‖QᵀQ - I‖_F over a descent of
‖Q - T‖² for a random orthogonal T, with everything but the rule the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

import gradstab as gs
from experiments.experiment import Check
from experiments.limits import Limited
from experiments.neumann_rules import SERIES
from experiments.optimizers import RULES
from experiments.table import print_table


@dataclass(frozen=True)
class NeumannDriftSettings(Limited):
    """Loss of orthogonality under three rules for the Neumann series.

    Attributes:
        hidden: rows of the matrix.
        order: of the series.
        rate: learning rate.
        steps: of the descent.
        exact_every: steps from one exact inverse to the next, where there are any.
        seeds: one descent each.
    """

    hidden: int = 32
    order: int = 2
    rate: float = 1e-3
    steps: int = 1500
    exact_every: int = 50
    seeds: tuple[int, ...] = (0, 1, 2)

    def problems(self) -> list[str]:
        """Lists what cannot be run, a line each; empty if all is well."""
        found = self.below(1, "hidden", "order", "steps", "exact_every")
        return found + self.not_positive("rate") + self.not_seeds("seeds")


def largest_defect(
    rule: str, optimizer: str, exact: bool, settings: NeumannDriftSettings
) -> np.ndarray:
    """Descends, and measures the largest ‖QᵀQ - I‖_F on the way.

    Args:
        rule: of `SERIES`.
        optimizer: what moves A.
        exact: whether the inverse is computed anew from time to time.
        settings: see the class.

    Returns:
        A number for each seed.
    """
    n, identity = settings.hidden, jnp.eye(settings.hidden)
    signs = jnp.where(jnp.arange(n) < n - n // 3, 1.0, -1.0)[None, :]
    move: Any = RULES[optimizer](settings.rate)

    def descend(key: Array) -> Array:
        start = gs.linalg.skew(jax.random.normal(key, (n, n)) / n**0.5)
        target = gs.linalg.polar(jax.random.normal(jax.random.fold_in(key, 1), (n, n)))

        def step(carry, number):
            skew, inverse, state = carry
            q = inverse @ (identity - skew) * signs
            # V = Pᵀ G (D + Qᵀ), and Vᵀ - V is the gradient in A.
            pulled = inverse.T @ (2 * (q - target)) @ (jnp.diag(signs[0]) + q.T)
            gradient = pulled.T - pulled
            change, state = move.update(gradient, state)
            moved = skew + change
            sgd = -settings.rate * gradient
            inverse = SERIES[rule](moved, change, sgd, inverse, settings.order)
            is_due = exact & ((number + 1) % settings.exact_every == 0)
            inverse = jnp.where(is_due, jnp.linalg.inv(identity + moved), inverse)
            q = inverse @ (identity - moved)
            return (moved, inverse, state), jnp.linalg.norm(q.T @ q - identity)

        carry = start, jnp.linalg.inv(identity + start), move.init(start)
        _, defects = jax.lax.scan(step, carry, jnp.arange(settings.steps))
        return jnp.max(defects)

    keys = jax.vmap(jax.random.key)(jnp.asarray(settings.seeds, jnp.uint32))
    return np.asarray(jax.jit(jax.vmap(descend))(keys))


def run_neumann_drift(settings: NeumannDriftSettings) -> Mapping[tuple, float]:
    """Compares the rules; prints the table and the claims.

    Args:
        settings: they have no problems.

    Returns:
        The largest defect for each (rule, optimizer, exact).
    """
    columns = [("sgd", True), ("adam", True), ("adam", False)]
    found = {
        (rule, *column): float(np.max(largest_defect(rule, *column, settings)))
        for rule in SERIES
        for column in columns
    }
    size = f"n = {settings.hidden}, order {settings.order}, seeds {settings.seeds}"
    print(f"largest ‖QᵀQ - I‖_F in {settings.steps:,} steps, {size}")
    exact = f"exact every {settings.exact_every}"
    print_table(
        ("series in", f"SGD, {exact}", f"Adam, {exact}", "Adam, never exact"),
        [
            (rule, *(f"{found[rule, *column]:.1e}" for column in columns))
            for rule in SERIES
        ],
    )
    print(*neumann_checks(found), sep="\n")
    return found


def neumann_checks(found: Mapping[tuple, float]) -> list[Check]:
    """Tests that the authors' rule drifts under Adam, and the residual never."""
    first, *_, last = SERIES
    theirs, ours = found[first, "adam", True], found[last, "adam", False]
    return [
        Check(
            "the authors' rule leaves orthogonality by more than 0.1 under Adam",
            not theirs <= 0.1,
            f"{theirs:.1e}",
        ),
        Check(
            "the residual needs no exact inverse: below 1e-4 under Adam",
            ours < 1e-4,
            f"{ours:.1e}",
        ),
    ]
