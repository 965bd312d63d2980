"""The eigenvalue normalized recurrent network: a long and a short memory."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from flax.typing import Dtype, Initializer
from jaxtyping import Array, Inexact

from gradstab._checks import check_integer, check_param_dtype
from gradstab.nn._cayley import ScaledCayley
from gradstab.nn._eigenvalue_normalized import EigenvalueNormalized
from gradstab.nn._elman_cell import ElmanCell
from gradstab.nn._modrelu import modrelu
from gradstab.nn._parametrization import Parametrization


class ENRNNCell(ElmanCell):
    r"""The Elman recurrence with a state that lasts and one that fades.

    .. math::
        h' = \phi(W x + R h + b), \qquad
        R = \begin{pmatrix} R_L & C \\ 0 & R_S \end{pmatrix}

    The first entries of h are the long memory, with R_L orthogonal by `ScaledCayley`:
    its eigenvalues lie on the unit circle. The last are the short one, with the
    eigenvalues of R_S in the unit disc by `EigenvalueNormalized`: what enters it fades.
    The short memory drives the long one through C. If φ is `modrelu`, b is its bias.

    The eigenvalues of R are those of R_L and R_S; its norm is not bounded, nor are
    gradients, which may grow for a time before they fade.

    Args:
        in_features: length of x.
        hidden_features: length of h.
        short_features: how many of them are the short memory; 0 leaves scoRNN, and
            `hidden_features` only a short memory.
        long: parametrization of R_L; `ScaledCayley` if None.
        short: parametrization of R_S; `EigenvalueNormalized` if None.
        coupled: whether there is C. Without, the two memories are two cells.
        activation_fn: the function φ of one array, or `modrelu`.
        kernel_init: initializer of W, transposed; uniform in ±0.01 if None.
        coupling_init: initializer of C, transposed.
        bias_init: initializer of b.
        dtype: dtype of the products with weights; `param_dtype` if None.
        param_dtype: dtype of the parameters, and of the state unless below float32.
        rngs: source of the `params` keys.

    Raises:
        ValueError: if `short_features` is no integer in [0, hidden_features], or a
            matrix has not the shape of its memory.

    References:
        Helfrich & Ye, "Eigenvalue Normalized Recurrent Neural Networks for Short Term
        Memory", AAAI 2020, arXiv:1911.07964.
    """

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        *,
        short_features: int,
        long: Parametrization | None = None,
        short: Parametrization | None = None,
        coupled: bool = True,
        activation_fn: Callable[..., Array] = modrelu,
        kernel_init: Initializer | None = None,
        coupling_init: Initializer = nnx.initializers.glorot_uniform(),
        bias_init: Initializer = nnx.initializers.zeros_init(),
        dtype: Dtype | None = None,
        param_dtype: Dtype = jnp.float32,
        rngs: nnx.Rngs,
    ):
        check_param_dtype(param_dtype, real=True)
        check_integer("hidden_features", hidden_features, 1)
        check_integer("short_features", short_features, 0, hidden_features)
        super().__init__(
            in_features,
            hidden_features,
            activation_fn=activation_fn,
            kernel_init=kernel_init or _uniform_in_a_hundredth,
            bias_init=bias_init,
            dtype=dtype,
            param_dtype=param_dtype,
            rngs=rngs,
        )
        self.short_features = short_features
        sizes = hidden_features - short_features, short_features
        kinds = {"param_dtype": param_dtype, "rngs": rngs}
        if long is None:
            long = ScaledCayley((sizes[0], sizes[0]), **kinds)
        if short is None:
            short = EigenvalueNormalized((sizes[1], sizes[1]), **kinds)
        self.long = self.check_recurrent("long", long, sizes[0])
        self.short = self.check_recurrent("short", short, sizes[1])
        self.coupling = nnx.data(None)
        if coupled and all(sizes):
            drawn = coupling_init(rngs.params(), sizes[::-1], param_dtype)
            self.coupling = nnx.Param(drawn)

    def recurrent_kernels(self) -> tuple[Inexact[Array, "hidden hidden"], ...]:
        """Returns R transposed."""
        # One square product: the zeros cost less than cutting the state in two.
        long, short = (part().mT.astype(self.dtype) for part in (self.long, self.short))
        if self.coupling is None:
            coupling = jnp.zeros((short.shape[0], long.shape[0]), long.dtype)
        else:
            coupling = self.coupling[...].astype(self.dtype)
        nothing = jnp.zeros((long.shape[0], short.shape[0]), long.dtype)
        return (jnp.block([[long, nothing], [coupling, short]]),)


def _uniform_in_a_hundredth(key, shape, dtype=jnp.float32, out_sharding=None) -> Array:
    return jax.random.uniform(key, shape, dtype, -0.01, 0.01)
