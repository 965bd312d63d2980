from typing import Any, cast

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import gradstab as gs
from gradstab.nn._lengths import step_mask
from tests.helpers import nothing_compiled, primitives_in_scan

INPUTS = jax.random.normal(jax.random.key(0), (2, 6, 3))
LENGTHS = jnp.array([4, 0])
FACTORIZATIONS = {"triangular_solve", "lu", "lu_pivots_to_permutation"}


class Solved(gs.nn.Parametrization):
    """A rotation whose map leaves a trace that no compiler removes."""

    def __init__(self, n, *, rngs):
        super().__init__((n, n), param_dtype=jnp.float32)
        self.skew = nnx.Param(rngs.params.normal((n, n)))

    def __call__(self):
        skew = self.skew[...] - self.skew[...].mT
        identity = jnp.eye(skew.shape[-1])
        return jnp.linalg.solve(identity + skew, identity - skew)


class Noisy(gs.nn.RecurrentCell):
    """Adds a coin to the state at every step."""

    def project(self, inputs):
        return inputs

    def draw(self, key, steps):
        return jax.random.bernoulli(key, shape=(steps,)).astype(jnp.float32)

    def step(self, carry, projected):
        inputs, coin = projected
        carry = carry + coin[..., None] * inputs
        return carry, carry


def elman(**options):
    rngs = nnx.Rngs(0)
    return gs.nn.OrthogonalCell(
        3, 4, recurrent=Solved(4, rngs=rngs), rngs=rngs, **options
    )


def gated():
    return gs.nn.LSTMCell(3, 4, candidate=Solved(4, rngs=nnx.Rngs(0)), rngs=nnx.Rngs(0))


def loss(rnn, inputs):
    return jnp.sum(rnn(inputs) ** 2)


@pytest.mark.usefixtures("nnx_mode")
@pytest.mark.parametrize(("layer", "solves"), [(gs.nn.RNN, False), (nnx.RNN, True)])
def test_builds_its_matrices_once_a_sequence(layer, solves):
    rnn = layer(elman(), rngs=None if layer is gs.nn.RNN else False)
    jaxpr = jax.make_jaxpr(jax.grad(loss))(rnn, INPUTS).jaxpr
    assert bool(FACTORIZATIONS & set(primitives_in_scan(jaxpr))) == solves


@pytest.mark.usefixtures("nnx_mode")
@pytest.mark.parametrize("make", [elman, gated])
def test_works_under_the_transformations_of_jax_and_nnx(make):
    rnn = gs.nn.RNN(make())
    before = [np.array(leaf) for leaf in jax.tree.leaves(rnn)]
    slopes = [
        grad(rnn, INPUTS) for grad in (jax.jit(jax.grad(loss)), nnx.jit(nnx.grad(loss)))
    ]
    for one, other in zip(*map(jax.tree.leaves, slopes), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)
    graph, params, rest = nnx.split(rnn, nnx.Param, ...)
    merged = jax.value_and_grad(lambda p: loss(nnx.merge(graph, p, rest), INPUTS))
    np.testing.assert_allclose(merged(params)[0], loss(rnn, INPUTS), rtol=1e-5)
    for old, new in zip(before, jax.tree.leaves(rnn), strict=True):
        np.testing.assert_array_equal(old, new)


def test_second_call_does_not_compile():
    chex.clear_trace_counter()
    traced = chex.assert_max_traces(loss, n=1)
    slope = jax.jit(jax.grad(traced))
    for seed in range(2):
        slope(gs.nn.RNN(gs.nn.GRUCell(3, 4, rngs=nnx.Rngs(seed))), INPUTS)


@pytest.mark.parametrize("time_major", [False, True])
@pytest.mark.parametrize("keep_order", [False, True])
@pytest.mark.parametrize("lengths", [None, jnp.array([4, 6])])
def test_reversal_is_that_of_flax(time_major, keep_order, lengths):
    cell = elman()
    inputs = jnp.moveaxis(INPUTS, 1, 0) if time_major else INPUTS
    options = {
        "seq_lengths": lengths,
        "time_major": time_major,
        "reverse": True,
        "keep_order": keep_order,
        "return_carry": True,
    }
    carry, outputs = gs.nn.RNN(cell)(inputs, **options)
    expected_carry, expected = nnx.RNN(cell, rngs=False)(inputs, **options)
    np.testing.assert_allclose(carry, expected_carry, atol=1e-6)
    if lengths is not None:
        inside = step_mask(lengths, 6, 0 if time_major else 1)
        expected = jnp.where(inside[..., None], jnp.asarray(expected), 0)
    np.testing.assert_allclose(outputs, expected, atol=1e-6)


@pytest.mark.parametrize("make", [elman, gated])
def test_padding_reaches_nothing(make):
    rnn = gs.nn.RNN(make(), return_carry=True)
    inside = jnp.arange(6)[None] < LENGTHS[:, None]
    noise = jnp.where(inside[..., None], INPUTS, jnp.nan)
    start = jax.tree.map(lambda x: x + 0.5, rnn.cell.initialize_carry((2, 3)))

    @jax.jit
    def slope(rnn, inputs, lengths):
        def loss(rnn, inputs):
            carry, outputs = rnn(inputs, initial_carry=start, seq_lengths=lengths)
            last = sum(jnp.sum(x**2) for x in jax.tree.leaves(carry))
            return jnp.sum(outputs**2) + last, (carry, outputs)

        return jax.grad(loss, (0, 1), has_aux=True)(rnn, inputs)

    (in_params, in_inputs), (carry, outputs) = slope(rnn, noise, LENGTHS)
    short = jax.tree.map(lambda x: x[:1], start)
    _, expected = rnn(INPUTS[:1, :4], initial_carry=short)
    np.testing.assert_allclose(outputs[:1, :4], expected, atol=1e-6)
    np.testing.assert_array_equal(outputs[~inside], 0)
    np.testing.assert_array_equal(in_inputs[~inside], 0)
    for end, begin in zip(*map(jax.tree.leaves, (carry, start)), strict=True):
        np.testing.assert_array_equal(end[1], begin[1])
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(in_params))


def test_nan_stays_in_its_sequence():
    rnn = gs.nn.RNN(gs.nn.GRUCell(3, 4, rngs=nnx.Rngs(0)))
    outputs = rnn(INPUTS.at[0, 2].set(jnp.nan))
    assert np.all(np.isnan(outputs[0, 2:]))
    np.testing.assert_array_equal(outputs[1], rnn(INPUTS)[1])


def test_bidirectional():
    layers = [gs.nn.RNN(gs.nn.GRUCell(3, 4, rngs=nnx.Rngs(i))) for i in range(2)]
    both = nnx.Bidirectional(*layers, rngs=False)
    outputs = jnp.asarray(both(INPUTS, seq_lengths=jnp.array([4, 6])))
    assert outputs.shape == (2, 6, 8)
    alone = layers[1](INPUTS[:1, 3::-1])[:, ::-1]
    np.testing.assert_allclose(outputs[:1, :4, 4:], alone, atol=1e-6)


def test_stacked_layers_with_padding_are_layers_on_shorter_sequences():
    lower = gs.nn.RNN(gs.nn.OrthogonalCell(3, 4, rngs=nnx.Rngs(0)), reverse=True)
    upper = gs.nn.RNN(gs.nn.GRUCell(4, 5, rngs=nnx.Rngs(1)))
    lengths = jnp.array([4, 6])
    outputs = upper(lower(INPUTS, seq_lengths=lengths), seq_lengths=lengths)
    for row, length in enumerate((4, 6)):
        alone = upper(lower(INPUTS[row, :length]))
        np.testing.assert_allclose(outputs[row, :length], alone, atol=1e-6)
        np.testing.assert_array_equal(outputs[row, length:], 0)


@pytest.mark.parametrize("hidden", [1, 3])
@pytest.mark.parametrize(
    "kind", [gs.nn.OrthogonalCell, gs.nn.GRUCell, gs.nn.LSTMCell, gs.nn.SpectralRNNCell]
)
def test_one_hidden_unit_and_an_odd_number(kind, hidden):
    rnn = gs.nn.RNN(kind(3, hidden, rngs=nnx.Rngs(0)))
    value, slope = jax.value_and_grad(loss)(rnn, INPUTS)
    assert np.isfinite(value)
    for leaf in jax.tree.leaves(slope):
        assert np.all(np.isfinite(leaf))


@pytest.mark.parametrize("make", [nnx.SimpleCell, nnx.GRUCell, nnx.LSTMCell])
def test_takes_stock_cells(make):
    cell = make(3, 4, rngs=nnx.Rngs(0))
    outputs = gs.nn.RNN(cell, checkpoint_every=3)(INPUTS)
    np.testing.assert_allclose(outputs, nnx.RNN(cell)(INPUTS), atol=1e-6)


@pytest.mark.parametrize("time_major", [False, True])
def test_draws_once_a_sequence(time_major):
    rnn = gs.nn.RNN(Noisy(3, 3), time_major=time_major)
    rngs = nnx.Rngs(draw=1)
    coins = Noisy(3, 3).draw(nnx.Rngs(draw=1).draw(), 6)
    inputs = jnp.moveaxis(INPUTS, 1, 0) if time_major else INPUTS
    outputs = rnn(inputs, rngs=rngs)
    outputs = jnp.moveaxis(outputs, 0, 1) if time_major else outputs
    expected = jnp.cumsum(coins[None, :, None] * INPUTS, 1)
    np.testing.assert_allclose(outputs, expected, atol=1e-6)


@pytest.mark.parametrize("shape", [(2, 0, 3), (0, 6, 3), (6, 3), (2, 2, 6, 3)])
def test_empty_unbatched_and_stacked_batches(shape):
    carry, outputs = gs.nn.RNN(gated(), return_carry=True)(jnp.ones(shape))
    assert outputs.shape == (*shape[:-1], 4)
    assert carry[1].shape == (*shape[:-2], 4)


@pytest.mark.parametrize("dtype", [jnp.int32, jnp.bool_, jnp.bfloat16])
def test_inputs_are_cast(dtype):
    rnn = gs.nn.RNN(elman())
    inputs = (INPUTS > 0).astype(dtype)
    outputs = rnn(inputs)
    np.testing.assert_array_equal(outputs, rnn(inputs.astype(jnp.float32)))
    assert outputs.dtype == jnp.float32


def test_low_precision_products_keep_the_state_in_float32():
    exact, low = (gs.nn.RNN(elman(dtype=dtype)) for dtype in (None, jnp.bfloat16))
    outputs = low(INPUTS)
    assert outputs.dtype == jnp.float32
    np.testing.assert_allclose(outputs, exact(INPUTS), atol=0.1)
    slope = jax.grad(loss)(low, INPUTS)
    assert slope.cell.dense.kernel[...].dtype == jnp.float32


def test_seeds_under_vmap():
    @nnx.vmap
    def make(key):
        return gs.nn.RNN(gs.nn.GRUCell(3, 4, rngs=nnx.Rngs(key)))

    models = make(jax.random.split(jax.random.key(0), 2))
    slopes = jax.jit(jax.vmap(jax.grad(loss), (0, None)))(models, INPUTS)
    one = jax.jit(jax.grad(loss))(jax.tree.map(lambda x: x[1], models), INPUTS)
    for both, alone in zip(*map(jax.tree.leaves, (slopes, one)), strict=True):
        np.testing.assert_allclose(both[1], alone, atol=1e-5)


@pytest.mark.error_text
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: gs.nn.RNN(elman())(jnp.ones((2, 6, 5))), "must have 3 features"),
        (lambda: gs.nn.RNN(elman())(jnp.ones(3)), "must have a time axis"),
        (
            lambda: gs.nn.RNN(elman())(INPUTS, initial_carry=jnp.zeros((3, 4))),
            r"`initial_carry` must have shapes \(2, 4\), got \(3, 4\)\.",
        ),
        (
            lambda: gs.nn.RNN(elman())(INPUTS, seq_lengths=jnp.array([7, 1])),
            r"`seq_lengths` must lie in \[0, 6\]",
        ),
        (lambda: gs.nn.RNN(Noisy(3, 3))(INPUTS), "`rngs` is required: Noisy draws"),
        (
            lambda: gs.nn.RNN(cast(Any, nnx.Linear(3, 4, rngs=nnx.Rngs(0)))),
            "`cell` must be a recurrent cell, got Linear",
        ),
        (lambda: gs.nn.RNN(elman(), unroll=0), "`unroll` must be an integer >= 1"),
        (
            lambda: gs.nn.RNN(elman(), checkpoint_every=0),
            "`checkpoint_every` must be an integer >= 1",
        ),
    ],
)
def test_rejects(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.error_text
def test_rejects_a_stock_cell_with_state():
    class Dropping(nnx.GRUCell):
        def __init__(self, *, rngs):
            super().__init__(3, 4, rngs=rngs)
            self.dropout = nnx.Dropout(0.5, rngs=rngs)

    with pytest.raises(
        ValueError, match="`cell` must hold no state but its parameters"
    ):
        gs.nn.RNN(Dropping(rngs=nnx.Rngs(0)))(INPUTS)


@pytest.mark.parametrize("kind", [gs.nn.OrthogonalCell, gs.nn.GRUCell, gs.nn.LSTMCell])
def test_can_be_tabulated(kind):
    rnn = gs.nn.RNN(kind(3, 4, rngs=nnx.Rngs(0)))
    count = sum(leaf.size for leaf in jax.tree.leaves(nnx.state(rnn, nnx.Param)))
    table = nnx.tabulate(rnn, INPUTS, console_kwargs={"force_terminal": False})
    assert f"Total Parameters: {count} " in str(table)


def test_gradients_of_long_sequences_are_finite():
    rnn = gs.nn.RNN(gs.nn.OrthogonalCell(1, 4, rngs=nnx.Rngs(0)))
    inputs = jax.random.normal(jax.random.key(0), (1, 10_000, 1))

    @jax.jit
    def first(inputs):
        return jax.grad(lambda x: jnp.sum(rnn(x)[:, -1]))(inputs)

    assert np.all(np.isfinite(first(inputs)))


@pytest.mark.error_text
def test_complex_numbers_do_not_enter_a_real_cell():
    rnn = gs.nn.RNN(gs.nn.OrthogonalCell(3, 4, rngs=nnx.Rngs(0)))
    with pytest.raises(ValueError, match="`inputs` must be real.* got complex64"):
        rnn(INPUTS.astype(jnp.complex64))
    with pytest.raises(ValueError, match="`initial_carry` must be real"):
        rnn(INPUTS, initial_carry=jnp.zeros((2, 4), jnp.complex64))


def test_unrolls():
    cell = gs.nn.OrthogonalCell(3, 4, rngs=nnx.Rngs(0))
    plain, unrolled = gs.nn.RNN(cell), gs.nn.RNN(cell, unroll=3)
    np.testing.assert_allclose(unrolled(INPUTS), plain(INPUTS), atol=1e-6)

    def products(rnn):
        text = jax.jit(lambda inputs: rnn(inputs)).lower(INPUTS).compile().as_text()
        return str(text).count(" dot(")

    assert products(unrolled) > products(plain)


@pytest.mark.parametrize(
    "kind", [gs.nn.OrthogonalCell, gs.nn.GRUCell, gs.nn.HDetachLSTMCell, nnx.GRUCell]
)
def test_without_jit_a_call_like_the_last_compiles_nothing(kind, caplog):
    first, second = (gs.nn.RNN(kind(3, 4, rngs=nnx.Rngs(seed))) for seed in (0, 1))
    inputs = -INPUTS

    def padded(rnn, inputs):
        outputs = rnn(inputs, seq_lengths=LENGTHS, rngs=nnx.Rngs(0))
        return jnp.sum(outputs**2)

    expected = jax.jit(jax.grad(padded))(second, inputs)
    jax.grad(padded)(first, INPUTS)
    with nothing_compiled(caplog):
        found = jax.grad(padded)(second, inputs)
    chex.assert_trees_all_close(found, expected, atol=1e-6)


class Edited(gs.nn.RecurrentCell):
    """Multiplies by a number that can be edited."""

    def __init__(self):
        super().__init__(3, 3)
        self.options = nnx.static({"gain": 1.0})

    def project(self, inputs):
        return inputs

    def step(self, carry, projected):
        carry = carry + self.options["gain"] * projected
        return carry, carry


def test_what_can_be_edited_is_read_anew():
    cell = Edited()
    rnn = gs.nn.RNN(cell)
    once = rnn(INPUTS)
    cell.options["gain"] = 2.0
    np.testing.assert_allclose(rnn(INPUTS), 2 * once, rtol=1e-6)
    np.testing.assert_allclose(jax.jit(lambda x: rnn(x))(INPUTS), 2 * once, rtol=1e-6)


class Scaled:
    """An activation that can be edited, and is yet told from others by itself alone."""

    gain = 1.0

    def __call__(self, x):
        return self.gain * x


def test_a_new_jit_reads_everything_anew():
    activation = Scaled()
    cell = nnx.SimpleCell(3, 4, activation_fn=activation, rngs=nnx.Rngs(0))
    rnn = gs.nn.RNN(cell)
    before = jax.jit(lambda x: rnn(x))(INPUTS[:, :1])
    activation.gain = 2.0
    after = jax.jit(lambda x: rnn(x))(INPUTS[:, :1])
    np.testing.assert_allclose(after, 2 * before, rtol=1e-6)


def test_another_activation_is_another_program():
    cell = nnx.SimpleCell(3, 4, rngs=nnx.Rngs(0))
    first = gs.nn.RNN(cell)(INPUTS)
    cell.activation_fn = jnp.sin
    expected = nnx.RNN(cell)(INPUTS)
    chex.assert_trees_all_close(gs.nn.RNN(cell)(INPUTS), expected, atol=1e-6)
    assert not np.allclose(first, expected)


class Counting(gs.nn.RecurrentCell):
    """Writes down how often it was asked to project."""

    def __init__(self):
        super().__init__(3, 3)
        self.count = nnx.Variable(jnp.zeros((), int))

    def project(self, inputs):
        self.count[...] += 1
        return inputs

    def step(self, carry, projected):
        return carry + projected, carry


def test_what_a_cell_writes_is_kept():
    cell = Counting()
    for _ in range(3):
        gs.nn.RNN(cell)(INPUTS[:, :1])
    assert cell.count[...] == 3


class Ordered(gs.nn.RecurrentCell):
    """Reads constants from an array of NumPy."""

    def __init__(self):
        super().__init__(3, 3)
        self.order = nnx.data(np.array([2, 0, 1]))

    def project(self, inputs):
        return inputs

    def step(self, carry, projected):
        carry = carry + projected[..., [int(k) for k in self.order]]
        return carry, carry


def test_arrays_of_numpy_stay_constants():
    found = gs.nn.RNN(Ordered())(INPUTS)
    expected = np.cumsum(np.asarray(INPUTS)[..., [2, 0, 1]], axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_cell_that_is_no_tree_runs():
    class Opaque(nnx.SimpleCell, pytree=False):
        pass

    cell = Opaque(3, 4, rngs=nnx.Rngs(0))
    chex.assert_trees_all_close(
        gs.nn.RNN(cell)(INPUTS), nnx.RNN(cell)(INPUTS), atol=1e-6
    )
