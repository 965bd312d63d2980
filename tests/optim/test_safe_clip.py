from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gradstab.optim import safe_clip_by_global_norm
from tests.helpers import random_matrix


def clip(updates, max_norm: Any = 1.0, **options) -> Any:
    rule = safe_clip_by_global_norm(max_norm, **options)
    return rule.update(updates, rule.init(updates))


def norm(tree):
    leaves = [
        np.asarray(x).astype(np.complex128).ravel() for x in jax.tree.leaves(tree)
    ]
    return np.linalg.norm(np.concatenate(leaves))


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e10])
def test_agrees_with_optax_where_that_is_right(size):
    updates = {"a": size * random_matrix(0, (4, 3), "float32"), "b": size * jnp.ones(2)}
    rule: Any = optax.clip_by_global_norm(1.5)
    expected, _ = rule.update(updates, rule.init(updates))
    found, state = clip(updates, 1.5)
    for name in updates:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-6)
    assert state.norm == pytest.approx(norm(updates), rel=1e-6)
    assert state.clipped == (norm(updates) > 1.5)


@pytest.mark.parametrize(
    ("dtype", "size", "max_norm"),
    [
        ("float32", 1e30, 1.0),
        ("float32", 3e38, 1.0),  # whose norm has no float32
        ("float32", 1e-30, 1e-31),
        ("float32", 1e30, 1e25),
        ("complex64", 1e30, 1.0),
        ("bfloat16", 1e38, 1.0),
        ("float16", 300, 1.0),
        ("float16", 6e4, 100.0),
    ],
)
def test_no_square_overflows_or_vanishes(dtype, size, max_norm):
    updates = [jnp.full((50,), size, dtype), jnp.full((3, 3), -size, dtype)]
    found, _ = clip(updates, max_norm)
    slack = 4 * float(jnp.finfo(dtype).eps)
    assert norm(found) == pytest.approx(max_norm, rel=slack)
    assert [leaf.dtype for leaf in found] == [jnp.dtype(dtype)] * 2
    np.testing.assert_array_less(np.real(np.asarray(found[1], "complex64")), 0)


def test_no_modulus_overflows():
    updates = jnp.full(4, 3e38 + 3e38j, "complex64")
    found, _ = clip(updates)
    np.testing.assert_allclose(found, np.full(4, (1 + 1j) / 8**0.5), rtol=1e-6)


def test_what_lies_within_the_limit_keeps_every_bit():
    updates = [random_matrix(0, (5, 4), "float32"), jnp.float16([0.1, 0.2])]
    found, state = clip(updates, norm(updates) * 1.001)
    for one, other in zip(found, updates, strict=True):
        np.testing.assert_array_equal(one, other)
    assert state.clipped == 0


@pytest.mark.parametrize("max_norm", [0.0, 1.0])
def test_zeros_stay_zeros(max_norm):
    found, state = clip([jnp.zeros(3), jnp.zeros((0, 2))], max_norm)
    np.testing.assert_array_equal(found[0], 0)
    assert state.norm == 0


def test_a_limit_of_zero_gives_zeros():
    found, state = clip([jnp.asarray([1e30, -1e-30])], 0.0)
    np.testing.assert_array_equal(found[0], 0)
    assert state.clipped == 1


def test_integers_pass():
    found, _ = clip({"count": jnp.arange(3), "w": jnp.full(4, 10.0)})
    np.testing.assert_array_equal(found["count"], [0, 1, 2])
    assert norm(found["w"]) == pytest.approx(1)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_keep_leaves_the_fault_where_it_is_and_clips_the_rest(bad):
    updates = {"a": jnp.asarray([1.0, bad]), "b": jnp.full(4, 10.0)}
    found, state = clip(updates)
    np.testing.assert_array_equal(found["a"], updates["a"])
    np.testing.assert_allclose(found["b"], np.full(4, 0.5))
    assert np.isnan(state.norm)
    assert (state.faulty, state.consecutive, state.stopped) == (1, 1, False)


def test_skip_drops_it_all_and_stops_after_too_many():
    good, bad = jnp.ones(2), jnp.asarray([1.0, jnp.nan])
    rule = safe_clip_by_global_norm(10.0, nonfinite="skip", max_consecutive=2)
    state: Any = rule.init(good)
    for consecutive in (1, 2):
        found, state = rule.update(bad, state)
        np.testing.assert_array_equal(found, 0)
        assert (state.consecutive, state.stopped) == (consecutive, False)
    found, state = rule.update(good, state)
    np.testing.assert_array_equal(found, good)
    assert (state.consecutive, state.faulty) == (0, 2)
    for _ in range(3):
        found, state = rule.update(bad, state)
    assert state.stopped
    found, state = rule.update(good, state)  # never again
    np.testing.assert_array_equal(found, 0)
    assert state.stopped


def test_a_scheduled_limit_of_nan_is_skipped_or_seen():
    make: Any = optax.inject_hyperparams(
        safe_clip_by_global_norm, static_args=("nonfinite", "max_consecutive")
    )
    for nonfinite, expected in (("skip", [0.0, 0.0]), ("keep", [np.nan, np.nan])):
        rule = make(lambda _: jnp.nan, nonfinite=nonfinite)
        found, state = rule.update(jnp.ones(2), rule.init(jnp.ones(2)))
        np.testing.assert_array_equal(found, expected)
        assert state.inner_state.faulty == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_norm": -1.0}, "`max_norm` must"),
        ({"max_norm": float("nan")}, "`max_norm` must"),
        (
            {"max_norm": 1.0, "nonfinite": "pass"},
            "`nonfinite` must be 'keep' or 'skip'",
        ),
        ({"max_norm": 1.0, "max_consecutive": -1}, "`max_consecutive` must"),
    ],
)
def test_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        safe_clip_by_global_norm(**options)
