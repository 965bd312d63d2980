import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import gradstab as gs
from gradstab.dynamics import (
    GradientFlow,
    GradientFlowEncoder,
    MinimizeDistance,
    NesterovFlow,
)
from tests.helpers import check_grads, random_matrix

PATIENT = MinimizeDistance(tolerance=1e-12, max_steps=2000, growth=1.5)
ADJOINTS = ["truncated", "full"]


def half_square(made, target):
    return jnp.sum((made - target) ** 2) / 2


class Decoder(nnx.Module):
    """A hidden layer of ELUs."""

    def __init__(self, dtype=jnp.float32, *, rngs):
        self.first = nnx.Linear(3, 5, param_dtype=dtype, rngs=rngs)
        self.second = nnx.Linear(5, 6, param_dtype=dtype, rngs=rngs)

    def __call__(self, code):
        return self.second(jax.nn.elu(self.first(code)))


def encoder_of(decoder=None, **options):
    decoder = decoder or Decoder(rngs=nnx.Rngs(0))
    return GradientFlowEncoder(decoder, half_square, code_features=3, **options)


def linear(matrix, **options):
    return encoder_of(lambda code: matrix @ code, **options)


def samples(count=4, dtype=jnp.float32):
    return random_matrix(7, (count, 6), dtype)


def test_a_linear_decoder_is_inverted():
    with jax.enable_x64(True):
        matrix, targets = random_matrix(0, (6, 3), jnp.float64), samples(4, jnp.float64)
        found = jax.jit(lambda: linear(matrix, descent=PATIENT).encode(targets))()
        expected = np.linalg.lstsq(matrix, targets.mT)[0].T
        np.testing.assert_allclose(found.code, expected, atol=1e-5)
        assert np.all(found.is_converged)
        assert np.all(found.gradient_norm <= 1e-6)
        left = 0.5 * np.sum((targets - expected @ matrix.mT) ** 2, axis=1)
        np.testing.assert_allclose(found.loss, left, atol=1e-9)


@pytest.mark.parametrize("adjoint", ADJOINTS)
def test_loss_and_call_are_parts_of_encode(adjoint):
    encoder, targets = encoder_of(adjoint=adjoint), samples()
    found, codes, losses = jax.jit(
        lambda y: (encoder.encode(y), encoder(y), encoder.loss(y))
    )(targets)
    np.testing.assert_allclose(codes, found.code, rtol=1e-6)
    np.testing.assert_allclose(losses, found.loss, rtol=1e-6)
    made = jax.vmap(encoder.decoder)(found.code)
    expected = [half_square(one, y) for one, y in zip(made, targets, strict=True)]
    np.testing.assert_allclose(found.loss, expected, rtol=1e-5)


def test_the_truncated_adjoint_holds_the_code():
    matrix, targets = random_matrix(0, (6, 3), jnp.float32), samples()
    codes = linear(matrix)(targets)

    def total(matrix, targets):
        return jnp.sum(linear(matrix).loss(targets))

    def held(matrix, targets):
        return half_square(codes @ matrix.mT, targets)

    found = jax.grad(total, (0, 1))(matrix, targets)
    expected = jax.grad(held, (0, 1))(matrix, targets)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    gradient = jax.grad(lambda m: jnp.sum(linear(m)(targets)))(matrix)
    np.testing.assert_array_equal(gradient, jnp.zeros_like(matrix))


def test_the_full_adjoint_has_the_derivative_of_central_differences():
    with jax.enable_x64(True):
        targets = samples(2, jnp.float64)
        start = random_matrix(3, (2, 3), jnp.float64)
        graph, params = nnx.split(Decoder(jnp.float64, rngs=nnx.Rngs(0)))
        descent = MinimizeDistance(first_step=2.0, max_steps=12)

        def both(params, targets, start):
            decoder = nnx.merge(graph, params)
            encoder = encoder_of(decoder, descent=descent, adjoint="full")
            found = encoder.encode(targets, start)
            return jnp.sum(found.loss), jnp.sum(jnp.sin(found.code))

        check_grads(jax.jit(both), (params, targets, start), order=1, modes=["rev"])


def test_the_adjoints_agree_where_the_loss_is_flat():
    with jax.enable_x64(True):
        targets = samples(3, jnp.float64)
        graph, params = nnx.split(Decoder(jnp.float64, rngs=nnx.Rngs(0)))
        gaps, norms = [], []
        for steps in (5, 100, 1000):
            descent = MinimizeDistance(tolerance=0.0, max_steps=steps)

            def total(params, adjoint, descent=descent):
                decoder = nnx.merge(graph, params)
                encoder = encoder_of(decoder, descent=descent, adjoint=adjoint)
                found = encoder.encode(targets)
                return jnp.sum(found.loss), jnp.max(found.gradient_norm)

            (one, norm), (other, _) = (
                jax.jit(jax.grad(total, has_aux=True), static_argnums=1)(params, kind)
                for kind in ADJOINTS
            )
            size = max(float(jnp.max(jnp.abs(x))) for x in jax.tree.leaves(other))
            gap = jax.tree.map(lambda x, y: jnp.max(jnp.abs(x - y)), one, other)
            gaps.append(max(map(float, jax.tree.leaves(gap))) / size)
            norms.append(float(norm))
        assert gaps[0] > 0.05
        assert np.all(np.diff(gaps) < 0)
        assert np.all(np.diff(norms) < 0)
        assert gaps[-1] < 1e-3 * gaps[0]


def test_flows_have_both_adjoints():
    matrix, targets = random_matrix(0, (6, 3), jnp.float32), samples(2)

    def total(matrix, adjoint):
        descent = GradientFlow(duration=0.5)
        found = linear(matrix, descent=descent, adjoint=adjoint).encode(targets)
        return jnp.sum(found.loss), (jnp.sum(found.loss), found.code)

    gradient = jax.jit(jax.grad(total, has_aux=True), static_argnums=1)
    truncated, (_, codes) = gradient(matrix, "truncated")
    full, (_, same) = gradient(matrix, "full")
    np.testing.assert_array_equal(same, codes)
    held = jax.grad(lambda matrix: half_square(codes @ matrix.mT, targets))(matrix)
    np.testing.assert_allclose(truncated, held, rtol=1e-4, atol=1e-5)

    # Along a direction, by differences of the whole.
    direction = random_matrix(5, (6, 3), jnp.float32)
    up, down = (
        float(gradient(matrix + step * direction, "truncated")[1][0])
        for step in (0.01, -0.01)
    )
    slope = (up - down) / 0.02
    assert float(jnp.vdot(full, direction)) == pytest.approx(slope, rel=1e-2)
    assert float(jnp.vdot(held, direction)) != pytest.approx(slope, rel=1e-1)


@pytest.mark.parametrize("adjoint", ADJOINTS)
@pytest.mark.parametrize("other", [100.0, jnp.nan, jnp.inf])
def test_a_code_does_not_depend_on_the_other_samples(other, adjoint):
    encoder, targets = encoder_of(adjoint=adjoint), samples()
    encode = jax.jit(encoder.encode)
    mixed = encode(targets.at[1].set(other))
    kept = jnp.asarray([0, 2, 3])
    for one, all_ in zip(mixed, encode(targets), strict=True):
        np.testing.assert_array_equal(one[kept], all_[kept])
    alone = jnp.concatenate([encode(target[None]).code for target in targets])
    np.testing.assert_allclose(encode(targets).code, alone, rtol=1e-4, atol=1e-4)
    if not np.isfinite(other):
        assert np.all(np.isnan(mixed.code[1]))
        assert not np.isfinite(mixed.loss[1])
        assert not mixed.is_converged[1]


@pytest.mark.parametrize("kind", [GradientFlow, NesterovFlow])
def test_not_a_number_stays_in_its_sample(kind):
    encoder = encoder_of(descent=kind(duration=1.0))
    found = jax.jit(encoder.encode)(samples(3).at[1, 0].set(jnp.nan))
    is_finite = np.isfinite(found.code)
    assert np.all(is_finite == np.asarray([[True], [False], [True]]))
    assert found.is_converged.tolist() == [True, False, True]


def test_not_a_number_stays_in_the_gradient():
    encoder = encoder_of(descent=MinimizeDistance(max_steps=3), adjoint="full")
    targets = samples(2).at[0, 0].set(jnp.nan)
    gradient = jax.grad(lambda encoder: jnp.sum(encoder(targets)))(encoder)
    for leaf in jax.tree.leaves(nnx.state(gradient, nnx.Param)):
        assert not np.all(np.isfinite(leaf))


def test_starts_where_it_is_told():
    matrix, targets = random_matrix(0, (6, 3), jnp.float32), samples()
    start = random_matrix(1, (4, 3), jnp.float32)
    encoder = linear(matrix, descent=MinimizeDistance(max_steps=1, first_step=1e-3))
    step = 1e-3 * (start @ matrix.mT - targets) @ matrix
    np.testing.assert_allclose(encoder(targets, start), start - step, atol=1e-5)
    np.testing.assert_allclose(encoder(targets), 1e-3 * targets @ matrix, atol=1e-5)
    np.testing.assert_array_equal(encoder(targets), encoder(targets, 0 * start))


def test_keeps_the_dtype(dtype):
    found = encoder_of(Decoder(dtype, rngs=nnx.Rngs(0))).encode(samples(2, dtype))
    for one in (found.code, found.loss, found.gradient_norm):
        assert one.dtype == dtype


@pytest.mark.parametrize("low", [jnp.bfloat16, jnp.float16])
def test_low_precision_is_computed_in_float32(low):
    encoder, targets = encoder_of(), samples(2, low)
    wide = encoder.encode(targets.astype(jnp.float32))
    narrow = encoder.encode(targets)
    np.testing.assert_array_equal(narrow.code, wide.code.astype(low))
    np.testing.assert_array_equal(narrow.loss, wide.loss.astype(low))


def test_takes_trees_and_whole_numbers():
    targets = {"pixels": jnp.arange(12).reshape(2, 6), "mask": np.ones((2, 6), bool)}

    def masked(made, target):
        return jnp.sum(jnp.where(target["mask"], made - target["pixels"] / 12, 0) ** 2)

    matrix = random_matrix(0, (6, 3), jnp.float32)
    encoder = GradientFlowEncoder(lambda z: matrix @ z, masked, code_features=3)
    codes = encoder(targets)
    assert codes.dtype == jnp.float32
    targets["mask"][:, 3:] = False
    assert not np.allclose(encoder(targets), codes)


def test_no_samples_have_no_codes():
    found = encoder_of().encode(jnp.zeros((0, 6)))
    assert found.code.shape == (0, 3)
    assert found.loss.shape == found.accepted.shape == (0,)


def test_stacks_of_batches_are_mapped():
    encoder, targets = encoder_of(), random_matrix(0, (2, 3, 6), jnp.float32)
    encode = jax.jit(encoder)
    mapped = jax.vmap(encode)(targets)
    loop = jnp.stack([encode(batch) for batch in targets])
    np.testing.assert_allclose(mapped, loop, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("adjoint", ADJOINTS)
def test_the_second_call_is_not_compiled_again(adjoint):
    traces = []

    @jax.jit
    def gradient(encoder, targets):
        traces.append(1)
        return jax.grad(lambda encoder: jnp.mean(encoder.loss(targets)))(encoder)

    for seed in (0, 1):
        decoder = Decoder(rngs=nnx.Rngs(seed))
        descent = MinimizeDistance(max_steps=3)
        gradient(encoder_of(decoder, descent=descent, adjoint=adjoint), samples())
    assert len(traces) == 1


@pytest.mark.usefixtures("nnx_mode")
def test_works_in_both_nnx_modes():
    encoder, targets = encoder_of(), samples()

    def total(encoder):
        return jnp.sum(encoder.loss(targets))

    before = jax.tree.map(np.array, jax.tree.leaves(nnx.state(encoder)))
    by_jax, by_nnx = jax.grad(total)(encoder), nnx.grad(total)(encoder)
    leaves = jax.tree.leaves(nnx.state(by_nnx, nnx.Param))
    assert len(leaves) == 4
    for leaf, expected in zip(
        leaves, jax.tree.leaves(nnx.state(by_jax, nnx.Param)), strict=True
    ):
        np.testing.assert_allclose(leaf, expected, rtol=1e-4, atol=1e-5)
    after = jax.tree.leaves(nnx.state(encoder))
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("adjoint", ADJOINTS)
def test_matrices_are_built_once(adjoint):
    built = []

    class Counted(gs.nn.Unconstrained):
        def __call__(self):
            built.append(1)
            return super().__call__()

    rngs = nnx.Rngs(0)
    kernel = Counted((3, 6), rngs=rngs)
    decoder = gs.nn.Linear(3, 6, kernel=kernel, rngs=rngs)
    built.clear()
    encoder = encoder_of(decoder, adjoint=adjoint)
    jax.grad(lambda encoder: jnp.sum(encoder.loss(samples())))(encoder)
    assert len(built) == 1


@pytest.mark.error_text
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"decoder": 3}, "`decoder` must be callable, got 3"),
        ({"loss_fn": None}, "`loss_fn` must be callable, got None"),
        ({"code_features": 0}, "`code_features` must be an integer >= 1, got 0"),
        ({"descent": "flow"}, r"`descent` must be a Descent, .* got 'flow'"),
        ({"adjoint": "half"}, "`adjoint` must be one of truncated, full, got 'half'"),
    ],
)
def test_rejects_bad_arguments(options, message):
    usual = {"decoder": jnp.tanh, "loss_fn": half_square, "code_features": 3}
    with pytest.raises(ValueError, match=message):
        GradientFlowEncoder(**(usual | options))


@pytest.mark.error_text
def test_rejects_samples_that_do_not_fit():
    encoder = encoder_of()
    with pytest.raises(
        ValueError, match=r"`start` must be .* shape \(4, 3\), got float32 and \(3,\)"
    ):
        encoder(samples(), jnp.zeros(3))
    with pytest.raises(ValueError, match=r"must be one array or more .* \[\]"):
        encoder({})
    with pytest.raises(ValueError, match=r"shape \(batch, ...\), got shapes \[\(\)\]"):
        encoder(jnp.float32(1))
    with pytest.raises(ValueError, match=r"\[\(2, 6\), \(3,\)\]"):
        encoder((samples(2), jnp.zeros(3)))
    encoder = GradientFlowEncoder(jnp.tanh, jnp.subtract, code_features=6)
    with pytest.raises(ValueError, match=r"must give a real scalar .* of shape \(6,\)"):
        encoder(samples())


def test_rejects_methods_of_modules():
    with pytest.raises(ValueError, match="a method of a module"):
        encoder_of(Decoder(rngs=nnx.Rngs(0)).__call__)


def test_the_start_takes_the_dtype_of_the_codes():
    with jax.enable_x64(True):
        matrix = random_matrix(0, (6, 3), "float64")
        encoder = linear(matrix, descent=PATIENT)
        targets = samples(dtype=jnp.float64)
        wanted = encoder(targets)
        for dtype in ("float32", "int32"):
            start = jnp.zeros((4, 3), dtype)
            np.testing.assert_allclose(encoder(targets, start), wanted, atol=1e-12)
    with pytest.raises(ValueError, match="`start` must be real"):
        encoder_of()(samples(), jnp.zeros((4, 3), complex))


def test_rejects_losses_without_a_derivative():
    def count(made, target):
        return jnp.sum(made > target)

    encoder = GradientFlowEncoder(Decoder(rngs=nnx.Rngs(0)), count, code_features=3)
    with pytest.raises(ValueError, match="real scalar"):
        encoder(samples())
