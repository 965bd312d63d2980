"""A layer whose steps descend an objective: the block of the optimization kernel."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from flax.typing import Dtype
from jaxtyping import Array, Float

from gradstab._checks import check_integer
from gradstab._precision import at_least_single
from gradstab.nn._cayley import Cayley
from gradstab.nn._dft_frame import (
    analyze,
    low_coherence_frequencies,
    place,
    synthesize,
)
from gradstab.nn._materialize import materialize
from gradstab.nn._parametrization import Fixed, Parametrization
from gradstab.nn._proximal_maps import ProximalMap, ReLU

Inputs = Float[Array, "*batch in"]
Code = Float[Array, "*batch code"]
HIGHEST = jax.lax.Precision.HIGHEST


class ProximalBlock(nnx.Module):
    r"""Some steps of proximal gradient descent toward a code of the input.

    .. math::
        y_0 &= 0 \\
        y_{t+1} &= h(y_t + A^T (x - A y_t)), \qquad A A^T = I

    returns y_T, with h the proximal map of a penalty φ. Each step descends

    .. math:: Q(y) = \tfrac12 \| x - A y \|^2 + \varphi(y)

    The smooth part of Q has a gradient with the Lipschitz constant ‖AᵀA‖ = 1, so that
    ½‖y + Aᵀ(x - A y) - v‖² + φ(v) is, up to a constant, nowhere below Q(v) and equal to
    it at v = y; its minimizer v = y' therefore has Q(y') <= Q(y), whether φ is convex
    or not. If it is, Q(y_T) - Q(v) <= ‖v‖² / (2T) for every v.

    Backward, a step multiplies by the slopes of h, of 0 and 1, and by the orthogonal
    projector I - AᵀA: a gradient for the code never grows on its way through the steps,
    and that for the input is at most √T times the one for y_T.

    A is Qᵀ B by default, with Q a trained rotation and B fixed: d/2 rows of an
    N/2-point DFT, in real form, that make columns of one length and low coherence. As
    Q Qᵀ = I only the inputs meet Q: the steps are y' = h(y + Bᵀ(Q x - B y)), with
    two FFTs each, O(d² + T N log N) in all. With another A a step is two products,
    O(T d N) and a build. For 64 inputs and on one core of a CPU both take the same time
    at d = 64, N = 128; below, products are faster by up to 1.7, and at d = 256, N = 512
    the FFTs take a third of their time, at d = 1024, N = 2048 an eighth. Q or A is
    built once a call, however many steps there are. If N > d, the columns of B sum to
    0, and so codes without a negative number can fit every input.

    Below single precision the steps are computed in float32 and the code is cast once.

    Args:
        in_features: length d of x.
        code_features: length N of y, at least d.
        steps: the number T of steps, at least 1.
        proximal: the map h with its penalty φ.
        matrix: A of shape (d, N), any real parametrization all of whose singular values
            are 1; its dtype is its own. One of columns in all directions is
            `Householder((d, N), matrix_init=nnx.initializers.orthogonal(), rngs=rngs)`;
            without the initializer A starts near (I 0). If None, A has the structure
            above.
        rotation: Q of shape (d, d), likewise; `Cayley((d, d), rngs=rngs)` if None.
        param_dtype: dtype of that `Cayley`.
        rngs: source of its `params` key.

    Raises:
        ValueError: if `code_features` is below `in_features`; if one of them is odd and
            no `matrix` is given; if `matrix` or `rotation` have another shape or other
            singular values, or both are given; if `proximal` is no `ProximalMap`.

    References:
        Lyu & Tsang, "Neural Optimization Kernel: Towards Robust Deep Learning", 2021,
        arXiv:2106.06097. The finite form follows its claims; the notation and the
        proofs are ours. That Q meets the inputs alone and the choice of the rows of B
        are derived here.
        Beck & Teboulle, "A Fast Iterative Shrinkage-Thresholding Algorithm for Linear
        Inverse Problems", SIAM Journal on Imaging Sciences 2, 2009, Theorem 3.1.
    """

    def __init__(
        self,
        in_features: int,
        code_features: int,
        *,
        steps: int = 5,
        proximal: ProximalMap = ReLU(),
        matrix: Parametrization | None = None,
        rotation: Parametrization | None = None,
        param_dtype: Dtype = jnp.float32,
        rngs: nnx.Rngs,
    ):
        check_integer("in_features", in_features, 1)
        check_integer("code_features", code_features, 1)
        check_integer("steps", steps, 1)
        if code_features < in_features:
            raise ValueError(
                f"`code_features` must be at least `in_features`, {in_features}, got "
                f"{code_features}: no matrix that wide has orthonormal rows; shorten "
                "the inputs by a `Linear` first."
            )
        if not isinstance(proximal, ProximalMap):
            raise ValueError(
                "`proximal` must be a ProximalMap, such as `ReLU()`, got "
                f"{proximal!r}; its penalty makes the objective."
            )
        self.in_features = in_features
        self.code_features = code_features
        self.steps = steps
        self.proximal = proximal
        self.matrix = self.rotation = self.frequencies = nnx.data(None)
        if matrix is not None:
            if rotation is not None:
                raise ValueError("`rotation` must be None where `matrix` is given.")
            shape = in_features, code_features
            self.matrix = _orthonormal("matrix", matrix, shape)
            return
        if in_features % 2 or code_features % 2:
            raise ValueError(
                "`in_features` and `code_features` must be even for the rows of a "
                f"Fourier matrix, got {in_features} and {code_features}; pass "
                f"`matrix=Householder(({in_features}, {code_features}), rngs=rngs)`."
            )
        shape = in_features, in_features
        if rotation is None:
            rotation = Cayley(shape, param_dtype=param_dtype, rngs=rngs)
        self.rotation = _orthonormal("rotation", rotation, shape)
        kept = low_coherence_frequencies(code_features // 2, in_features // 2)
        is_kept = np.isin(np.arange(code_features // 2), kept)
        self.frequencies = Fixed(jnp.asarray(is_kept, jnp.float32))

    def __call__(self, inputs: Inputs) -> Code:
        """Computes the codes of inputs.

        Args:
            inputs: x.

        Returns:
            y_T, of the dtype of `inputs`.

        Raises:
            ValueError: if the last axis of `inputs` is not `in_features` long, or they
                are no real floating-point numbers.
        """
        problem = self._problem(inputs)
        # The step from zero needs no product with A.
        first = self.proximal(problem.adjoint(problem.target))
        code, _ = jax.lax.scan(
            lambda y, _: (self._advance(problem, y), None),
            first,
            length=self.steps - 1,
        )
        return code.astype(inputs.dtype)

    def step(self, codes: Code, inputs: Inputs) -> Code:
        """Takes one step from any codes, as for a run of many: materialize first.

        Args:
            codes: y, as many as inputs.
            inputs: x.

        Returns:
            h(y + Aᵀ(x - A y)), of the dtype of `codes`.
        """
        problem = self._problem(inputs)
        wide = codes.astype(at_least_single(inputs.dtype))
        return self._advance(problem, wide).astype(codes.dtype)

    def objective(self, codes: Code, inputs: Inputs) -> Float[Array, "*batch"]:
        """Computes what the steps descend.

        Args:
            codes: y.
            inputs: x.

        Returns:
            Q(y) of each code, of the dtype of `codes`.
        """
        problem = self._problem(inputs)
        wide = codes.astype(at_least_single(inputs.dtype))
        residual = problem.target - problem.forward(wide)
        misfit = jnp.sum((residual * residual.conj()).real, axis=-1)
        return (misfit / 2 + self.proximal.penalty(wide)).astype(codes.dtype)

    def frame(self) -> Float[Array, "in code"]:
        """Builds A; its columns are a Parseval frame."""
        if self.matrix is not None:
            return self.matrix()
        built = materialize(self)
        assert built.rotation is not None
        dtype = built.rotation().dtype
        problem = built._problem(jnp.eye(self.in_features, dtype=dtype))
        return problem.adjoint(problem.target).astype(dtype)

    @property
    def contraction_bound(self) -> float | None:
        r"""A Lipschitz constant of a step, y to y': 1.

        It is the norm of the projector I - AᵀA, which a proximal map of a convex φ does
        not enlarge. None if φ is not convex, since h then jumps, and once `materialize`
        or `export` has left a matrix in the place of its parametrization.
        """
        given = self.rotation if self.matrix is None else self.matrix
        if not (self.proximal.is_convex and isinstance(given, Parametrization)):
            return None
        return 1.0

    @property
    def lipschitz_bound(self) -> float | None:
        r"""A Lipschitz constant of the whole, x to y_T: √T, or 1 if N = d.

        For two inputs a step starts from the difference
        (I - AᵀA) (y - ỹ) + Aᵀ(x - x̃), whose two parts are orthogonal. So
        ‖y' - ỹ'‖² <= ‖y - ỹ‖² + ‖x - x̃‖², and the codes start equal. If N = d the first
        part is 0. None where `contraction_bound` is.
        """
        if self.contraction_bound is None:
            return None
        return 1.0 if self.code_features == self.in_features else self.steps**0.5

    def flax_twin(self) -> None:
        """Returns None: Flax has no such layer."""

    def _problem(self, inputs: Inputs) -> "_Problem":
        """Reads the inputs and builds A, or what stands for it."""
        _check_inputs(inputs, self.in_features)
        dtype = at_least_single(inputs.dtype)
        x = inputs.astype(dtype)
        if self.matrix is not None:
            matrix = self.matrix().astype(dtype)
            return _Problem(
                x,
                lambda y: jnp.matmul(y, matrix.mT, precision=HIGHEST),
                lambda r: jnp.matmul(r, matrix, precision=HIGHEST),
            )
        assert self.rotation is not None
        assert self.frequencies is not None
        turned = jnp.matmul(x, self.rotation().astype(dtype).mT, precision=HIGHEST)
        # Read as yes or no, never as lengths: weight decay that reaches them by mistake
        # changes nothing.
        kept = self.frequencies[...] != 0
        return _Problem(place(turned, kept), lambda y: analyze(y, kept), synthesize)

    def _advance(self, problem: "_Problem", y: Code) -> Code:
        residual = problem.target - problem.forward(y)
        return self.proximal(y + problem.adjoint(residual))


class _Problem(NamedTuple):
    """Inputs and A, in coordinates in which products with A are cheap."""

    target: Array  # of x
    forward: Callable[[Array], Array]  # y to those of A y
    adjoint: Callable[[Array], Array]  # those of r to Aᵀ r


def _orthonormal(
    name: str, given: Parametrization, shape: tuple[int, int]
) -> Parametrization:
    """Checks that an argument holds orthonormal rows whatever its coordinates are."""
    if not isinstance(given, Parametrization):
        raise ValueError(
            f"`{name}` must be a Parametrization, got {type(given).__name__}."
        )
    if given.shape != shape:
        raise ValueError(f"`{name}` must have shape {shape}, got {given.shape}.")
    if not jnp.issubdtype(given.param_dtype, jnp.floating):
        raise ValueError(
            f"`{name}` must be real, got {jnp.dtype(given.param_dtype).name}."
        )
    if given.singular_value_bounds != (1.0, 1.0):
        raise ValueError(
            f"`{name}` must have singular values of 1, got {type(given).__name__} with "
            f"bounds {given.singular_value_bounds}; use Householder"
            f"{', Cayley or Exponential' if name == 'rotation' else ''}."
        )
    return given


def _check_inputs(inputs: Inputs, in_features: int) -> None:
    if inputs.ndim == 0 or inputs.shape[-1] != in_features:
        raise ValueError(
            f"`inputs` must have {in_features} features on the last axis, "
            f"got shape {inputs.shape}."
        )
    if not jnp.issubdtype(inputs.dtype, jnp.floating):
        raise ValueError(
            f"`inputs` must have a real floating-point dtype, got {inputs.dtype.name}."
        )
