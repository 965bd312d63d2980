import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import gradstab as gs
from tests.helpers import RATIO_LIMIT, orthogonality_ratio


class Model(nnx.Module):
    def __init__(self, *, rngs):
        self.first = nnx.Linear(3, 4, rngs=rngs)
        self.second = nnx.Linear(4, 4, rngs=rngs)
        self.tied = self.second.kernel

    def __call__(self, inputs):
        return self.second(self.first(inputs))


def orthogonal(shape):
    return gs.nn.Householder(shape, rngs=nnx.Rngs(9))


@pytest.mark.usefixtures("nnx_mode")
def test_starts_at_the_nearest_matrix_and_shares_the_rest():
    model = nnx.Linear(4, 4, rngs=nnx.Rngs(0))
    constrained = gs.nn.constrain(model, nnx.PathContains("kernel"), orthogonal)
    left, _, right = np.linalg.svd(model.kernel[...])
    np.testing.assert_allclose(constrained.kernel(), left @ right, atol=1e-5)
    assert constrained.bias is model.bias
    assert isinstance(model.kernel, nnx.Param)


def test_trains_through_materialize_and_stays_in_the_set():
    model = nnx.RNN(nnx.SimpleCell(3, 4, rngs=nnx.Rngs(0)), rngs=False)
    model = gs.nn.constrain(
        model, lambda path, _: path[-2:] == ("dense_h", "kernel"), orthogonal
    )
    inputs = jax.random.normal(jax.random.key(0), (2, 7, 3))
    carry = jnp.zeros((2, 4))

    def loss(model):
        outputs = gs.nn.materialize(model)(inputs, initial_carry=carry)
        return jnp.sum(outputs**2)

    def kernel(model):
        return model.cell.dense_h.kernel()

    before = kernel(model)
    for _ in range(5):
        gradient = jax.grad(loss)(model)
        model = jax.tree.map(lambda leaf, slope: leaf - 0.1 * slope, model, gradient)
    after = kernel(model)
    assert not np.allclose(before, after, atol=1e-3)
    assert orthogonality_ratio(after) <= RATIO_LIMIT


@pytest.mark.parametrize(
    ("kind", "options", "nearest"),
    [
        (gs.nn.NeumannCayley, {}, gs.linalg.polar),
        (
            gs.nn.SpectralClipped,
            {"maximum": 0.5},
            lambda weight: gs.linalg.clip_singular_values(weight, maximum=0.5),
        ),
        (
            gs.nn.EigenvalueNormalized,
            {"radius": 0.5},
            lambda weight: 0.5 * weight / gs.linalg.spectral_radius(weight),
        ),
    ],
)
def test_starts_at_the_point_of_each_set(kind, options, nearest):
    model = nnx.Linear(4, 4, rngs=nnx.Rngs(0))
    expected = nearest(model.kernel[...])
    constrained = gs.nn.constrain(
        model,
        nnx.PathContains("kernel"),
        lambda shape: kind(shape, rngs=nnx.Rngs(1), **options),
    )
    np.testing.assert_allclose(constrained.kernel(), expected, atol=1e-5)
    slope = jax.grad(
        lambda model: jnp.sum(gs.nn.materialize(model)(jnp.ones((2, 4))) ** 2)
    )(constrained)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(slope))


def test_a_shared_weight_stays_shared():
    with nnx.set_graph_mode(True), nnx.set_graph_updates(True):
        model = Model(rngs=nnx.Rngs(0))
        model = gs.nn.constrain(
            model, lambda path, _: path == ("second", "kernel"), orthogonal
        )
        assert isinstance(model.second.kernel, gs.nn.Householder)
        assert model.tied is model.second.kernel


@pytest.mark.error_text
def test_names_what_there_is_and_what_is_no_matrix():
    model = nnx.Linear(3, 4, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="got none; the model has bias, kernel"):
        gs.nn.constrain(model, nnx.PathContains("kernle"), orthogonal)
    with pytest.raises(ValueError, match=r"bias, which must have at least 2 .* \(4,\)"):
        gs.nn.constrain(model, nnx.PathContains("bias"), orthogonal)
    with pytest.raises(ValueError, match="got 3 rows and 4 columns; use Householder"):
        gs.nn.constrain(
            model,
            nnx.PathContains("kernel"),
            lambda shape: gs.nn.Cayley(shape, rngs=nnx.Rngs(0)),
        )


@pytest.mark.error_text
def test_coordinates_of_a_map_are_left_alone():
    cell = gs.nn.OrthogonalCell(3, 4, rngs=nnx.Rngs(0))
    with pytest.raises(
        ValueError, match=r"selects recurrent/skew, a coordinate of Cayley.* `export`"
    ):
        gs.nn.constrain(
            cell,
            lambda path, leaf: leaf.ndim == 2,
            lambda shape: gs.nn.Householder(shape, rngs=nnx.Rngs(0)),
        )


def orthogonal_conv(shape, strides=1):
    return gs.nn.OrthogonalConvKernel(shape, strides=strides, rngs=nnx.Rngs(0))


@pytest.mark.usefixtures("nnx_mode")
@pytest.mark.error_text
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strides": 2}, r"strides \(2, 2\), got .* `OrthogonalConvKernel.*strides="),
        ({"feature_group_count": 2}, "`feature_group_count` must be 1, got 2"),
        ({"mask": jnp.ones((2, 2, 2, 4))}, "`mask` must be None"),
        ({"padding": "REFLECT"}, "`padding` must be one of"),
        ({"input_dilation": 2}, "`input_dilation` must be 1, got 2"),
        ({"strides": 2, "kernel_dilation": 2}, "no common divisor with `strides`"),
    ],
)
def test_a_convolution_without_the_certificate_is_refused(options, message):
    class Net(nnx.Module):
        def __init__(self):
            self.conv = nnx.Conv(2, 4, (2, 2), rngs=nnx.Rngs(0), **options)

    selected = r"selects conv/kernel of Conv, which OrthogonalConvKernel does not fit: "
    with pytest.raises(ValueError, match=selected + ".*" + message):
        gs.nn.constrain(Net(), nnx.PathContains("kernel"), orthogonal_conv)


@pytest.mark.error_text
def test_a_transposed_convolution_and_a_stack_are_refused():
    layer = nnx.ConvTranspose(2, 4, (2, 2), strides=2, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="`nnx.ConvTranspose` is not certified"):
        gs.nn.constrain(layer, nnx.PathContains("kernel"), orthogonal_conv)
    stack = nnx.vmap(lambda rngs: nnx.Conv(2, 4, (2, 2), rngs=rngs))(
        nnx.Rngs(0).split(3)
    )
    with pytest.raises(ValueError, match=r"shape \(2, 2, 2, 4\) .* got \(3, 2, 2, 2"):
        gs.nn.constrain(stack, nnx.PathContains("kernel"), orthogonal_conv)


def test_every_layer_that_shares_a_kernel_has_to_fit():
    with nnx.set_graph_mode(True), nnx.set_graph_updates(True):
        first, second = (
            nnx.Conv(2, 4, (2, 2), strides, rngs=nnx.Rngs(0)) for strides in (1, 2)
        )
        second.kernel = first.kernel
        model = nnx.Sequential(first, second)
        with pytest.raises(ValueError, match=r"must have .* strides \(2, 2\)"):
            gs.nn.constrain(model, nnx.PathContains("kernel"), orthogonal_conv)


@pytest.mark.parametrize("options", [{}, {"kernel_dilation": 3}, {"padding": "VALID"}])
def test_a_strided_convolution_takes_a_kernel_of_its_strides(options):
    layer = nnx.Conv(2, 4, (2, 2), strides=2, rngs=nnx.Rngs(0), **options)
    constrained = gs.nn.constrain(
        layer, nnx.PathContains("kernel"), lambda shape: orthogonal_conv(shape, 2)
    )
    values = gs.linalg.conv_singular_values(constrained.kernel(), (4, 4), strides=2)
    np.testing.assert_allclose(values, 1.0, atol=1e-5)


def test_gives_an_abstract_model():
    model = nnx.eval_shape(
        lambda: gs.nn.constrain(
            nnx.Linear(4, 4, rngs=nnx.Rngs(0)),
            nnx.PathContains("kernel"),
            lambda shape: gs.nn.Householder(shape, rngs=nnx.Rngs(0)),
        )
    )
    assert model.kernel.vectors.shape == (4, 4)


def test_an_unbuilt_layer_says_what_to_call():
    model = gs.nn.constrain(
        nnx.Linear(4, 4, rngs=nnx.Rngs(0)),
        nnx.PathContains("kernel"),
        lambda shape: gs.nn.Cayley(shape, rngs=nnx.Rngs(0)),
    )
    with pytest.raises(TypeError, match="reads a Cayley .* `gradstab.nn.materialize"):
        model(jnp.ones((2, 4)))
    assert gs.nn.materialize(model)(jnp.ones((2, 4))).shape == (2, 4)
