import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradstab.dynamics import MinimizeDistance
from tests.helpers import check_grads, random_matrix

# Its first step is too long for curvatures of about 10, and it grows fast.
DARING = MinimizeDistance(
    first_step=3.0, growth=1.5, sufficient_decrease=0.3, tolerance=1e-4
)


def valley(matrix):
    """A loss that is not convex, with curvatures of different size."""

    def objective(code):
        made = jnp.tanh(matrix @ code) - jnp.linspace(-0.9, 0.9, 6, dtype=matrix.dtype)
        return jnp.sum(made**2) + 0.01 * jnp.sum(code**4)

    return objective


def naive(objective, start, descent):
    """Armijo's rule in a plain loop; returns all codes, the steps and the tries."""
    code, step, time = start, descent.first_step, 0.0
    codes, steps, tries, in_a_row = [start], [], 0, 0
    is_flat = False
    while tries < descent.max_steps and in_a_row < descent.max_rejections:
        gradient = jax.grad(objective)(code)
        slope = descent.rate * float(jnp.sum(gradient**2))
        is_flat = slope <= descent.tolerance
        if is_flat or time >= descent.duration:
            break
        step = min(step, descent.duration - time)
        trial = code - step * descent.rate * gradient
        gain = float(objective(code)) - float(objective(trial))
        tries += 1
        if gain >= descent.sufficient_decrease * step * slope:
            code, time, in_a_row = trial, time + step, 0
            codes.append(code)
            steps.append(step)
            step = min(descent.growth * step, descent.max_step)
        else:
            step, in_a_row = descent.shrink * step, in_a_row + 1
    return codes, steps, tries


@pytest.mark.parametrize("descent", [DARING, MinimizeDistance(duration=3.0, rate=0.7)])
def test_is_the_plain_loop(descent, dtype, atol):
    objective = valley(random_matrix(0, (6, 3), dtype))
    found = jax.jit(lambda z: descent(objective, z))(jnp.zeros(3, dtype))
    codes, steps, tries = naive(objective, jnp.zeros(3, dtype), descent)
    np.testing.assert_allclose(
        found.code, codes[-1], rtol=1e-3 if atol > 1e-9 else 0, atol=100 * atol
    )
    assert found.code.dtype == dtype
    assert int(found.accepted) == len(steps)
    assert int(found.rejected) == tries - len(steps)
    assert bool(found.is_converged)


def test_rejections_were_part_of_that():
    objective = valley(random_matrix(0, (6, 3), jnp.float32))
    assert DARING(objective, jnp.zeros(3)).rejected > 3


@pytest.mark.parametrize("seed", range(2))
def test_no_step_ascends(seed):
    objective = valley(3 * random_matrix(seed, (6, 3), jnp.float32))
    values = [float(objective(jnp.ones(3)))]
    for steps in range(1, 11):
        descent = MinimizeDistance(first_step=5.0, growth=3.0, max_steps=steps)
        found = descent(objective, jnp.ones(3))
        assert found.accepted + found.rejected == steps
        values.append(float(objective(found.code)))
    assert np.all(np.diff(values) <= 0)
    assert values[-1] < values[0]


def test_ends_at_the_duration():
    # Where the gradient is constant the flow is a straight line.
    slope = jnp.asarray([1.0, -2.0])
    descent = MinimizeDistance(duration=12.5, rate=0.5)
    found = descent(lambda z: jnp.vdot(slope, z), jnp.zeros(2))
    np.testing.assert_allclose(found.code, -12.5 * 0.5 * slope, rtol=1e-6)
    assert found.is_converged
    assert found.rejected == 0


@pytest.mark.parametrize("tolerance", [0.0, 1e-5])
def test_stays_at_a_minimum(tolerance):
    descent = MinimizeDistance(tolerance=tolerance)
    found = descent(lambda z: jnp.sum(z**2), jnp.zeros(2))
    np.testing.assert_array_equal(found.code, jnp.zeros(2))
    assert found.accepted == 0
    assert found.is_converged


def test_ends_where_no_step_gains_anything():
    # The numbers say that there is a slope, and the loss does not fall along it.
    def objective(z):
        return jax.lax.stop_gradient(jnp.sum(z**2)) - jnp.sum(
            z - jax.lax.stop_gradient(z)
        )

    found = MinimizeDistance(max_rejections=7)(objective, jnp.ones(2))
    np.testing.assert_array_equal(found.code, jnp.ones(2))
    assert (found.accepted, found.rejected) == (0, 7)
    assert not found.is_converged


@pytest.mark.parametrize("value", [jnp.nan, jnp.inf])
def test_a_loss_that_is_not_finite_ends_it(value):
    found = MinimizeDistance()(lambda z: jnp.sum(value * z), jnp.ones(2))
    assert (found.accepted, found.rejected) == (0, 20)
    assert not found.is_converged


def test_goes_nowhere_where_the_loss_overflows():
    # The first tries jump to exp(1e4).
    descent = MinimizeDistance(first_step=1e4, max_step=1e4)
    found = descent(lambda z: jnp.sum(jnp.exp(z) + jnp.exp(-z)), jnp.full(2, 1.0))
    assert found.rejected > 3
    assert found.is_converged
    np.testing.assert_allclose(found.code, 0, atol=1e-2)


def test_its_derivative_is_that_of_the_steps_taken():
    with jax.enable_x64(True):
        matrix = random_matrix(0, (6, 3), jnp.float64)
        start = jnp.asarray([0.3, -0.2, 0.1])
        weights = jnp.asarray([1.0, -2.0, 3.0])
        _, steps, _ = naive(valley(matrix), start, DARING)
        assert len(steps) < DARING.max_steps

        @jax.jit
        def by_descent(matrix, start):
            found = DARING.differentiable(valley(matrix), start)
            return jnp.vdot(weights, found.code)

        def by_loop(matrix, start):
            code = start
            for step in steps:
                code -= step * jax.grad(valley(matrix))(code)
            return jnp.vdot(weights, code)

        found = jax.value_and_grad(by_descent, (0, 1))(matrix, start)
        expected = jax.value_and_grad(by_loop, (0, 1))(matrix, start)
        for one, other in zip(
            jax.tree.leaves(found), jax.tree.leaves(expected), strict=True
        ):
            np.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-13)
        # Which steps are taken does not change from one side to the other.
        at = matrix, start
        check_grads(by_descent, at, order=1, modes=["rev", "fwd"], eps=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"duration": 0.0}, "`duration` must be above 0, got 0.0"),
        ({"rate": -1.0}, "`rate` must be a finite number in"),
        ({"first_step": float("inf")}, "`first_step` must be a finite number"),
        ({"max_step": 0}, "`max_step` must be above 0"),
        ({"growth": 0.9}, "`growth` must be a finite number in"),
        ({"shrink": 1.0}, "`shrink` must be below 1"),
        ({"shrink": 0.0}, "`shrink` must be above 0"),
        ({"sufficient_decrease": 1.0}, "`sufficient_decrease` must be below 1"),
        ({"tolerance": float("nan")}, "`tolerance` must be a finite number"),
        ({"max_steps": 0}, "`max_steps` must be an integer >= 1, got 0"),
        ({"max_rejections": 2.5}, "`max_rejections` must be an integer >= 1"),
    ],
)
def test_rejects_bad_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        MinimizeDistance(**options)


def test_minus_infinity_is_no_gain():
    def objective(code):
        return jnp.sum(jnp.where(code > -1.5, code, -jnp.inf))

    found = MinimizeDistance(max_steps=30)(objective, jnp.zeros(1))
    assert -1.5 < found.code[0] <= -1.0


def test_a_step_that_is_not_taken_has_no_derivative():
    """The second derivative at the end is infinite; a step that ends there is taken."""
    descent = MinimizeDistance(first_step=1 / 1.5)

    def code(scale):
        def objective(code):
            return jnp.sum(jnp.abs(scale * code - 1) ** 1.5)

        return descent.differentiable(objective, jnp.zeros(1)).code[0]

    with jax.enable_x64(False):
        value, slope = jax.value_and_grad(code)(jnp.asarray(1.0))
    assert value == 1
    assert np.isfinite(slope)


@pytest.mark.parametrize("number", [np.float32, np.float64])
def test_numbers_of_numpy_have_the_dtype_of_the_code(number):
    with jax.enable_x64(True):
        descent = MinimizeDistance(rate=number(0.5), growth=number(1.5))
        found = descent(lambda z: jnp.sum(z**2), jnp.ones(2, jnp.float32))
    assert found.code.dtype == jnp.float32
    assert hash(descent) == hash(MinimizeDistance(rate=0.5, growth=1.5))
