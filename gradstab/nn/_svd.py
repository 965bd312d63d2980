"""Matrices with singular values in an interval."""

from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx
from flax.typing import Dtype, Initializer
from jaxtyping import Array

from gradstab import linalg
from gradstab._checks import check_integer, check_real, check_shape
from gradstab.linalg._svd_product import update_of_diagonal
from gradstab.nn._householder import (
    enough_reflectors,
    fitted_vectors,
    trapezoid_waste,
)
from gradstab.nn._parametrization import (
    Fixed,
    Matrix,
    Parametrization,
    largest_entry,
)
from gradstab.nn._signs import unit


class SVD(Parametrization):
    r"""A matrix with singular values within a radius of a center.

    .. math:: W = U \operatorname{diag}(s) V^H, \qquad
        s_i = s^* + 2 r (\sigma(f_i) - 1/2)

    with σ the logistic function, s* the center and r the radius, so that
    s* - r <= s_i <= s* + r. U and V are products of Householder reflectors; fixed signs
    (phases when complex), folded into diag(s), complete the reach. With full sets of
    reflectors and 0 <= s* - r every matrix whose singular values lie inside the
    interval is reached. If r > s*, an s_i may be negative; the upper bound then still
    holds and the lower bound is 0. Since ds/df <= r/2, a small radius moves singular
    values slowly: give `spectrum` a learning rate of its own if they must learn.
    O(n m k) a build.

    Args:
        shape: shape (..., rows, columns); leading axes are a stack.
        center: the center s*, at least 0.
        radius: the radius r, at least 0; 0 makes every singular value equal to s*.
        reflectors: how many reflectors on each side; the shorter side if None.
        matrix_init: initializer of each matrix, its singular values cut to the
            interval; it needs full sets of reflectors. If None, f = 0, so that all
            singular values are s*, and the reflectors are standard normal.
        param_dtype: dtype of the matrix.
        rngs: source of the `params` keys.

    References:
        Zhang, Lei & Dhillon, "Stabilizing Gradients for Deep Neural Networks via
        Efficient SVD Parameterization", ICML 2018, arXiv:1803.09327.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        *,
        center: float = 1.0,
        radius: float = 0.1,
        reflectors: int | None = None,
        matrix_init: Initializer | None = None,
        param_dtype: Dtype = jnp.float32,
        rngs: nnx.Rngs,
    ):
        check_shape("shape", shape)
        check_real("center", center, 0.0)
        check_real("radius", radius, 0.0)
        super().__init__(shape, param_dtype=param_dtype)
        *stack, rows, columns = shape
        short = min(rows, columns)
        reflectors = short if reflectors is None else reflectors
        check_integer("reflectors", reflectors, 0, short)
        self.center = center
        self.radius = radius
        self.reflectors = reflectors
        dtype = self._coordinate_dtype
        draw = nnx.initializers.normal(1.0)
        self.left = nnx.Param(draw(rngs.params(), (*stack, rows, reflectors), dtype))
        self.spectrum = nnx.Param(jnp.zeros((*stack, short), self._real_dtype))
        self.right = nnx.Param(
            draw(rngs.params(), (*stack, columns, reflectors), dtype)
        )
        self.signs = Fixed(jnp.ones((*stack, short), dtype))
        if matrix_init is not None:
            self._initialize(matrix_init, rngs)

    @property
    def singular_value_bounds(self) -> tuple[float, float]:
        """The interval, its lower end not below 0."""
        return max(0.0, self.center - self.radius), self.center + self.radius

    @property
    def free_parameters(self) -> int:
        """The entries of the two lower trapezoids and the spectrum."""
        waste = trapezoid_waste(self.left.shape) + trapezoid_waste(self.right.shape)
        return self.left.size + self.spectrum.size + self.right.size - waste

    @property
    def update_rank(self) -> int:
        """The number of reflectors on both sides."""
        return 2 * self.reflectors

    def _build(self) -> Matrix:
        self._check_reflectors(self.left[...], self.reflectors)
        return self._map_stack(
            linalg.svd_product,
            self.left[...],
            self._singular_values(),
            self.right[...],
            unit(self.signs[...]),
        )

    def _update(self) -> tuple[Array, Array, Array]:
        self._check_reflectors(self.left[...], self.reflectors)
        signs = unit(self.signs[...])
        diagonal = self._singular_values().astype(signs.dtype) * signs
        left, right = self.left[...], self.right[...]
        return diagonal, *update_of_diagonal(left, diagonal, right)

    def _singular_values(self) -> Array:
        offset = jax.nn.sigmoid(self.spectrum[...]) - 0.5
        return self.center + 2 * self.radius * offset

    def _write(self, matrix: Matrix) -> None:
        left, values, right = jnp.linalg.svd(matrix, full_matrices=False)
        fit = partial(fitted_vectors, count=self.reflectors)
        self.left[...], left_signs = self._map_stack(fit, left)
        self.right[...], right_signs = self._map_stack(fit, right.mT.conj())
        self.signs[...] = left_signs * right_signs.conj()
        if self.radius > 0:
            # The ends of the open interval are taken at the nearest number inside it.
            eps = jnp.finfo(values.dtype).eps
            place = (values - self.center) / (2 * self.radius) + 0.5
            place = jnp.clip(place, eps, 1 - eps)
            self.spectrum[...] = jnp.log(place) - jnp.log1p(-place)

    def _residual(self, matrix):
        low, high = self.singular_value_bounds
        nearest = linalg.clip_singular_values(matrix, minimum=low, maximum=high)
        return largest_entry(matrix - nearest)

    def _nearest(self, matrix):
        low, high = self.singular_value_bounds
        return linalg.clip_singular_values(matrix, minimum=low, maximum=high)

    def _beyond_reach(self) -> str:
        return (
            f"It has {self.reflectors} reflectors on each side; every matrix of shape "
            f"{self.shape[-2:]} needs {enough_reflectors(self.shape)}."
        )
