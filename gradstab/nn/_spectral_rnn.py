"""The spectral recurrent network."""

import jax
import jax.numpy as jnp
from flax import nnx
from flax.typing import Dtype, Initializer

from gradstab.nn._orthogonal_cell import OrthogonalCell
from gradstab.nn._svd import SVD


class SpectralRNNCell(OrthogonalCell):
    r"""The Elman recurrence with singular values held near a center.

    .. math:: h' = \phi(W x + R h + b), \qquad s^* - r <= s_i(R) <= s^* + r

    with R built by `SVD` and φ the leaky ReLU of slope 0.01. No state grows faster than
    (s* + r)^t, and no gradient; a radius of c / T bounds the growth over T steps by e^c
    for s* = 1. R starts orthogonal.

    Args:
        in_features: length of x.
        hidden_features: length of h.
        reflectors: how many Householder reflectors stand on each side of the spectrum;
            `hidden_features` if None. Few make few parameters.
        radius: the radius r.
        center: the center s*.
        kernel_init: initializer of W, transposed.
        bias_init: initializer of b.
        dtype: dtype of the products with weights; `param_dtype` if None.
        param_dtype: dtype of the parameters, and of the state unless below float32.
        rngs: source of the `params` keys.

    References:
        Zhang, Lei & Dhillon, "Stabilizing Gradients for Deep Neural Networks via
        Efficient SVD Parameterization", ICML 2018, arXiv:1803.09327.
    """

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        *,
        reflectors: int | None = None,
        radius: float = 0.01,
        center: float = 1.0,
        kernel_init: Initializer = nnx.initializers.lecun_normal(),
        bias_init: Initializer = nnx.initializers.zeros_init(),
        dtype: Dtype | None = None,
        param_dtype: Dtype = jnp.float32,
        rngs: nnx.Rngs,
    ):
        super().__init__(
            in_features,
            hidden_features,
            recurrent=SVD(
                (hidden_features, hidden_features),
                center=center,
                radius=radius,
                reflectors=reflectors,
                param_dtype=param_dtype,
                rngs=rngs,
            ),
            activation_fn=jax.nn.leaky_relu,
            kernel_init=kernel_init,
            bias_init=bias_init,
            dtype=dtype,
            param_dtype=param_dtype,
            rngs=rngs,
        )
