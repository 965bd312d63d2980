from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import gradstab as gs
from tests.helpers import check_grads, primitives_in_scan, random_matrix

MAPS = {
    "ReLU": gs.nn.ReLU(),
    "ShiftedReLU": gs.nn.ShiftedReLU(0.1),
    "SoftThreshold": gs.nn.SoftThreshold(0.1),
    "HardThreshold": gs.nn.HardThreshold(0.02),
}
CONVEX = [name for name in MAPS if name != "HardThreshold"]
FORMS = ["structured", "dense"]
# Every map, and every form with a map that has a bound and with one that has none.
PAIRS = [
    *(pytest.param(name, "structured", id=name) for name in MAPS),
    *(
        pytest.param(name, "dense", id=f"{name}-dense")
        for name in ("ReLU", "HardThreshold")
    ),
]


class Identity(gs.nn.ProximalMap):
    """The proximal map of no penalty."""

    is_convex = True

    def __call__(self, z):
        return z

    def penalty(self, y):
        return jnp.zeros(y.shape[:-1], y.dtype)


def make(form="structured", d=6, n=10, seed=0, param_dtype=jnp.float32, **options):
    rngs = nnx.Rngs(seed)
    if form == "dense":
        options["matrix"] = gs.nn.Householder(
            (d, n), param_dtype=param_dtype, rngs=rngs
        )
    return gs.nn.ProximalBlock(d, n, rngs=rngs, param_dtype=param_dtype, **options)


def double(form="structured", **options):
    return make(form, param_dtype=jnp.float64, **options)


def draw(shape, seed=1, dtype="float64"):
    return random_matrix(seed, shape, dtype)


def reference(block, x):
    """The recursion and nothing else, with A multiplied out."""
    a = block.frame()
    y = jnp.zeros((*x.shape[:-1], block.code_features), x.dtype)
    for _ in range(block.steps):
        y = block.proximal(y + (x - y @ a.mT) @ a)
    return y


def path(block, x, steps):
    """y_1 .. y_T of a block whose own number of steps is not asked."""
    built = gs.nn.materialize(block)

    def advance(y, _):
        y = built.step(y, x)
        return y, (y, built.objective(y, x))

    start = jnp.zeros((*x.shape[:-1], block.code_features), x.dtype)
    _, (codes, values) = jax.lax.scan(advance, start, length=steps)
    return codes, jnp.concatenate([built.objective(start, x)[None], values])


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("steps", [1, 6])
@pytest.mark.parametrize(("name", "form"), PAIRS)
def test_it_is_the_recursion(name, form, steps):
    block = double(form, steps=steps, proximal=MAPS[name])
    x = draw((3, 2, 6))
    np.testing.assert_allclose(block(x), jax.jit(reference)(block, x), atol=1e-13)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("d", "n"), [(2, 2), (6, 10), (32, 64)])
def test_the_frame_has_orthonormal_rows(form, d, n):
    a = double(form, d=d, n=n).frame()
    assert a.shape == (d, n)
    np.testing.assert_allclose(a @ a.mT, np.eye(d), atol=1e-13)
    if form == "structured":
        lengths = np.linalg.norm(a, axis=0)
        np.testing.assert_allclose(lengths, (d / n) ** 0.5, atol=1e-13)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("name", "form"), PAIRS)
def test_the_objective_is_its_definition(name, form):
    block = double(form, proximal=MAPS[name])
    x, y = draw((4, 6)), jnp.abs(draw((4, 10), seed=2))
    misfit = jnp.sum((x - y @ block.frame().mT) ** 2, axis=-1) / 2
    expected = misfit + block.proximal.penalty(y)
    np.testing.assert_allclose(block.objective(y, x), expected, rtol=1e-13)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("name", "form"), PAIRS)
def test_no_step_ascends(name, form):
    block = double(form, d=16, n=32, proximal=MAPS[name])
    x = draw((5, 16))
    _, values = path(block, x, 1000)
    assert jnp.all(jnp.isfinite(values))
    assert jnp.max(jnp.diff(values, axis=0)) <= 1e-14
    assert jnp.all(values[-1] < 0.9 * values[0])


@pytest.mark.usefixtures("x64")
def test_of_a_longer_step_the_same_would_be_untrue():
    """The bound 1 is sharp: a matrix of norm 1.1 loses the descent."""
    block = double("dense", d=16, n=32, proximal=gs.nn.HardThreshold(0.02))
    x = draw((50, 16))
    a = 1.1 * block.frame()
    y, values = jnp.zeros((50, 32)), []
    for _ in range(20):
        y = block.proximal(y + (x - y @ a.mT) @ a)
        misfit = jnp.sum((x - y @ a.mT) ** 2, axis=-1) / 2
        values.append(misfit + block.proximal.penalty(y))
    assert jnp.max(jnp.diff(jnp.stack(values), axis=0)) > 1e-4


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", CONVEX)
def test_a_convex_objective_is_within_the_bound_of_every_code(name):
    block = double(d=16, n=32, proximal=MAPS[name])
    x = draw((5, 16))
    codes, values = path(block, x, 3000)
    others = [codes[-1], codes[20], jnp.abs(draw((5, 32), seed=3))]
    for other in others:
        gap = values[1:1001] - block.objective(other, x)[None]
        steps = jnp.arange(1.0, 1001)[:, None]
        bound = jnp.sum(other**2, axis=-1)[None] / (2 * steps)
        assert jnp.all(gap <= bound)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("name", "form"), PAIRS)
def test_one_step_of_a_square_matrix_is_exact(name, form):
    block = double(form, d=8, n=8, steps=6, proximal=MAPS[name])
    x = draw((3, 8))
    first = block.proximal(x @ block.frame())
    np.testing.assert_allclose(block(x), first, atol=1e-13)
    # h of a square orthogonal A minimizes each number by itself.
    others = first[None] + 0.1 * draw((200, 3, 8), seed=4)
    others = block.proximal(others)
    repeated = jnp.broadcast_to(x, others.shape)
    least = block.objective(first, x)[None]
    assert jnp.all(least <= block.objective(others, repeated))


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("steps", [1, 2, 9])
@pytest.mark.parametrize("form", FORMS)
def test_without_a_penalty_the_code_is_the_least_one_that_fits(form, steps):
    block = double(form, steps=steps, proximal=Identity())
    x = draw((3, 6))
    np.testing.assert_allclose(block(x), x @ block.frame(), atol=1e-13)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("name", "form"), PAIRS)
def test_no_step_enlarges_a_gradient(name, form):
    block = double(form, proximal=MAPS[name])
    x, codes = draw((20, 6)), draw((20, 10), seed=2)
    jacobians = jax.jit(jax.vmap(jax.jacrev(block.step)))(codes, x)
    assert jnp.max(jnp.linalg.norm(jacobians, 2, axis=(-2, -1))) <= 1 + 1e-12


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("steps", [2, 50])
@pytest.mark.parametrize("name", MAPS)
def test_the_sensitivity_to_the_input_is_below_the_root_of_the_steps(name, steps):
    block = double(d=8, n=16, steps=steps, proximal=MAPS[name])
    jacobians = jax.jit(jax.vmap(jax.jacrev(block)))(draw((50, 8)))
    norm = jnp.max(jnp.linalg.norm(jacobians, 2, axis=(-2, -1)))
    assert 0.5 < norm <= steps**0.5 + 1e-12


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("n", "bound"), [(16, 3.0), (8, 1.0)])
@pytest.mark.parametrize("name", CONVEX)
def test_the_certificates_hold_between_far_points(name, n, bound):
    block = double(d=8, n=n, steps=9, proximal=MAPS[name])
    assert block.lipschitz_bound == bound
    assert block.contraction_bound == 1
    x, other = 2 * draw((100, 8)), 2 * draw((100, 8), seed=2)
    y, code = draw((100, n), seed=3), draw((100, n), seed=4)

    def ratio(moved, by):
        return jnp.max(jnp.linalg.norm(moved, axis=-1) / jnp.linalg.norm(by, axis=-1))

    assert ratio(block(x) - block(other), x - other) <= bound
    assert ratio(block.step(y, x) - block.step(code, x), y - code) <= 1


def test_there_is_no_certificate_where_nothing_is_certain():
    assert make(proximal=MAPS["HardThreshold"]).contraction_bound is None
    assert make(proximal=MAPS["HardThreshold"]).lipschitz_bound is None
    assert make("dense").lipschitz_bound == 5**0.5
    for form in FORMS:
        assert gs.nn.materialize(make(form)).contraction_bound is None


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("name", "form"), PAIRS)
def test_gradients_agree_with_central_differences(name, form):
    block = double(form, d=4, n=6, steps=4, proximal=MAPS[name])
    graph, params, fixed = nnx.split(block, nnx.Param, ...)
    x = draw((3, 4))

    def loss(params, x):
        return jnp.sum(jnp.sin(nnx.merge(graph, params, fixed)(x)))

    # None of the numbers is so near a kink that a difference crosses it.
    check_grads(jax.jit(loss), (params, x), order=1, modes=["rev"])


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("form", FORMS)
def test_gradients_are_those_of_the_recursion(form):
    block = double(form, steps=6)
    x = draw((5, 6))
    by_scan = jax.jit(jax.grad(lambda b: jnp.sum(jnp.sin(b(x)))))(block)
    naive = jax.jit(jax.grad(lambda b: jnp.sum(jnp.sin(reference(b, x)))))(block)
    leaves = (jax.tree.leaves(nnx.state(g, nnx.Param)) for g in (by_scan, naive))
    for leaf, expected in zip(*leaves, strict=True):
        np.testing.assert_allclose(leaf, expected, atol=1e-12)
        assert jnp.max(jnp.abs(leaf)) > 0.01


@pytest.mark.parametrize("form", FORMS)
def test_nothing_is_built_inside_the_steps(form):
    """What loops is what loops without a build, and what the build itself loops."""

    def looped(function, *args):
        jaxpr = jax.make_jaxpr(jax.grad(lambda *args: jnp.sum(function(*args))))(*args)
        return Counter(primitives_in_scan(jaxpr.jaxpr))

    block, x = make(form), jnp.ones((2, 6))
    given = block.rotation if block.matrix is None else block.matrix
    steps = looped(lambda block: block(x), gs.nn.materialize(block))
    assert looped(lambda block: block(x), block) == steps + looped(lambda a: a(), given)
    assert steps["fft" if form == "structured" else "dot_general"] >= 4


@pytest.mark.parametrize("form", FORMS)
def test_dtype_is_kept(form, dtype):
    block = make(form, proximal=MAPS["ShiftedReLU"])
    x = draw((3, 6), dtype=dtype)
    assert block(x).dtype == dtype
    assert block.step(block(x), x).dtype == dtype
    assert block.objective(block(x), x).dtype == dtype
    assert make(form, param_dtype=dtype).frame().dtype == dtype


@pytest.mark.parametrize("low", [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("form", FORMS)
def test_low_precision_is_computed_in_float32_and_cast_once(form, low):
    block = make(form)
    x = draw((3, 6), dtype=low)
    assert block(x).dtype == low
    expected = block(x.astype(jnp.float32)).astype(low)
    np.testing.assert_array_equal(block(x), expected)


@pytest.mark.parametrize("form", FORMS)
def test_vmap_is_a_loop_and_batches_are_any(form):
    block = make(form)
    x = draw((2, 3, 6), dtype="float32")
    alone = jax.jit(block)
    loop = jnp.stack([jnp.stack([alone(one) for one in row]) for row in x])
    np.testing.assert_allclose(block(x), loop, atol=1e-6)
    np.testing.assert_allclose(jax.vmap(block)(x), loop, atol=1e-6)
    assert block(x[:0]).shape == (0, 3, 10)


@pytest.mark.parametrize("form", FORMS)
def test_the_second_call_is_not_compiled_again(form):
    traces = []

    @jax.jit
    def gradient(block, x):
        traces.append(1)
        return jax.grad(lambda block: jnp.sum(block(x)))(block)

    gradient(make(form, seed=0, proximal=gs.nn.SoftThreshold(0.2)), jnp.ones((2, 6)))
    gradient(make(form, seed=1, proximal=gs.nn.SoftThreshold(0.2)), jnp.ones((2, 6)))
    assert len(traces) == 1


@pytest.mark.usefixtures("nnx_mode")
@pytest.mark.parametrize("form", FORMS)
def test_works_in_both_nnx_modes(form):
    block, x = make(form), draw((4, 6), dtype="float32")

    def loss(block):
        return jnp.sum(block(x) ** 2)

    by_nnx = nnx.jit(nnx.grad(loss))(block)
    by_jax = jax.jit(jax.grad(loss))(block)
    for leaf, expected in zip(
        jax.tree.leaves(nnx.state(by_nnx, nnx.Param)),
        jax.tree.leaves(nnx.state(by_jax, nnx.Param)),
        strict=True,
    ):
        np.testing.assert_allclose(leaf, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.usefixtures("nnx_mode")
@pytest.mark.parametrize("form", FORMS)
def test_the_verbs_of_whole_models(form):
    block, x = make(form), draw((4, 6), dtype="float32")
    codes = block(x)
    np.testing.assert_array_equal(gs.nn.materialize(block)(x), codes)
    np.testing.assert_allclose(gs.nn.refresh(block)(x), codes, atol=1e-6)
    with pytest.warns(UserWarning, match="ProximalBlock keep their class"):
        exported = gs.nn.export(block)
    np.testing.assert_array_equal(exported(x), codes)
    assert all(jax.tree.leaves(gs.nn.unconstrained_mask(block)))
    assert not any(jax.tree.leaves(gs.nn.unconstrained_mask(exported)))
    (weight,) = jax.tree.leaves(nnx.state(exported, nnx.Param))
    assert weight.shape == {"structured": (6, 6), "dense": (6, 10)}[form]


def test_the_fixed_part_is_no_parameter_and_decay_spares_it():
    block, x = make(), draw((4, 6), dtype="float32")
    assert set(nnx.to_pure_dict(nnx.state(block, nnx.Param))) == {"rotation"}
    assert block.frequencies is not None
    block.frequencies[...] = 0.5 * block.frequencies[...]
    np.testing.assert_array_equal(block(x), make()(x))


def test_a_forward_pass_changes_nothing():
    block = make()
    before = jax.tree.map(np.array, jax.tree.leaves(nnx.state(block)))
    block(jnp.ones((2, 6)))
    for leaf, old in zip(jax.tree.leaves(nnx.state(block)), before, strict=True):
        np.testing.assert_array_equal(leaf, old)


@pytest.mark.parametrize("kind", [gs.nn.Exponential, gs.nn.ScaledCayley])
def test_any_rotation_will_do(kind):
    rotation = kind((6, 6), rngs=nnx.Rngs(3))
    block = make(rotation=rotation)
    a = block.frame()
    np.testing.assert_allclose(a @ a.mT, np.eye(6), atol=1e-6)
    # The same A but for Q, which multiplies from the left, transposed.
    fixed = rotation() @ a
    expected = make().rotation
    assert expected is not None
    np.testing.assert_allclose(fixed, expected() @ make().frame(), atol=1e-6)


@pytest.mark.parametrize(("name", "form"), PAIRS)
def test_a_zero_has_the_code_zero_and_a_finite_gradient(name, form):
    block = make(form, proximal=MAPS[name])
    zero = jnp.zeros((2, 6))
    np.testing.assert_array_equal(block(zero), jnp.zeros((2, 10)))
    gradient = jax.jit(jax.grad(lambda block, x: jnp.sum(block(x)), (0, 1)))(
        block, zero
    )
    assert all(jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(gradient))


@pytest.mark.parametrize(("name", "form"), PAIRS)
def test_what_is_not_finite_stays_in_its_sample(name, form):
    block = jax.jit(make(form, proximal=MAPS[name]))
    x = draw((4, 6), dtype="float32")
    codes = block(x.at[1, 2].set(jnp.nan).at[2, 1].set(jnp.inf))
    assert not jnp.all(jnp.isfinite(codes[1]))
    assert not jnp.all(jnp.isfinite(codes[2]))
    np.testing.assert_array_equal(codes[::3], block(x)[::3])


@pytest.mark.error_text
@pytest.mark.parametrize(
    ("d", "n", "options", "message"),
    [
        (0, 4, {}, "`in_features` must be an integer >= 1, got 0"),
        (4, 0, {}, "`code_features` must be an integer >= 1, got 0"),
        (4, 8, {"steps": 0}, "`steps` must be an integer >= 1, got 0"),
        (6, 4, {}, "`code_features` must be at least `in_features`, 6, got 4"),
        (5, 8, {}, r"must be even .* got 5 and 8; pass `matrix=Householder\(\(5, 8\)"),
        (4, 7, {}, r"must be even .* got 4 and 7; pass `matrix=Householder\(\(4, 7\)"),
        (4, 8, {"proximal": jax.nn.relu}, "`proximal` must be a ProximalMap"),
    ],
)
def test_what_makes_no_block_is_refused(d, n, options, message):
    with pytest.raises(ValueError, match=message):
        gs.nn.ProximalBlock(d, n, rngs=nnx.Rngs(0), **options)


@pytest.mark.error_text
@pytest.mark.parametrize("name", ["matrix", "rotation"])
def test_what_has_no_orthonormal_rows_is_refused(name):
    rngs = nnx.Rngs(0)
    shape = {"matrix": (4, 8), "rotation": (4, 4)}[name]
    cases = [
        (nnx.Param(jnp.zeros(shape)), "must be a Parametrization, got Param"),
        (gs.nn.Householder((8, 4), rngs=rngs), r"must have shape \(4, .*\(8, 4\)"),
        (
            gs.nn.Householder(shape, param_dtype=jnp.complex64, rngs=rngs),
            "must be real, got complex64",
        ),
        (
            gs.nn.SVD(shape, rngs=rngs),
            r"singular values of 1, got SVD .* \(0\.9, 1\.1\); use Householder",
        ),
    ]
    for given, message in cases:
        with pytest.raises(ValueError, match=f"`{name}` {message}|`{name}`.*{message}"):
            gs.nn.ProximalBlock(4, 8, rngs=rngs, **{name: given})


@pytest.mark.error_text
def test_one_matrix_is_enough():
    rngs = nnx.Rngs(0)
    with pytest.raises(ValueError, match="`rotation` must be None where `matrix`"):
        make("dense", rotation=gs.nn.Cayley((6, 6), rngs=rngs))


@pytest.mark.error_text
@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (jnp.ones((3, 5)), r"6 features on the last axis, got shape \(3, 5\)"),
        (jnp.ones(()), r"6 features on the last axis, got shape \(\)"),
        (jnp.ones((3, 6), jnp.int32), "real floating-point dtype, got int32"),
        (jnp.ones((3, 6), jnp.complex64), "real floating-point dtype, got complex64"),
    ],
)
def test_what_are_no_inputs_is_refused(inputs, message):
    with pytest.raises(ValueError, match=message):
        make()(inputs)
