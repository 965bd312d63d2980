"""An encoder without weights: a decoder, and a flow to the code that fits."""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from gradstab._checks import check_integer
from gradstab._precision import widened
from gradstab.dynamics._descent import Code, Descent, frozen
from gradstab.dynamics._minimize_distance import MinimizeDistance
from gradstab.nn._materialize import materialize

Adjoint = Literal["truncated", "full"]
Codes = Float[Array, "batch code"]


class Encoding(NamedTuple):
    """The codes of some samples, and how they were come by.

    Attributes:
        code: z* of each sample.
        loss: ℓ(z*).
        gradient_norm: ‖∇ℓ(z*)‖, a constant of differentiation.
        accepted: steps taken.
        rejected: steps tried and not taken.
        is_converged: whether the descent ended by its own rule.
    """

    code: Codes
    loss: Float[Array, " batch"]
    gradient_norm: Float[Array, " batch"]
    accepted: Int[Array, " batch"]
    rejected: Int[Array, " batch"]
    is_converged: Bool[Array, " batch"]


class GradientFlowEncoder(nnx.Module):
    r"""Encodes a sample by the flow down the loss of what a decoder makes of its code.

    .. math:: \frac{dz}{dt} = -\alpha \nabla_z \ell(D_\theta(z), y), \qquad z(0) = z_0,
        \qquad z^* = z(\tau)

    There is no encoder to train: θ are the decoder's parameters, and the sum of
    ℓ(D(z*), y) over samples is what they are trained on, `loss`. With
    λ(τ) = ∇_z ℓ(z*) and dλ/dt = α ∇²_zz ℓ λ, its gradient is

    .. math:: \partial_\theta \ell(z^*)
        - \alpha \int_0^\tau (\partial_\theta \nabla_z \ell)^T \lambda \, dt

    The `full` adjoint is that, of the steps which were taken. The `truncated` one
    leaves out the integral: z* is a constant. At a minimum λ(τ) = 0 and both are equal
    (the envelope theorem); before it they differ by about as much as λ(τ) is large.

    Every sample is by itself, with its own steps: its code does not depend on the
    others, nor on whether theirs are finite. Below single precision codes are computed
    in float32 and cast once. The parametrizations of a decoder are built once a call.

    Args:
        decoder: D, a module or a pure function from one code of shape (code_features,)
            to what the loss compares. It must not change its own state. Flax finds no
            parameters in a function: those that it closes over are not trained, unless
            the encoder is made where they are arguments.
        loss_fn: ℓ, a function of D(z) and of one sample, in optax's order, to a scalar.
        code_features: length of z.
        descent: how the flow is followed: `MinimizeDistance`, `GradientFlow` or
            `NesterovFlow`.
        adjoint: "truncated" or "full".

    Raises:
        ValueError: if `decoder` or `loss_fn` cannot be called or is a method of a
            module, `code_features` is no integer >= 1, `descent` is no `Descent` or
            `adjoint` neither of the two.

    References:
        Flouris, Volokitin, Bredell & Konukoglu, "Gradient flow encoding with distance
        optimization adaptive step size", 2021, arXiv:2105.05031, and "Explicit and
        data-Efficient Encoding via Gradient Flow", 2024, arXiv:2412.00864. They write
        ℓ(y, D(z)).
    """

    def __init__(
        self,
        decoder: Callable[[Code], Any],
        loss_fn: Callable[[Any, Any], Array],
        *,
        code_features: int,
        descent: Descent = MinimizeDistance(),
        adjoint: Adjoint = "truncated",
    ):
        check_integer("code_features", code_features, 1)
        for name, function in (("decoder", decoder), ("loss_fn", loss_fn)):
            if not callable(function):
                raise ValueError(f"`{name}` must be callable, got {function!r}.")
            if isinstance(getattr(function, "__self__", None), nnx.Module):
                raise ValueError(
                    f"`{name}` must be a module or a pure function, got a method of a "
                    "module, whose parameters Flax does not find in it; give a module "
                    "whose `__call__` it is."
                )
        if not isinstance(descent, Descent):
            raise ValueError(
                "`descent` must be a Descent, such as `MinimizeDistance()`, got "
                f"{descent!r}."
            )
        if adjoint not in get_args(Adjoint):
            raise ValueError(
                f"`adjoint` must be one of {', '.join(get_args(Adjoint))}, "
                f"got {adjoint!r}."
            )
        self.decoder = decoder
        self.loss_fn = loss_fn
        self.code_features = code_features
        self.descent = descent
        self.adjoint: Adjoint = adjoint

    def __call__(self, targets: Any, start: Codes | None = None) -> Codes:
        """Encodes samples.

        Args:
            targets: y, an array of shape (batch, ...) or a tree of them.
            start: z₀ of each; zeros if None.

        Returns:
            z*, of the real dtype of the first array of `targets` that has a
            floating-point one, else float32; NaN where the loss or its gradient at z*
            is not finite. With the truncated adjoint it has no gradient.

        Raises:
            ValueError: if the arrays have no common first axis, `start` another shape,
                or `loss_fn` gives no scalar.
        """
        return self.encode(targets, start).code

    def loss(self, targets: Any, start: Codes | None = None) -> Float[Array, " batch"]:
        """Computes what is left of the loss at the code of each sample.

        Args:
            targets: y.
            start: z₀ of each; zeros if None.

        Returns:
            ℓ(D(z*), y), whose gradient reaches the decoder's parameters, as `adjoint`
            says, and `targets` likewise.

        Raises:
            ValueError: see `__call__`.
        """
        return self.encode(targets, start).loss

    def encode(self, targets: Any, start: Codes | None = None) -> Encoding:
        """Encodes samples, and tells how.

        Args:
            targets: y.
            start: z₀ of each; zeros if None.

        Returns:
            The codes, the losses and what the descent did.

        Raises:
            ValueError: see `__call__`.
        """
        count, dtype = _batch_of(targets)
        if start is None:
            start = jnp.zeros((count, self.code_features), dtype)
        start = jnp.asarray(start)
        if start.shape != (count, self.code_features) or jnp.iscomplexobj(start):
            raise ValueError(
                f"`start` must be real and of shape {(count, self.code_features)}, got "
                f"{start.dtype} and {start.shape}."
            )
        start = start.astype(dtype)
        decoder = self.decoder
        if isinstance(decoder, nnx.Module):
            decoder = materialize(decoder)

        def encode_one(target: Any, start: Code) -> Encoding:
            def objective(code: Code) -> Float[Array, ""]:
                value = jnp.asarray(self.loss_fn(decoder(code), target))
                is_real = jnp.issubdtype(value.dtype, jnp.floating)
                if value.shape != () or not is_real:
                    raise ValueError(
                        "`loss_fn` must give a real scalar for one sample, got "
                        f"{value.dtype} of shape {value.shape}; sum it, or take its "
                        "mean."
                    )
                return value.astype(code.dtype)

            return self._descend(objective, start)

        wide = jax.tree.map(_at_least_single, (targets, start))
        found = jax.vmap(encode_one)(*wide)
        return found._replace(
            code=found.code.astype(dtype),
            loss=found.loss.astype(dtype),
            gradient_norm=found.gradient_norm.astype(dtype),
        )

    def _descend(self, objective: Any, start: Code) -> Encoding:
        constant = frozen(objective, start)
        if self.adjoint == "full":
            found = self.descent.differentiable(objective, start)
            code = found.code
        else:
            found = self.descent(constant, jax.lax.stop_gradient(start))
            code = jax.lax.stop_gradient(found.code)
        value, gradient = jax.value_and_grad(constant)(jax.lax.stop_gradient(code))
        norm = jnp.linalg.norm(gradient)
        # A descent stays where it cannot step: a loss of NaN would leave z₀ behind, as
        # if it were a code. The factor keeps NaN in the gradient, too.
        is_finite = jnp.isfinite(value) & jnp.isfinite(norm)
        code *= jnp.where(is_finite, 1, jnp.nan).astype(code.dtype)
        return Encoding(
            code,
            objective(code),
            norm,
            found.accepted,
            found.rejected,
            found.is_converged & is_finite,
        )


def _batch_of(targets: Any) -> tuple[int, Any]:
    """Finds how many samples there are, and the dtype of their codes."""
    leaves = [jnp.asarray(leaf) for leaf in jax.tree.leaves(targets)]
    counts = {leaf.shape[:1] for leaf in leaves}
    if len(counts) != 1 or () in counts:
        raise ValueError(
            "`targets` must be one array or more of shape (batch, ...), got shapes "
            f"{[leaf.shape for leaf in leaves]}."
        )
    floating = [
        jnp.finfo(x.dtype).dtype for x in leaves if jnp.issubdtype(x.dtype, jnp.inexact)
    ]
    ((count,),) = counts
    return count, floating[0] if floating else jnp.dtype(jnp.float32)


def _at_least_single(x: Any) -> Array:
    x = jnp.asarray(x)
    return widened(x) if jnp.issubdtype(x.dtype, jnp.floating) else x
