"""Cells of gates, each with an input weight and a recurrent matrix."""

from collections.abc import Collection
from typing import Any, ClassVar

import jax.numpy as jnp
from flax import nnx
from flax.typing import Dtype, Initializer
from jaxtyping import Array, Inexact

from gradstab._checks import check_param_dtype
from gradstab.nn._matmul_cell import MatmulCell
from gradstab.nn._parametrization import Parametrization
from gradstab.nn._unconstrained import Unconstrained


class GatedCell(MatmulCell):
    """A `MatmulCell` whose gates each hold W x + b and R h.

    For a gate g, the attribute g is the parametrization of R and `dense_g` the layer of
    W and, if it has one, b. Kernels, products and projected inputs come in the order of
    `gates`.

    Args:
        in_features: length of x.
        hidden_features: length of h.
        recurrent: gate -> parametrization of its R; None for `Unconstrained`, which
            starts orthogonal.
        kernel_init: initializer of every W, transposed.
        bias_init: initializer of every b.
        biased: the gates that have a b.
        dtype: dtype of the products with weights; `param_dtype` if None.
        param_dtype: dtype of the parameters, and of the state unless below float32.
        rngs: source of the `params` keys.
    """

    gates: ClassVar[tuple[str, ...]]

    def __init__(
        self,
        in_features: int,
        hidden_features: int,
        recurrent: dict[str, Parametrization | None],
        *,
        kernel_init: Initializer,
        bias_init: Initializer,
        biased: Collection[str],
        dtype: Dtype | None,
        param_dtype: Dtype,
        rngs: nnx.Rngs,
    ):
        check_param_dtype(param_dtype, real=True)
        super().__init__(
            in_features, hidden_features, dtype=dtype, param_dtype=param_dtype
        )
        shape = (hidden_features, hidden_features)
        for gate in self.gates:
            matrix = recurrent[gate]
            if matrix is None:
                matrix = Unconstrained(shape, param_dtype=param_dtype, rngs=rngs)
            setattr(self, gate, self.check_recurrent(gate, matrix))
            dense = nnx.Linear(
                in_features,
                hidden_features,
                use_bias=gate in biased,
                kernel_init=kernel_init,
                bias_init=bias_init,
                dtype=self.dtype,
                param_dtype=param_dtype,
                rngs=rngs,
            )
            setattr(self, f"dense_{gate}", dense)

    def project(self, inputs: Inexact[Array, " time *batch in"]) -> tuple[Array, ...]:
        """Computes W x + b for each gate."""
        return tuple(getattr(self, f"dense_{gate}")(inputs) for gate in self.gates)

    def recurrent_kernels(self) -> tuple[Inexact[Array, "hidden hidden"], ...]:
        """Returns R transposed for each gate."""
        matrices = (getattr(self, gate)() for gate in self.gates)
        return tuple(matrix.mT.astype(self.dtype) for matrix in matrices)

    def side_by_side(self) -> dict[str, Any]:
        """Returns the weights as Flax's fused cells hold them: gates side by side."""
        dense = [getattr(self, f"dense_{gate}") for gate in self.gates]
        matrices = [getattr(self, gate)().mT for gate in self.gates]
        return {
            "input": jnp.concatenate([layer.kernel[...] for layer in dense], 1),
            "recurrent": jnp.concatenate(matrices, 1),
            "bias": jnp.concatenate([layer.bias[...] for layer in dense]),
        }
