import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from gradstab.reversible import Schedules, train
from tests.reversible.problems import hyper, loss, schedules, unrolled, weights

RATES = Schedules(0.3, 0.9)
START = jnp.asarray([1.0, -2.0])


def bowl(x, theta, step):
    return theta * jnp.sum(jnp.asarray([1.0, 3.0], x.dtype) * x**2) / 2


def test_is_descent_with_momentum(dtype):
    arguments = weights(dtype), schedules(60, dtype), hyper(dtype), 60
    found = jax.jit(train, static_argnums=(0, 4))(loss, *arguments)
    expected = unrolled(loss, *arguments)
    atol = 2e-6 if dtype == jnp.float32 else 1e-14
    for one, other in zip(
        jax.tree.leaves(found), jax.tree.leaves(expected), strict=True
    ):
        assert one.dtype == dtype
        np.testing.assert_allclose(one, other, atol=atol)


def test_quadratic_in_closed_form():
    """Each eigenvalue a has its own 2 x 2 matrix, applied once a step."""
    with jax.enable_x64(True):
        alpha, beta, steps = 0.3, 0.9, 100
        powers = []
        for a in (1.0, 3.0):
            # v' = beta v - (1 - beta) a x, x' = x + alpha v'
            pull = -(1 - beta) * a
            matrix = np.array([[1 + alpha * pull, alpha * beta], [pull, beta]])
            powers.append(np.linalg.matrix_power(matrix, steps)[0, 0])

        def final(x):
            one = jnp.ones(())
            return train(bowl, x, Schedules(alpha, beta), one, steps)

        start = START.astype(jnp.float64)
        np.testing.assert_allclose(final(start), powers * np.asarray(start), atol=1e-13)
        np.testing.assert_allclose(
            jax.jacrev(final)(start), np.diag(powers), atol=1e-13
        )


def test_equal_losses_compile_once():
    traces = []

    def counted(x, theta, step):
        traces.append(1)
        return bowl(x, theta, step)

    def final(x, alpha):
        rates = Schedules(alpha, 0.9)
        return jnp.sum(train(counted, x, rates, jnp.ones(()), 20) ** 2)

    jax.grad(final)(START, 0.1)
    first = len(traces)
    jax.grad(final)(2 * START, 0.2)
    # Traced again, to see what it closes over, but not differentiated or compiled.
    assert len(traces) == first + 1


def test_low_precision_is_kept_apart():
    x = START.astype(jnp.bfloat16)
    trained, pull = jax.vjp(lambda x: train(bowl, x, RATES, jnp.bfloat16(1), 30), x)
    assert trained.dtype == jnp.bfloat16
    (cotangent,) = pull(jnp.ones_like(trained))
    assert cotangent.dtype == jnp.bfloat16
    exact = train(bowl, START, RATES, jnp.float32(1), 30)
    np.testing.assert_allclose(trained.astype(jnp.float32), exact, atol=0.02)


def check_equal(one, other):
    def data(x):
        is_key = jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
        return np.asarray(jax.random.key_data(x) if is_key else x)

    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    for mine, its in pairs:
        np.testing.assert_array_equal(data(mine), data(its))


def test_hyperparameters_of_low_precision_sum_in_a_wide_one():
    """A force θ of equal parts at each step: in bfloat16 the sum stops at 256 parts."""

    def pushed(x, theta, step):
        return theta.astype(jnp.float32) * x

    def final(theta):
        return train(pushed, jnp.zeros(()), Schedules(1e-3, 0.5), theta, 1000)

    found = jax.grad(final)(jnp.asarray(1, jnp.bfloat16))
    assert found.dtype == jnp.bfloat16
    expected = jax.grad(final)(jnp.asarray(1, jnp.float32))
    np.testing.assert_allclose(float(found), float(expected), rtol=0.01)


def test_a_module_is_trained_and_keeps_what_is_no_param():
    def make():
        return nnx.Sequential(
            nnx.Linear(2, 3, rngs=nnx.Rngs(0)),
            nnx.Dropout(0.1, rngs=nnx.Rngs(1)),
            nnx.Linear(3, 1, rngs=nnx.Rngs(2)),
        )

    x = jax.random.normal(jax.random.key(0), (8, 2))

    def error(model, theta, step):
        return jnp.mean((model(x) - theta) ** 2)

    model = make()
    trained = train(error, model, RATES, jnp.ones(()), 40)
    assert isinstance(trained, nnx.Sequential)
    check_equal(nnx.state(model), nnx.state(make()))
    check_equal(nnx.state(trained, nnx.RngState), nnx.state(model, nnx.RngState))
    assert error(trained, jnp.ones(()), 0) < error(model, jnp.ones(()), 0) / 2
    with pytest.raises(OverflowError, match=r"`params\['layers'\]\[\d\].* at step"):
        train(error, model, Schedules(1e9, 0.9), jnp.ones(()), 40)


def rooted(x, theta, step):
    """NaN from the step at which the root is of something negative."""
    return jnp.sum(jnp.sqrt(x - 0.1 * step.astype(x.dtype)))


def nested(params, theta, step):
    return bowl(params["a"]["b"], theta, step)


@pytest.mark.parametrize("derivative", [False, True])
@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (
            lambda x: train(rooted, x, RATES, None, 50),
            FloatingPointError,
            "The gradient of `params` is not finite at step 7",
        ),
        (
            lambda x: train(nested, {"a": {"b": x}}, Schedules(100, 0.9), 1.0, 500),
            OverflowError,
            r"`params\['a'\]\['b'\]` moves too fast or too far at step 1",
        ),
        (
            lambda x: train(bowl, 100 * x, RATES, 1.0, 5),
            OverflowError,
            r"not finite, or of magnitude 2\*\*7 or more, initially",
        ),
    ],
    ids=["not finite", "too large", "too large at first"],
)
def test_faults_raise_and_are_nan_under_jit(make, error, message, derivative):
    def final(x):
        return sum(jnp.sum(leaf) for leaf in jax.tree.leaves(make(x)))

    run = jax.grad(final) if derivative else final
    x = jnp.asarray([1.0, 2.0])
    with pytest.raises(error, match=message):
        run(x)
    assert np.all(np.isnan(jax.jit(run)(x)))


@pytest.mark.parametrize("momentum", [0.0, 1.0, 2**-8, 1 - 2**-17, np.nan])
def test_momentum_has_a_range(momentum):
    message = r"`momentum` must lie in \[2\*\*-7, 1 - 2\*\*-16\]"
    with pytest.raises(ValueError, match=message):
        train(bowl, START, Schedules(0.1, momentum), 1.0, 3)
    late = jnp.full(3, 0.5).at[2].set(momentum)
    with pytest.raises(ValueError, match=f"{message}.* at step 2"):
        train(bowl, START, Schedules(0.1, late), 1.0, 3)

    def final(momentum):
        return jnp.sum(train(bowl, START, Schedules(0.1, momentum), 1.0, 3))

    with pytest.raises(ValueError, match=r"momentum of params` must lie in"):
        jax.grad(final)(momentum)
    assert np.isnan(jax.jit(final)(momentum))


def test_the_tape_of_traced_momenta_needs_a_length():
    def final(momentum, least):
        # Short steps, which do not swing: no derivative is a difference of large ones.
        rates = Schedules(0.01, momentum)
        trained = train(bowl, START, rates, 1.0, 200, least_momentum=least)
        return jnp.sum(trained**2)

    momentum = jnp.full(200, 0.5)
    slope = jax.jit(jax.grad(final), static_argnums=1)
    expected = jax.grad(final)(momentum, None)
    np.testing.assert_allclose(slope(momentum, 0.5), expected, rtol=1e-5)
    with pytest.raises(ValueError, match="`least_momentum` is needed"):
        slope(momentum, None)
    # A tape too short.
    assert np.all(np.isnan(slope(momentum, 0.99)))
    # What is known stays known.
    of_start = jax.jit(jax.grad(lambda x: jnp.sum(train(bowl, x, RATES, 1.0, 200))))
    assert np.all(np.isfinite(of_start(START)))


def test_many_runs_at_once():
    def final(x):
        return jnp.sum(train(bowl, x, RATES, 1.0, 30) ** 2)

    starts = jnp.stack([START, 2 * START])
    found = jax.vmap(jax.grad(final))(starts)
    expected = jnp.stack([jax.grad(final)(x) for x in starts])
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("every", [None, 5])
def test_of_many_runs_those_that_fail_are_nan(every):
    def final(x):
        return jnp.sum(train(bowl, x, RATES, 1.0, 30, checkpoint_every=every) ** 2)

    starts = jnp.stack([START, 200 * START])
    for slope in (jax.vmap(jax.grad(final)), jax.jit(jax.vmap(jax.grad(final)))):
        found = slope(starts)
        np.testing.assert_allclose(found[0], jax.grad(final)(START), rtol=1e-6)
        assert np.all(np.isnan(found[1]))


@pytest.mark.parametrize("every", [None, 5])
def test_sharding_may_be_explicit(every):
    mesh = jax.make_mesh((1,), ("a",), axis_types=(jax.sharding.AxisType.Explicit,))

    def loss(x, theta, step):
        return jnp.sum((x - theta) ** 2)

    def final(x, theta):
        rates = Schedules(0.1, 0.5)
        return jnp.sum(train(loss, x, rates, theta, 30, checkpoint_every=every) ** 2)

    def slopes(x):
        gradient = jax.grad(final, argnums=(0, 1))
        return gradient(x, 2 + x), jax.jit(gradient)(x, 2 + x)

    expected = slopes(START)
    with jax.set_mesh(mesh):
        found = slopes(jax.device_put(START, jax.P("a")))
        assert jax.typeof(found[0][0]).sharding.spec == jax.P("a")
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(b), rtol=1e-5)


def test_has_no_second_derivative():
    def final(x):
        return jnp.sum(train(bowl, x, RATES, 1.0, 3) ** 2)

    for twice in (jax.hessian(final), jax.jacrev(jax.grad(final))):
        with pytest.raises(NotImplementedError, match="cannot be differentiated"):
            twice(START)


def test_rates_of_numpy_are_as_those_of_jax():
    found = train(bowl, START, Schedules(np.full(3, 0.1), np.full(3, 0.5)), 1.0, 3)
    expected = train(bowl, START, Schedules(jnp.full(3, 0.1), 0.5), 1.0, 3)
    np.testing.assert_array_equal(found, expected)


def test_rates_are_checked_where_they_are_differentiated_too():
    def final(rates):
        return jnp.sum(train(bowl, START, rates, 1.0, 3, checkpoint_every=2))

    with pytest.raises(ValueError, match=r"momentum of params` must lie in .* got 1.0"):
        jax.grad(final)(Schedules(0.1, 1.0))
    with pytest.raises(ValueError, match=r"step_size of params` must be finite"):
        jax.grad(final)(Schedules(np.nan, 0.9))


def test_a_complex_hyperparameter_has_no_derivative():
    def turned(x, theta, step):
        return jnp.sum((x - jnp.real(theta["phase"])) ** 2)

    def final(phase):
        return jnp.sum(train(turned, START, RATES, {"phase": phase}, 3))

    assert np.isfinite(final(1j))
    with pytest.raises(ValueError, match=r"`theta\['phase'\]` is complex"):
        jax.grad(lambda angle: final(jnp.exp(1j * angle)))(0.5)

    def closed_over(phase):
        def loss(x, theta, step):
            return turned(x, {"phase": phase}, step)

        return jnp.sum(train(loss, START, RATES, {"idle": 0.0}, 3))

    with pytest.raises(ValueError, match="A value that the loss reads is complex"):
        jax.grad(lambda angle: closed_over(jnp.exp(1j * angle)))(0.5)


def test_theta_is_named_as_its_caller_does():
    model = nnx.Linear(2, 1, rngs=nnx.Rngs(0))

    def loss(model, theta, step):
        return jnp.sum(model(jnp.ones((1, 2)))) * jnp.real(theta["phase"])

    with pytest.raises(ValueError, match=r"`theta\['phase'\]` must be a number"):
        train(loss, model, RATES, {"phase": "b"}, 3)

    def final(angle):
        theta = {"phase": jnp.exp(1j * angle)}
        return jnp.sum(train(loss, model, RATES, theta, 3).kernel[...])

    with pytest.raises(ValueError, match=r"`theta\['phase'\]` is complex"):
        jax.grad(final)(0.5)


class Weighted:
    """A loss that reads what somebody else writes."""

    weight = 1.0

    def loss(self, x, theta, step):
        return bowl(x, self.weight, step)


def assigned(weight):
    weighted = Weighted()
    train(weighted.loss, START, RATES, None, 3)  # compiled with the old weight
    weighted.weight = weight
    return jnp.sum(train(weighted.loss, START, RATES, None, 3))


def closed_over(weight):
    def loss(x, theta, step):
        return bowl(x, weight, step)

    return jnp.sum(train(loss, START, RATES, None, 3))


@pytest.mark.parametrize("final", [assigned, closed_over])
def test_a_loss_may_close_over_what_is_traced(final):
    def passed(weight):
        return jnp.sum(train(bowl, START, RATES, weight, 3))

    expected = jax.grad(passed)(0.7)
    assert abs(expected) > 0.1
    wrapped = jax.grad, lambda f: jax.jit(jax.grad(f)), lambda f: jax.grad(jax.jit(f))
    for slope in wrapped:
        np.testing.assert_allclose(slope(final)(0.7), expected, rtol=1e-5)
    weights = jnp.asarray([0.7, 0.2])
    np.testing.assert_allclose(
        jax.vmap(final)(weights), jax.vmap(passed)(weights), rtol=1e-5
    )


def test_a_loss_may_close_over_what_is_compiled_around_it():
    def final(x, weight):
        def loss(x, theta, step):
            return bowl(x, weight, step)

        return jnp.sum(train(loss, x, RATES, None, 3))

    expected = jax.grad(lambda x: final(x, 0.7))(START)
    found = jax.grad(jax.jit(final))(START, 0.7)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@dataclasses.dataclass
class Unhashable:
    def __call__(self, x, theta, step):
        return bowl(x, theta, step)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "`steps` must be an integer >= 1"),
        ({"params": {}}, "`params` must have an array at least"),
        (
            {"params": {"a": jnp.arange(3)}},
            r"`params\['a'\]` must be real and floating",
        ),
        (
            {"params": jnp.ones(2, jnp.complex64)},
            "must be real and floating-point, got complex64",
        ),
        ({"fraction_bits": 31}, r"`fraction_bits` must be an integer in \[1, 30\]"),
        ({"least_momentum": 0.0}, "`least_momentum` must be a finite number in"),
        ({"checkpoint_every": 0}, "`checkpoint_every` must be an integer >= 1"),
        (
            {"schedules": (jnp.ones(3), 0.9)},
            r"`step_size` must be a number or have shape",
        ),
        ({"schedules": (np.inf, 0.9)}, "`step_size` must be finite, got inf at step 0"),
        (
            {"schedules": ({"b": 0.1}, 0.9)},
            "`step_size` must be a number, an array, or",
        ),
        ({"loss": lambda x, theta, step: x}, r"`loss` must return a real scalar, got"),
        (
            {"loss": lambda x, theta, step: (x, x)},
            "`loss` must return a real scalar, got tuple",
        ),
        ({"loss": Unhashable()}, "`loss` must be a function or a hashable callable"),
        (
            {"theta": {"a": "b"}},
            r"`theta\['a'\]` must be a number or an array, got str",
        ),
        ({"schedules": 0.1}, "`schedules` must be Schedules.*, got float"),
        ({"schedules": ("0.1", 0.9)}, "`step_size` must be .* real numbers, got str"),
        ({"schedules": (0.1j, 0.9)}, "`step_size` must be .* real numbers, got compl"),
        (
            {"params": {"a": nnx.Linear(1, 1, rngs=nnx.Rngs(0))}},
            "`params` must be a Flax module, or a tree of arrays",
        ),
    ],
)
def test_rejects_bad_arguments(change, message):
    arguments = {"loss": bowl, "params": START, "schedules": RATES, "theta": 1.0}
    with pytest.raises(ValueError, match=message):
        train(**{**arguments, "steps": 5, **change})


def test_fraction_bits_trade_range_for_resolution():
    with pytest.raises(OverflowError, match=r"of magnitude 2\*\*1 or more, initially"):
        train(bowl, START, RATES, 1.0, 5, fraction_bits=30)
    coarse = train(bowl, 0.1 * START, RATES, 1.0, 20, fraction_bits=10)
    fine = train(bowl, 0.1 * START, RATES, 1.0, 20, fraction_bits=30)
    assert 1e-4 < np.max(np.abs(coarse - fine)) < 1e-1
