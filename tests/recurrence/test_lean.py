"""The lean backward pass against autodiff of the same step as a mere function."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gradstab.recurrence import Feed, MatmulStep, scan
from tests.helpers import primitives_in_scan

HIDDEN, BATCH, STEPS, FEATURES = 3, 2, 6, 2


def project(params, sequence):
    drive = sequence["x"] @ params["weight"]
    shape = (*[1] * (drive.ndim - 1), HIDDEN)
    return drive + jnp.broadcast_to(params["bias"], shape)


def two_states(params, carry, products, projected):
    state, memory = carry
    leak = jnp.broadcast_to(jnp.tanh(params["bias"]), state.shape)
    memory = jax.nn.sigmoid(products[0] + projected) * memory + projected * leak
    return jnp.tanh(products[1] + memory * state), memory


def pull_tanh(_, carry, cotangent):
    cotangent = cotangent * (1 - carry**2)
    return (cotangent,), cotangent


GATED = MatmulStep(
    lambda params: params["kernels"], lambda _, carry: carry[0], two_states
)
TANH = MatmulStep(
    lambda params: params["kernels"][:1],
    lambda _, carry: carry,
    lambda _, carry, products, projected: jnp.tanh(products[0] + projected),
    pull_tanh,
)


def reset_state(params, carry, products, projected):
    leak = jnp.broadcast_to(params["bias"], carry.shape)
    return jax.nn.sigmoid(products[0] + projected + leak) * carry


# The first kernel meets the state, the next two what a feed makes of it, and the last
# what a second feed makes of all that.
FED = MatmulStep(
    lambda params: (*params["kernels"], params["narrow"], params["wide"]),
    lambda _, carry: carry,
    lambda _, carry, products, projected: (
        0.5 * carry + jnp.tanh(products[3] + products[1] + projected)
    ),
    feeds=(Feed(reset_state, 2), Feed(lambda *before: jnp.sin(before[2][2]))),
)
# No kernel meets the state itself.
GATE = MatmulStep(
    lambda params: params["kernels"][:1],
    lambda _, carry: carry,
    lambda _, carry, products, projected: jnp.tanh(products[0] + projected),
    feeds=(Feed(lambda _, carry, products, projected: carry * projected),),
)
STEPS_OF_ALL_KINDS = pytest.mark.parametrize(
    "step", [GATED, TANH, FED, GATE], ids=["gated", "tanh", "fed", "gate"]
)


def problem(step, dtype):
    keys = iter(jax.random.split(jax.random.key(0), 9))

    def draw(*shape):
        return jax.random.normal(next(keys), shape, dtype)

    params = {
        "kernels": (draw(HIDDEN, HIDDEN), draw(HIDDEN, HIDDEN)),
        "weight": draw(FEATURES, HIDDEN),
        "bias": draw(HIDDEN),
        "narrow": draw(HIDDEN, 2),
        "wide": draw(2, HIDDEN),
        "count": jnp.array(3),
    }
    carry = draw(BATCH, HIDDEN)
    carry = (carry, draw(BATCH, HIDDEN)) if step is GATED else carry
    sequence = {
        "x": draw(STEPS, BATCH, FEATURES),
        "index": jnp.zeros((STEPS, BATCH), int),
    }
    return params, carry, sequence


def loss(step, params, carry, sequence, **options):
    carry, outputs = scan(step, params, carry, sequence, project=project, **options)
    weights = jnp.cos(jnp.arange(outputs.size, dtype=outputs.dtype))
    last = sum(jnp.sum(jnp.sin(x)) for x in jax.tree.leaves(carry))
    return jnp.sum(outputs * weights.reshape(outputs.shape)) + last


def gradients(step, arguments, **options):
    run = functools.partial(loss, step, **options)
    run = jax.jit(jax.value_and_grad(run, argnums=(0, 1, 2), allow_int=True))
    leaves = jax.tree.leaves(run(*arguments))
    return [x for x in leaves if x.dtype != jax.dtypes.float0]


@STEPS_OF_ALL_KINDS
@pytest.mark.parametrize(
    ("block", "reverse", "masked"),
    [
        (1, False, False),
        (1, True, True),
        (2, True, False),
        (2, False, True),
        (6, True, True),
    ],
)
def test_gradients_are_those_of_the_plain_recurrence(
    monkeypatch, step, block, reverse, masked
):
    for module in ("_lean", "_plain"):
        path = f"gradstab.recurrence.{module}.block_length"
        monkeypatch.setattr(path, lambda _: block)
    with jax.enable_x64(True):
        params, carry, sequence = problem(step, jnp.float64)
        mask = None
        if masked:
            mask = jnp.arange(STEPS)[:, None] < jnp.array([[4, 0]])
            noise = jnp.where(mask[..., None], sequence["x"], jnp.nan)
            sequence = sequence | {"x": noise}
        options = {"reverse": reverse, "mask": mask}
        lean = gradients(step, (params, carry, sequence), **options)
        plain = gradients(step.__call__, (params, carry, sequence), **options)
        for ours, theirs in zip(lean, plain, strict=True):
            assert np.all(np.isfinite(theirs))
            np.testing.assert_allclose(ours, theirs, atol=1e-12)


@STEPS_OF_ALL_KINDS
@pytest.mark.parametrize(("every", "reverse"), [(4, False), (4, True), (9, True)])
def test_recomputing_changes_no_gradient(step, every, reverse):
    with jax.enable_x64(True):
        arguments = problem(step, jnp.float64)
        options = {"reverse": reverse}
        again = gradients(step, arguments, checkpoint_every=every, **options)
        plain = gradients(step.__call__, arguments, **options)
        for ours, theirs in zip(again, plain, strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-12)


@pytest.mark.parametrize("every", [None, 3])
def test_time_may_be_any_axis(every):
    params, carry, sequence = problem(GATED, jnp.float32)
    run = functools.partial(
        scan, GATED, params, carry, project=project, checkpoint_every=every
    )
    _, expected = run(sequence)
    moved = jax.tree.map(lambda x: jnp.moveaxis(x, 0, 1), sequence)
    _, outputs = run(moved, time_axis=1)
    np.testing.assert_allclose(jnp.moveaxis(outputs, 1, 0), expected, atol=1e-6)


@pytest.mark.parametrize("kind", [GATED, FED], ids=["gated", "fed"])
@pytest.mark.parametrize("over", ["forward", "reverse"])
def test_derivatives_of_the_gradient(over, kind):
    with jax.enable_x64(True):
        params, carry, sequence = problem(kind, jnp.float64)
        del params["count"], sequence["index"]

        @functools.partial(jax.jit, static_argnums=0)
        def product(step, params):
            slope = jax.grad(lambda params: loss(step, params, carry, sequence))
            if over == "forward":
                return jax.jvp(slope, (params,), (params,))[1]
            return jax.vjp(slope, params)[1](params)[0]

        lean, plain = product(kind, params), product(kind.__call__, params)
        for ours, theirs in zip(*map(jax.tree.leaves, (lean, plain)), strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-9)


def test_forward_mode_is_had_from_the_step_as_a_function():
    arguments = problem(TANH, jnp.float32)
    params = {k: v for k, v in arguments[0].items() if k != "count"}

    def run(step, params):
        return loss(step, params, *arguments[1:])

    with pytest.raises(TypeError, match="custom_vjp"):
        jax.jvp(functools.partial(run, TANH), (params,), (params,))
    _, ahead = jax.jvp(functools.partial(run, TANH.__call__), (params,), (params,))
    slope = jax.grad(functools.partial(run, TANH))(params)
    back = sum(
        jnp.vdot(x, y)
        for x, y in zip(jax.tree.leaves(slope), jax.tree.leaves(params), strict=True)
    )
    np.testing.assert_allclose(ahead, back, rtol=1e-4)


def test_vmap_over_parameters_and_sequences_is_a_loop():
    params, carry, sequence = problem(GATED, jnp.float32)
    del params["count"], sequence["index"]

    @jax.jit
    def slope(params, sequence):
        run = functools.partial(loss, GATED)
        return jax.grad(run)(params, carry, sequence)["kernels"][0]

    stack = jax.tree.map(lambda x: jnp.stack([x, x / 2]), (params, sequence))
    both = jax.vmap(slope)(*stack)
    for i in range(2):
        one = slope(*jax.tree.map(lambda x, i=i: x[i], stack))
        np.testing.assert_allclose(both[i], one, atol=1e-5)


def test_low_precision_kernels_get_gradients_of_their_dtype():
    params, carry, sequence = problem(TANH, jnp.float32)
    kernels = tuple(x.astype(jnp.bfloat16) for x in params["kernels"])
    params = params | {"kernels": kernels}
    del params["count"]
    slope = jax.grad(functools.partial(loss, TANH))(params, carry, sequence)
    assert slope["kernels"][0].dtype == jnp.bfloat16
    assert slope["weight"].dtype == jnp.float32


def count_products(step):
    params, carry, sequence = problem(step, jnp.float32)
    del params["count"]
    run = jax.grad(functools.partial(loss, step))
    jaxpr = jax.make_jaxpr(run)(params, carry, sequence).jaxpr
    return sum(name == "dot_general" for name in primitives_in_scan(jaxpr))


def test_no_product_is_computed_again():
    # The projection and its weight gradient (its primal and the gradient of the inputs,
    # which nobody asks for, are dead code for the compiler), and for each kernel the
    # product, its transpose and the weight gradient.
    assert count_products(TANH) == 4 + 3
    assert count_products(GATED) == 4 + 2 * 3
    assert count_products(FED) == 4 + 4 * 3
    assert count_products(GATE) == 4 + 3


def test_integers_in_the_carry():
    step = MatmulStep(
        lambda kernel: (kernel,),
        lambda kernel, carry: carry[0],
        lambda kernel, carry, products, x: (jnp.tanh(products[0] + x), carry[1] + 1),
    )
    mask = jnp.array([[True, True]] * 3 + [[True, False]] * 3)
    kernel = jax.random.normal(jax.random.key(1), (4, 4))
    carry = jnp.zeros((2, 4)), jnp.zeros((2,), jnp.int32)
    inputs = jnp.ones((6, 2, 4))

    def loss(kernel, step):
        (_, count), outputs = scan(step, kernel, carry, inputs, mask=mask)
        return jnp.sum(outputs**2), count

    found, count = jax.grad(loss, has_aux=True)(kernel, step)
    expected, _ = jax.grad(loss, has_aux=True)(kernel, step.__call__)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    np.testing.assert_array_equal(count, [6, 3])
