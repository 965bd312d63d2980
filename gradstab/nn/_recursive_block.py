"""Convolutions in a row that share a basis of filters."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from flax.typing import Dtype, Initializer
from jax import lax
from jaxtyping import Array, Float

from gradstab._checks import check_integer, check_kernel_size
from gradstab.nn._parametrization import Parametrization
from gradstab.nn._shared_basis_conv import NormFactory, SharedBasisConv, he_normal
from gradstab.nn._unconstrained import Unconstrained

BasisFactory = Callable[[tuple[int, int]], Parametrization]


class RecursiveBlock(nnx.Module):
    r"""L recursions through convolutions that share a basis of filters.

    .. math:: h_l = \operatorname{relu}(h_{l-1}
        + c_{l2}(\operatorname{relu}(c_{l1}(h_{l-1})))), \qquad
        h_l = \operatorname{relu}(c_{l1}(h_{l-1}))

    on the left if `residual`, on the right otherwise, with `SharedBasisConv`s c. The
    gradient of the basis is the sum of those of its uses, each of which passes through
    the later ones and so through the same basis: its scale is raised to the power L
    where no normalization undoes it. An orthonormal one has the scale at which a random
    one neither grows nor vanishes; the command `recursive_gratings` of the experiments
    measures it. `basis` may be a parametrization, which keeps it orthonormal; a plain
    one starts so, and `optim.orthogonality_penalty` of it keeps it near.

    All recursions are compiled once, in a loop, but for a CPU, where XLA's convolutions
    are many times slower in loops and they are written out: where that is JAX's
    default backend.

    Args:
        features: channels of all h.
        recursions: their number L.
        kernel_size: positions of a filter along each spatial axis.
        shared_features: filters s of the basis.
        private_features: filters of each convolution's own; there may be none.
        residual: see above.
        bases: 1, or 2 for a basis of the first convolutions and one of the second ones.
        basis: makes a parametrization of the shape (positions · features, s) that a
            basis is as a matrix; None for a plain one with orthonormal columns (rows,
            if there are more of the former) to start with.
        norm: see `SharedBasisConv`.
        kernel_init: initializer of what is not shared.
        param_dtype: dtype of all parameters.
        rngs: source of the `params` keys.

    Raises:
        ValueError: if a number is no integer >= 1 (of private filters, >= 0), or
            `bases` is more than 1 without, or than 2 with, a residual.

    References:
        Kang & Kim, "Deeply Shared Filter Bases for Parameter-Efficient Convolutional
        Neural Networks", NeurIPS 2021, arXiv:2006.05066: the stages of ResNet-S, their
        first block aside; those with an asterisk have two bases.
    """

    def __init__(
        self,
        features: int,
        *,
        recursions: int,
        kernel_size: Sequence[int] = (3, 3),
        shared_features: int,
        private_features: int = 1,
        residual: bool = True,
        bases: int = 1,
        basis: BasisFactory | None = None,
        norm: NormFactory | None = None,
        kernel_init: Initializer = he_normal,
        param_dtype: Dtype = jnp.float32,
        rngs: nnx.Rngs,
    ):
        check_integer("features", features, 1)
        check_integer("recursions", recursions, 1)
        check_integer("shared_features", shared_features, 1)
        check_integer("bases", bases, 1, 1 + residual)
        check_kernel_size(kernel_size)
        self.kernel_shape = (*kernel_size, features, shared_features)
        self.residual = residual
        shape = math.prod(self.kernel_shape[:-1]), shared_features

        def plain(shape: tuple[int, int]) -> Parametrization:
            return Unconstrained(shape, param_dtype=param_dtype, rngs=rngs)

        def convolution() -> SharedBasisConv:
            return SharedBasisConv(
                features,
                features,
                kernel_size,
                shared_features=shared_features,
                private_features=private_features,
                norm=norm,
                kernel_init=kernel_init,
                param_dtype=param_dtype,
                rngs=rngs,
            )

        self.bases = nnx.List([(basis or plain)(shape) for _ in range(bases)])
        self.convolutions = _stacked([
            nnx.List([convolution() for _ in range(1 + residual)])
            for _ in range(recursions)
        ])

    def __call__(
        self, inputs: Float[Array, "*examples features"]
    ) -> Float[Array, "*examples features"]:
        """Recurses.

        Args:
            inputs: h_0, of shape (examples, *positions, features).

        Returns:
            h_L, in the dtype of h_0.
        """
        kernels = [
            (basis() if isinstance(basis, Parametrization) else basis[...])
            .reshape(self.kernel_shape)
            .astype(inputs.dtype)
            for basis in self.bases
        ]
        graph, params, rest = nnx.split(self.convolutions, nnx.Param, ...)
        is_written = []  # when it is traced

        def recurse(h: Array, states: Any) -> tuple[Array, Any]:
            # Before: the merged module shares its Variables with the state.
            before = jax.tree.leaves(states[1])
            convolutions = nnx.merge(graph, *states)
            if self.residual:
                first, second = convolutions
                change = second(jax.nn.relu(first(h, kernels[0])), kernels[-1])
                h = jax.nn.relu(h + change)
            else:
                h = jax.nn.relu(convolutions[0](h, kernels[0]))
            after = nnx.state(convolutions, nnx.Not(nnx.Param))
            pairs = zip(before, jax.tree.leaves(after), strict=True)
            is_written.append(any(new is not old for old, new in pairs))
            return h.astype(inputs.dtype), after

        is_unrolled = jax.default_backend() == "cpu"
        outputs, rest = lax.scan(recurse, inputs, (params, rest), unroll=is_unrolled)
        if any(is_written):  # running statistics, in training alone
            nnx.update(self.convolutions, rest)
        return outputs


def _stacked(modules: Sequence[nnx.List]) -> nnx.List:
    """Makes one module of several, each of whose arrays is the stack of theirs."""
    graphs, states = zip(*map(nnx.split, modules), strict=True)
    return nnx.merge(graphs[0], jax.tree.map(lambda *x: jnp.stack(x), *states))
