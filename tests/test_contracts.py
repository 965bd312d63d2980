"""What every parametrization must keep, one table of maps against one of promises."""

import inspect

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import gradstab as gs
from tests.helpers import RATIO_LIMIT, check_grads, orthogonality_ratio

# name -> (constructor, shape); together they take every branch of the constructors.
MAPS = {
    "Unconstrained": (gs.nn.Unconstrained, (6, 6)),
    "Cayley": (gs.nn.Cayley, (6, 6)),
    "ScaledCayley": (gs.nn.ScaledCayley, (6, 6)),
    "NeumannCayley": (gs.nn.NeumannCayley, (6, 6)),
    "Exponential": (gs.nn.Exponential, (6, 6)),
    "Householder": (gs.nn.Householder, (6, 6)),
    "Householder tall": (gs.nn.Householder, (7, 4)),
    "Householder wide": (gs.nn.Householder, (4, 7)),
    "SVD": (gs.nn.SVD, (6, 6)),
    "SVD tall": (gs.nn.SVD, (7, 4)),
    "SVD wide": (gs.nn.SVD, (4, 7)),
    "SpectralNormalized": (gs.nn.SpectralNormalized, (6, 4)),
    "EigenvalueNormalized": (gs.nn.EigenvalueNormalized, (6, 6)),
    "SpectralClipped": (gs.nn.SpectralClipped, (6, 4)),
}
CONSTRUCTORS = list(dict.fromkeys(constructor for constructor, _ in MAPS.values()))


@pytest.fixture(params=MAPS, ids=lambda name: name.replace(" ", "-"))
def make(request):
    constructor, shape = MAPS[request.param]

    def build(seed=0, stack=(), **options):
        return constructor((*stack, *shape), rngs=nnx.Rngs(seed), **options)

    return build


def assert_in_set(parametrization, matrix):
    low, high = parametrization.singular_value_bounds
    if (low, high) == (1.0, 1.0):
        assert orthogonality_ratio(matrix) <= RATIO_LIMIT
    values = np.linalg.svd(np.asarray(matrix, np.complex128), compute_uv=False)
    slack = RATIO_LIMIT * max(matrix.shape) * float(jnp.finfo(matrix.dtype).eps)
    assert np.all(np.isfinite(values))
    assert values.min() >= low - slack
    assert values.max() <= high + slack


def at_random(parametrization, scale, seed=1):
    """Replaces every coordinate by a normal number."""
    state = nnx.state(parametrization, nnx.Param)
    leaves, tree = jax.tree.flatten(state)
    keys = jax.random.split(jax.random.key(seed), len(leaves))
    drawn = [
        scale * jax.random.normal(key, leaf.shape, leaf.dtype)
        for key, leaf in zip(keys, leaves, strict=True)
    ]
    nnx.update(parametrization, jax.tree.unflatten(tree, drawn))
    return parametrization


def squares(parametrization):
    weights = jnp.arange(parametrization().size, dtype=parametrization().dtype)
    return jnp.sum(weights.reshape(parametrization.shape) * parametrization() ** 2)


@pytest.mark.parametrize("scale", [0.0, 1.0, 10.0])
def test_every_value_of_the_coordinates_gives_a_matrix_of_the_set(make, scale):
    parametrization = at_random(make(), scale)
    assert_in_set(parametrization, parametrization())


def test_starts_in_the_set_with_the_shape_and_dtype_asked_for(make, any_dtype):
    parametrization = make(param_dtype=any_dtype)
    matrix = parametrization()
    assert matrix.shape == parametrization.shape
    assert matrix.dtype == any_dtype
    assert_in_set(parametrization, matrix)


@pytest.mark.parametrize("low", [jnp.bfloat16, jnp.float16])
def test_low_precision_is_computed_in_float32_and_cast_once(make, low):
    parametrization, single = make(param_dtype=low), make()
    for leaf in jax.tree.leaves(nnx.state(parametrization)):
        assert leaf.dtype == jnp.float32
    assert parametrization().dtype == low
    np.testing.assert_array_equal(parametrization(), single().astype(low))


def test_gradient_is_finite_and_agrees_with_central_differences(make):
    with jax.enable_x64(True):
        parametrization = at_random(make(param_dtype=jnp.float64), 0.5)
        graph, params, rest = nnx.split(parametrization, nnx.Param, ...)

        def loss(params):
            return squares(nnx.merge(graph, params, rest))

        check_grads(loss, (params,), order=1, modes=["rev"])


def test_gradient_is_finite_at_zero_coordinates(make):
    gradient = jax.grad(squares)(at_random(make(), 0.0))
    for leaf in jax.tree.leaves(gradient):
        assert np.all(np.isfinite(leaf))


def test_assign_gives_back_the_matrix_of_another_instance(make, any_dtype):
    source = at_random(make(param_dtype=any_dtype), 1.0)
    target = make(seed=5, param_dtype=any_dtype)
    # A Cayley transform or an exponential keeps its component: give it that one.
    matrix = source()
    target.assign(matrix)
    limit = 100 * max(matrix.shape) * float(jnp.finfo(any_dtype).eps)
    np.testing.assert_allclose(target(), matrix, atol=limit)


def test_takes_an_initializer_of_its_matrix(make):
    if "matrix_init" not in inspect.signature(make().__class__).parameters:
        pytest.skip("draws its coordinates")
    parametrization = make(matrix_init=nnx.initializers.normal())
    assert_in_set(parametrization, parametrization())
    assert not np.allclose(parametrization(), make()())


@pytest.mark.parametrize("value", [jnp.nan, jnp.inf])
def test_a_number_that_is_not_finite_stays_visible_in_large_matrices(make, value):
    # Reductions of 4096 numbers and more are another code path on a CPU.
    kind, (rows, columns) = make().__class__, make().shape
    large = kind((3, 12 * rows, 12 * columns), rngs=nnx.Rngs(0))
    state = nnx.state(large, nnx.Param)
    state = jax.tree.map(lambda x: x.at[(1, *[-1] * (x.ndim - 2), 0)].set(value), state)
    nnx.update(large, state)
    matrices = large()
    assert not np.all(np.isfinite(matrices[1]))
    assert np.all(np.isfinite(matrices[::2]))


def test_a_forward_pass_changes_nothing(make):
    parametrization = make()
    before = jax.tree.map(np.array, jax.tree.leaves(nnx.state(parametrization)))
    first = parametrization()
    chex.assert_trees_all_equal(first, parametrization())
    chex.assert_trees_all_equal(before, jax.tree.leaves(nnx.state(parametrization)))


def test_a_stack_is_separate_matrices(make):
    stacked = make(stack=(2, 3))
    assert stacked().shape == stacked.shape
    graph, state = nnx.split(make())
    for place in np.ndindex(2, 3):
        alone = nnx.merge(
            graph, jax.tree.map(lambda leaf, at=place: leaf[at], nnx.state(stacked))
        )
        np.testing.assert_allclose(stacked()[place], alone(), atol=2e-6)
    assert not np.allclose(stacked()[0, 0], stacked()[0, 1])


def test_constructors_can_be_mapped_over_seeds(make):
    keys = jax.random.split(jax.random.key(0), 3)
    mapped = nnx.vmap(lambda parametrization: parametrization())(nnx.vmap(make)(keys))
    alone = jnp.stack([make(key)() for key in keys])
    np.testing.assert_allclose(mapped, alone, atol=2e-6)


def test_the_second_call_is_not_compiled_again(make):
    traces = []

    @jax.jit
    def gradient(parametrization):
        traces.append(1)
        return jax.grad(squares)(parametrization)

    gradient(make(seed=0))
    gradient(make(seed=1))
    assert len(traces) == 1


@pytest.mark.usefixtures("nnx_mode")
def test_works_in_both_nnx_modes(make):
    parametrization = make()
    by_jax = jax.jit(jax.grad(squares))(parametrization)
    by_nnx = nnx.grad(squares)(parametrization)
    for leaf, expected in zip(
        jax.tree.leaves(nnx.state(by_nnx, nnx.Param)),
        jax.tree.leaves(nnx.state(by_jax, nnx.Param)),
        strict=True,
    ):
        np.testing.assert_allclose(leaf, expected, rtol=1e-4, atol=1e-3)


def test_survives_split_merge_checkpoint_and_clone(make):
    parametrization = make()
    merged = nnx.merge(*nnx.split(parametrization))
    np.testing.assert_array_equal(merged(), parametrization())
    plain = jax.jit(lambda p: p())(parametrization)
    remat = jax.jit(jax.checkpoint(lambda p: p()))(parametrization)
    np.testing.assert_allclose(remat, plain, atol=1e-6)


def test_the_constraint_outlives_adamw_with_weight_decay(make):
    parametrization = make()
    graph, params, rest = nnx.split(parametrization, nnx.Param, ...)
    optimizer = optax.adamw(1e-2, weight_decay=0.1)
    target = jax.random.normal(jax.random.key(3), parametrization.shape)

    def loss(params):
        return jnp.sum((nnx.merge(graph, params, rest)() - target) ** 2)

    def step(carry, _):
        params, state = carry
        updates, state = optimizer.update(jax.grad(loss)(params), state, params)
        return (optax.apply_updates(params, updates), state), None

    start = (params, optimizer.init(params))
    with jax.numpy_dtype_promotion("standard"):  # optax multiplies by int32 counts
        (params, _), _ = jax.jit(lambda c: jax.lax.scan(step, c, length=1000))(start)
    trained = nnx.merge(graph, params, rest)
    assert_in_set(trained, trained())
    assert not np.allclose(trained(), parametrization(), atol=0.01)


def test_decay_of_every_leaf_leaves_the_signs(make):
    parametrization = make()
    shrunk = jax.tree.map(lambda leaf: 0.9 * leaf, parametrization)
    if not isinstance(parametrization, gs.nn.Exponential):
        assert_in_set(shrunk, shrunk())


def test_not_a_number_is_not_laundered(make):
    parametrization = make()
    spoilt = jax.tree.map(lambda leaf: jnp.full_like(leaf, jnp.nan), parametrization)
    assert not np.any(np.isfinite(spoilt()))


@pytest.mark.error_text
def test_rejects_dtypes_it_cannot_hold(make):
    with pytest.raises(ValueError, match="must be a floating-point dtype, got int32"):
        make(param_dtype=jnp.int32)
    with (
        jax.enable_x64(False),
        pytest.raises(ValueError, match="float64 needs double .*jax_enable_x64"),
    ):
        make(param_dtype=jnp.float64)


@pytest.mark.error_text
def test_assign_rejects_what_does_not_fit(make):
    parametrization = make()
    rows, columns = parametrization.shape
    with pytest.raises(ValueError, match=r"must have shape .* got \(9, 9\)"):
        parametrization.assign(jnp.eye(9))
    with pytest.raises(ValueError, match="must have a floating-point dtype, got int32"):
        parametrization.assign(jnp.ones((rows, columns), jnp.int32))
    with pytest.raises(ValueError, match="must be real .* got complex64"):
        parametrization.assign(jnp.ones((rows, columns), jnp.complex64))
    with pytest.raises(ValueError, match="must be finite"):
        parametrization.assign(jnp.full((rows, columns), jnp.nan))


@pytest.mark.error_text
def test_rejects_coordinates_of_another_shape(make):
    parametrization = make()
    nnx.update(parametrization, nnx.state(make(stack=(2,))))
    with pytest.raises(ValueError, match=r"shape .* \(2, "):
        parametrization()


@pytest.mark.error_text
@pytest.mark.parametrize("shape", [(), (3,), [3, 3], (3, -1), (3, 2.5)])
@pytest.mark.parametrize("constructor", CONSTRUCTORS)
def test_rejects_what_is_no_shape(constructor, shape):
    with pytest.raises(ValueError, match="`shape` must"):
        constructor(shape, rngs=nnx.Rngs(0))


@pytest.mark.parametrize("n", [0, 1])
@pytest.mark.parametrize("constructor", CONSTRUCTORS)
def test_empty_and_scalar_matrices(constructor, n):
    parametrization = constructor((n, n), rngs=nnx.Rngs(0))
    gradient = jax.grad(lambda p: jnp.sum(p() ** 2))(parametrization)
    assert parametrization().shape == (n, n)
    assert_in_set(parametrization, parametrization()) if n else None
    for leaf in jax.tree.leaves(gradient):
        assert np.all(np.isfinite(leaf))


def test_takes_back_its_own_matrix_in_low_precision(make):
    for low in (jnp.bfloat16, jnp.float16):
        parametrization = make(param_dtype=low)
        matrix = parametrization()
        parametrization.assign(matrix)
        error = jnp.max(jnp.abs(parametrization() - matrix))
        assert float(error) <= 4 * float(jnp.finfo(low).eps)


def test_assigning_under_jit_is_assigning(make):
    target = make()()

    @jax.jit
    def assigned(matrix):
        parametrization = make()
        parametrization.assign(matrix)
        return parametrization()

    np.testing.assert_allclose(assigned(target), target, atol=1e-5)


def test_what_cannot_be_assigned_under_jit_is_not_a_number(make):
    if isinstance(make(), gs.nn.Unconstrained):
        pytest.skip("its set is everything")

    @jax.jit
    def assigned(matrix):
        parametrization = make()
        parametrization.assign(matrix)
        return parametrization()

    outside = 3 + jnp.arange(np.prod(make().shape), dtype=jnp.float32)
    assert np.all(np.isnan(assigned(outside.reshape(make().shape))))


def test_assigning_copies(make):
    matrix = make()()
    parametrization = make()
    parametrization.assign(matrix)
    pointers = {
        leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves(parametrization)
    }
    assert matrix.unsafe_buffer_pointer() not in pointers


@pytest.mark.parametrize(
    "optimizer",
    [
        optax.lion(1e-2, weight_decay=0.1),
        optax.chain(optax.add_decayed_weights(0.5), optax.sgd(1e-2)),
    ],
    ids=["lion", "decayed sgd"],
)
def test_the_constraint_outlives_other_optimizers(make, optimizer):
    parametrization = make()
    graph, params, rest = nnx.split(parametrization, nnx.Param, ...)

    def loss(params):
        return jnp.sum((nnx.merge(graph, params, rest)() - 1) ** 2)

    def step(carry, _):
        params, state = carry
        gradient = jax.grad(loss)(params)
        updates, state = optimizer.update(gradient, state, params)
        return (optax.apply_updates(params, updates), state), None

    start = (params, optimizer.init(params))
    with jax.numpy_dtype_promotion("standard"):
        (params, _), _ = jax.jit(lambda c: jax.lax.scan(step, c, length=1000))(start)
    trained = nnx.merge(graph, params, rest)
    assert_in_set(trained, trained())


@pytest.mark.parametrize(
    ("make", "base"),
    [
        (gs.nn.Unconstrained, lambda p: jnp.zeros((5, 5))),
        (gs.nn.Cayley, lambda p: jnp.eye(5)),
        (gs.nn.ScaledCayley, lambda p: jnp.diag(p.signs[...])),
        (gs.nn.Exponential, lambda p: p.base[...]),
        (gs.nn.Householder, lambda p: jnp.diag(p.signs[...])),
        (gs.nn.SVD, lambda p: jnp.eye(5)),
        (gs.nn.SpectralNormalized, lambda p: jnp.zeros((5, 5))),
    ],
)
def test_zero_coordinates_give_exactly_the_base(make, base):
    parametrization = at_random(make((5, 5), rngs=nnx.Rngs(0)), 0.0)
    np.testing.assert_array_equal(parametrization(), base(parametrization))
