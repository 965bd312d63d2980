"""The kernel keeps the promises of `tests/test_contracts.py`, and those of its own."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import gradstab as gs
from tests.helpers import check_grads, random_matrix
from tests.linalg.test_conv_singular_values import dense

# shape, strides: even and odd, tall, square and wide, one axis to three
KERNELS = [
    ((3, 2, 4, 4), (1, 1)),
    ((4, 5, 2), (1,)),
    ((3, 1, 2, 5), (1, 1)),
    ((2, 2, 2, 3, 2), (1, 1, 1)),
    ((5, 4, 3, 4), (2, 4)),
    ((2, 2, 2, 5), (2, 2)),
    ((3, 3, 1, 1), (1, 1)),
    ((1, 1, 3, 4), (1, 1)),
    ((3, 3, 2, 17), (2, 2)),  # further channels inside
]
REACHED = KERNELS[:5]  # by `assign`; the last is not
SMALL = KERNELS[0]


def make(shape=SMALL[0], strides=1, seed=0, **options):
    return gs.nn.OrthogonalConvKernel(
        shape, strides=strides, rngs=nnx.Rngs(seed), **options
    )


def at_random(kernel, scale, seed=1):
    """Replaces every coordinate by a normal number."""
    leaves, tree = jax.tree.flatten(nnx.state(kernel, nnx.Param))
    keys = jax.random.split(jax.random.key(seed), len(leaves))
    drawn = [
        scale * jax.random.normal(key, leaf.shape, leaf.dtype)
        for key, leaf in zip(keys, leaves, strict=True)
    ]
    nnx.update(kernel, jax.tree.unflatten(tree, drawn))
    return kernel


def defect(kernel, strides, blocks=7):
    """How far singular values are from 1 on images of so many times the strides.

    Seven are enough for every size: no kernel here overlaps its shift by that many.
    """
    image = [blocks * s for s in strides]
    values = gs.linalg.conv_singular_values(kernel, image, strides=strides)
    return float(jnp.max(jnp.abs(values - 1)))


def assert_orthogonal_at_every_scale(shape, strides, dtype):
    kernel = make(shape, strides, param_dtype=dtype)
    for scale in (None, 0.0, 1.0, 10.0):
        if scale is not None:
            at_random(kernel, scale)
        built = kernel()
        assert built.shape == kernel.shape == shape
        assert built.dtype == dtype
        for blocks in (1, 7):  # smaller than the kernel, and larger
            limit = 30 * float(jnp.finfo(dtype).eps)
            assert defect(built, strides, blocks) <= limit


@pytest.mark.parametrize(("shape", "strides"), KERNELS)
def test_all_singular_values_are_one_for_every_value_of_the_coordinates(shape, strides):
    with jax.enable_x64(True):
        assert_orthogonal_at_every_scale(shape, strides, jnp.float64)


def test_they_are_in_single_precision_too():
    assert_orthogonal_at_every_scale((3, 2, 4, 4), (1, 1), jnp.float32)
    assert_orthogonal_at_every_scale((3, 3, 16, 16), (1, 1), jnp.float32)


@pytest.mark.parametrize(
    ("place", "image"), [(0, (3, 4)), (1, (5,)), (2, (4, 3)), (5, (4, 6)), (8, (4, 6))]
)
def test_the_layer_of_flax_is_orthogonal_with_circular_padding(place, image):
    shape, strides = KERNELS[place]
    with jax.enable_x64(True):
        built = make(shape, strides, param_dtype=jnp.float64)()
        matrix = dense(built, image, strides)
        rows, columns = matrix.shape
        gram = matrix @ matrix.T if rows < columns else matrix.T @ matrix
        np.testing.assert_allclose(gram, np.eye(min(rows, columns)), atol=1e-12)


@pytest.mark.parametrize("padding", ["SAME", "VALID", 1, 3])
@pytest.mark.parametrize(
    ("shape", "strides"), [SMALL, KERNELS[-1]], ids=["dense", "strided"]
)
def test_zero_padding_enlarges_nothing(shape, strides, padding):
    built = at_random(make(shape, strides), 1.0)()
    values = np.linalg.svd(dense(built, (5, 4), strides, padding), compute_uv=False)
    assert values.max() <= 1 + 1e-5
    # Padded by all that a kernel reaches, images are as if on an infinite lattice.
    if padding == 3 and strides == (1, 1):
        np.testing.assert_allclose(values, 1.0, atol=1e-5)


def test_a_single_channel_is_left_where_it_is():
    for size in (2, 3, 4, 5):
        kernel = make((size, size, 1, 1))
        images = random_matrix(0, (2, 6, 6, 1), jnp.float32)
        layer = gs.nn.Conv(
            1, 1, (size, size), kernel=kernel, padding="SAME", rngs=nnx.Rngs(0)
        )
        np.testing.assert_allclose(jnp.abs(layer(images)), jnp.abs(images), atol=1e-6)


@pytest.mark.parametrize(("shape", "strides"), [SMALL, KERNELS[-1]])
def test_gradient_agrees_with_central_differences(shape, strides):
    with jax.enable_x64(True):
        kernel = at_random(make(shape, strides, param_dtype=jnp.float64), 0.5)
        graph, params, rest = nnx.split(kernel, nnx.Param, ...)
        weights = random_matrix(2, shape, jnp.float64)

        @jax.jit
        def loss(params):
            return jnp.sum(weights * nnx.merge(graph, params, rest)() ** 2)

        check_grads(loss, (params,), order=1, modes=["rev"])


def test_gradient_is_finite_at_zero_coordinates():
    kernel = at_random(make(), 0.0)
    gradient = jax.jit(jax.grad(lambda kernel: jnp.sum(kernel() ** 3)))(kernel)
    for leaf in jax.tree.leaves(gradient):
        assert np.all(np.isfinite(leaf))


@pytest.mark.parametrize(("shape", "strides"), REACHED)
def test_assign_gives_back_the_kernel_of_another_instance(shape, strides):
    with jax.enable_x64(True):
        source = at_random(make(shape, strides, param_dtype=jnp.float64), 1.0)()
        target = make(shape, strides, seed=5, param_dtype=jnp.float64)
        target.assign(source)
        np.testing.assert_allclose(target(), source, atol=1e-13)


@pytest.mark.parametrize(("shape", "strides"), REACHED[::4])
def test_any_kernel_is_moved_into_the_set(shape, strides):
    kernel = make(shape, strides)
    for given in (random_matrix(0, shape, jnp.float32), jnp.zeros(shape)):
        kernel.assign(given, project=True)
        assert defect(kernel(), strides) <= 1e-5


def test_a_kernel_near_the_set_is_moved_little():
    kernel = make()
    near = make(seed=3)() + 1e-3 * random_matrix(0, kernel.shape, jnp.float32)
    kernel.assign(near, project=True)
    assert jnp.linalg.norm(kernel() - near) <= 0.05


def test_the_identity_is_in_the_set():
    # Its center is where Flax puts that of a kernel.
    identity = jnp.zeros((3, 3, 4, 4)).at[1, 1].set(jnp.eye(4))
    kernel = make(identity.shape)
    kernel.assign(identity)
    np.testing.assert_allclose(kernel(), identity, atol=1e-6)


@pytest.mark.error_text
def test_assign_refuses_what_is_outside():
    kernel = make()
    before = kernel()
    for given, message in (
        (random_matrix(0, kernel.shape, jnp.float32), "lies outside the set"),
        (jnp.full(kernel.shape, jnp.nan), "must be finite"),
        (jnp.ones((3, 3)), r"must have shape \(3, 2, 4, 4\), got \(3, 3\)"),
        (jnp.ones(kernel.shape, jnp.int32), "floating-point dtype, got int32"),
        (jnp.ones(kernel.shape, jnp.complex64), "must be real"),
    ):
        with pytest.raises(ValueError, match=message):
            kernel.assign(given)
    # Orthogonal, but no product of projections of half the channels.
    shift = jnp.zeros(kernel.shape).at[2, 0].set(jnp.eye(4))
    with pytest.raises(ValueError, match="cannot reach .* pass `project=True`"):
        kernel.assign(shift)
    np.testing.assert_array_equal(kernel(), before)
    for outputs, channels in ((12, 3), (17, 4)):
        expanding = make((3, 3, 2, outputs), 2)
        with pytest.raises(ValueError, match=f"passes through {channels} channels"):
            expanding.assign(expanding())


def test_assign_finds_strided_kernels_of_few_outputs():
    # One fewer than s₁s₂ (in + 1), from which on there are further channels.
    source = make((3, 2, 2, 11), 2, seed=1)()
    target = make((3, 2, 2, 11), 2)
    target.assign(source)
    np.testing.assert_allclose(target(), source, atol=1e-5)


@pytest.mark.error_text
def test_a_long_kernel_that_rounding_hides_is_refused_with_the_remedy():
    # Its ends are products of ten projections: in some seeds few digits are left.
    target, refusals = make((11, 8, 8)), []
    for seed in range(8):
        source = make((11, 8, 8), seed=seed)()
        try:
            target.assign(source)
        except ValueError as error:
            refusals.append(str(error))
            target.assign(source, project=True)
            assert defect(target(), (1,), blocks=21) <= 1e-5
        else:
            np.testing.assert_allclose(target(), source, atol=1e-3)
    for refusal in refusals:
        assert "ten positions or more along an axis" in refusal
        assert "pass `project=True`" in refusal


def test_what_cannot_be_assigned_under_jit_is_not_a_number():
    @jax.jit
    def assigned(given):
        kernel = make()
        kernel.assign(given)
        return kernel()

    source = make(seed=2)()
    np.testing.assert_allclose(assigned(source), source, atol=1e-5)
    assert np.all(np.isnan(assigned(random_matrix(0, source.shape, jnp.float32))))


@pytest.mark.parametrize("low", [jnp.bfloat16, jnp.float16])
def test_low_precision_is_computed_in_float32_and_cast_once(low):
    kernel, single = make(param_dtype=low), make()
    for leaf in jax.tree.leaves(nnx.state(kernel)):
        assert leaf.dtype == jnp.float32
    built = kernel()
    assert built.dtype == low
    np.testing.assert_array_equal(built, single().astype(low))
    kernel.assign(built)
    error = jnp.max(jnp.abs(kernel() - built))
    assert float(error) <= 4 * float(jnp.finfo(low).eps)


def test_not_a_number_is_not_laundered():
    kernel = make()
    spoilt = jax.tree.map(lambda leaf: jnp.full_like(leaf, jnp.nan), kernel)
    assert not np.any(np.isfinite(spoilt()))


def test_the_constraint_outlives_adamw_with_weight_decay():
    kernel = make()
    graph, params, rest = nnx.split(kernel, nnx.Param, ...)
    optimizer = optax.adamw(1e-2, weight_decay=0.1)
    target = random_matrix(0, kernel.shape, jnp.float32)

    def loss(params):
        return jnp.sum((nnx.merge(graph, params, rest)() - target) ** 2)

    def step(carry, _):
        params, state = carry
        value, gradient = jax.value_and_grad(loss)(params)
        updates, state = optimizer.update(gradient, state, params)
        return (optax.apply_updates(params, updates), state), value

    start = (params, optimizer.init(params))
    with jax.numpy_dtype_promotion("standard"):  # optax multiplies by int32 counts
        run = jax.jit(lambda carry: jax.lax.scan(step, carry, length=300))
        (params, _), losses = run(start)
    assert losses[-1] < losses[0]
    assert defect(nnx.merge(graph, params, rest)(), (1, 1)) <= 1e-5


@pytest.mark.usefixtures("nnx_mode")
def test_the_verbs_on_models_know_it():
    kernel = make()
    before = jax.tree.map(np.array, jax.tree.leaves(nnx.state(kernel)))
    built = kernel()
    np.testing.assert_array_equal(gs.nn.materialize(kernel)(), built)
    np.testing.assert_array_equal(gs.nn.export(kernel)(), built)
    np.testing.assert_array_equal(gs.nn.refresh(kernel)(), built)
    np.testing.assert_array_equal(nnx.merge(*nnx.split(kernel))(), built)
    assert all(jax.tree.leaves(gs.nn.unconstrained_mask(kernel)))
    chex.assert_trees_all_equal(before, jax.tree.leaves(nnx.state(kernel)))
    by_nnx = nnx.grad(lambda kernel: jnp.sum(kernel() ** 3))(kernel)
    by_jax = jax.grad(lambda kernel: jnp.sum(kernel() ** 3))(kernel)
    for leaf, expected in zip(
        jax.tree.leaves(nnx.state(by_nnx, nnx.Param)),
        jax.tree.leaves(nnx.state(by_jax, nnx.Param)),
        strict=True,
    ):
        np.testing.assert_allclose(leaf, expected, atol=1e-6)


def test_the_second_call_is_not_compiled_again():
    traces = []

    @jax.jit
    def gradient(kernel):
        traces.append(1)
        return jax.grad(lambda kernel: jnp.sum(kernel() ** 3))(kernel)

    gradient(make(seed=0))
    gradient(make(seed=1))
    assert len(traces) == 1


def test_constructors_can_be_mapped_over_seeds():
    keys = jax.random.split(jax.random.key(0), 2)
    mapped = nnx.vmap(lambda kernel: kernel())(
        nnx.vmap(lambda key: make(seed=key))(keys)
    )
    alone = jnp.stack([make(seed=key)() for key in keys])
    np.testing.assert_allclose(mapped, alone, atol=2e-6)


def test_other_parametrizations_make_its_factors():
    rngs = nnx.Rngs(0)

    def svd(shape):
        return gs.nn.SVD(shape, radius=0.0, rngs=rngs)

    kernel = make(orthogonal=svd)
    assert defect(at_random(kernel, 1.0)(), (1, 1)) <= 1e-5
    # A frame of half the channels for each factor, and the last matrix.
    assert kernel.free_parameters == sum(
        svd(shape).free_parameters for shape in ((3, 4, 2), (4, 4))
    )


@pytest.mark.error_text
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shape": (3, 3)}, r"at least one axis of positions .* got \(3, 3\)"),
        ({"shape": (3, 0, 3)}, r"no size of 0, got \(3, 0, 3\)"),
        ({"shape": [3, 3, 3]}, "`shape` must be a tuple"),
        ({"shape": (3, 2.5, 3)}, "`shape` must hold sizes"),
        ({"shape": (2, 3, 4, 4), "strides": 3}, r"pixels are left out; got \(2, 3\)"),
        ({"strides": (1, 1, 1)}, r"`strides` must have 2 sizes"),
        ({"strides": 0}, "`strides` must be an integer >= 1"),
        ({"param_dtype": jnp.complex64}, "must be real here, got complex64"),
        ({"param_dtype": jnp.int32}, "must be a floating-point dtype, got int32"),
        ({"orthogonal": lambda shape: None}, "must make a Parametrization, got None"),
        (
            {"orthogonal": lambda shape: gs.nn.SVD(shape, rngs=nnx.Rngs(0))},
            "with singular values 1, got SVD of shape",
        ),
        (
            {"orthogonal": lambda shape: gs.nn.Householder((3, 3), rngs=nnx.Rngs(0))},
            r"must make matrices of shape \(3, 4, 2\)",
        ),
        (
            {
                "orthogonal": lambda shape: gs.nn.Householder(
                    shape, param_dtype=jnp.bfloat16, rngs=nnx.Rngs(0)
                )
            },
            "must make matrices of float32, .* got bfloat16",
        ),
    ],
)
def test_refuses_what_makes_no_such_kernel(arguments, message):
    with pytest.raises(ValueError, match=message):
        make(**arguments)
