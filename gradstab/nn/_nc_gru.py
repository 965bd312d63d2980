"""The gated recurrent unit with an orthogonal candidate: NC-GRU."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from flax.typing import Dtype, Initializer
from jaxtyping import Array

from gradstab._checks import check_integer
from gradstab.nn._gru import GRUCell
from gradstab.nn._modrelu import modrelu
from gradstab.nn._neumann_cayley import NeumannCayley
from gradstab.nn._parametrization import Parametrization


class NCGRUCell(GRUCell):
    r"""The gated recurrent unit with an orthogonal matrix in its candidate.

    .. math::
        r &= \sigma(W_r x + b_r + R_r h) \\
        z &= \sigma(W_z x + b_z + R_z h) \\
        n &= \operatorname{modrelu}(W_n x + R_n (r * h), b_n) \\
        h' &= (1 - z) * n + z * h

    with R_n orthogonal by `NeumannCayley`; give another such matrix as `reset` for
    NC-GRU(U_c, U_r). The Jacobian of a step is at most

    .. math::
        \max z + \max(|h - n| z (1 - z)) \|R_z\|
        + \max(1 - z) \|R_n\| (\max r + \max(|h| r (1 - r)) \|R_r\|)

    in norm: R_n adds no growing factor. That bounds no product of steps, since R_z and
    the state are free. `refresh` the model after each optimizer step: a stale inverse
    costs accuracy up to the bounds of `NeumannCayley`, and beyond them time.

    Args:
        in_features: length of x.
        hidden_features: length of h.
        reset: parametrization of R_r, shape (hidden_features, hidden_features);
            `Unconstrained`, which starts orthogonal, if None.
        update: the same for R_z.
        candidate: the same for R_n; `NeumannCayley` if None.
        reset_after: whether r multiplies the product with R_n, not h before it.
        gate_fn: the function σ.
        kernel_init: initializer of W_r, W_z and W_n, transposed.
        bias_init: initializer of b_r and b_z.
        modulus_bias_init: initializer of b_n; uniform in ±0.1 if None.
        dtype: dtype of the products with weights; `param_dtype` if None.
        param_dtype: dtype of the parameters, and of the state unless below float32.
        rngs: source of the `params` keys.

    References:
        Mucllari, Zadorozhnyy, Pospisil, Nguyen & Ye, "Orthogonal Gated Recurrent Unit
        with Neumann-Cayley Transformation", Neural Computation, 2024,
        arXiv:2208.06496. Their code for synthetic tasks resets before the product, that
        for the Penn Treebank after it; with two orthogonal matrices it moves both by
        the gradient in R_r.
    """

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        *,
        reset: Parametrization | None = None,
        update: Parametrization | None = None,
        candidate: Parametrization | None = None,
        reset_after: bool = False,
        gate_fn: Callable[[Array], Array] = jax.nn.sigmoid,
        kernel_init: Initializer = nnx.initializers.he_uniform(),
        bias_init: Initializer = nnx.initializers.zeros_init(),
        modulus_bias_init: Initializer | None = None,
        dtype: Dtype | None = None,
        param_dtype: Dtype = jnp.float32,
        rngs: nnx.Rngs,
    ):
        check_integer("hidden_features", hidden_features, 1)
        if candidate is None:
            shape = (hidden_features, hidden_features)
            candidate = NeumannCayley(shape, param_dtype=param_dtype, rngs=rngs)
        super().__init__(
            in_features,
            hidden_features,
            reset=reset,
            update=update,
            candidate=candidate,
            reset_after=reset_after,
            gate_fn=gate_fn,
            activation_fn=modrelu,
            kernel_init=kernel_init,
            bias_init=bias_init,
            modulus_bias_init=modulus_bias_init or _uniform_in_a_tenth,
            dtype=dtype,
            param_dtype=param_dtype,
            rngs=rngs,
        )


def _uniform_in_a_tenth(key, shape, dtype=jnp.float32, out_sharding=None) -> Array:
    return jax.random.uniform(key, shape, dtype, -0.1, 0.1)
