from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

pytest.importorskip("tensorflow_datasets")

from experiments.data.polyphonic import (
    bucketed,
    frame_nll,
    load_polyphonic,
    padded,
)
from experiments.data.source_files import DataError

LENGTHS = {"train": [5, 1, 3], "valid": [2], "test": [4, 2]}


def draw_rolls():
    rng = np.random.default_rng(0)
    return {
        split: [(rng.random((length, 88)) < 0.1).astype(np.uint8) for length in lengths]
        for split, lengths in LENGTHS.items()
    }


def pack(rolls):
    arrays: dict[str, Any] = {"n_keys": 88, "lowest_midi": 21}
    for split, pieces in rolls.items():
        arrays[f"{split}_packed"] = np.packbits(np.concatenate(pieces), axis=1)
        offsets = np.cumsum([0, *map(len, pieces)])
        arrays[f"{split}_offsets"] = offsets.astype(np.int32)
    return arrays


def load(folder, **arrays):
    np.savez(folder / "jsb_chorales.npz", **arrays)
    return load_polyphonic("jsb_chorales", folder, folder / "cache", exact=False)


def test_pieces_come_back_with_their_silence(tmp_path):
    rolls = draw_rolls()
    rolls["train"][0][2] = 0
    rolls["test"][1][-1] = 0
    splits = load(tmp_path, **pack(rolls))
    for found, wanted in zip(splits, rolls.values(), strict=True):
        assert len(found) == len(wanted)
        for one, other in zip(found, wanted, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_keys": 87}, "has 87 keys from MIDI note 21, not 88 from 21"),
        ({"lowest_midi": 20}, "has 88 keys from MIDI note 20"),
        ({"n_keys": [88, 88]}, r"has \[88, 88\] keys"),
        ({"valid_packed": np.zeros((2, 12), np.uint8)}, r"valid_packed .*\(2, 12\)"),
        ({"valid_offsets": np.array([0, 3])}, "do not divide 2 time steps"),
        ({"train_offsets": np.array([0, 5, 5, 9])}, "into pieces of one at least"),
        ({"train_offsets": np.array([], np.int32)}, "do not divide 9 time steps"),
        ({"train_offsets": np.array([0.0, 5.0, 9.0])}, "do not divide 9 time steps"),
        (
            {"train_offsets": np.array([0, 7, 5, 9], np.uint32)},
            "into pieces of one at least",
        ),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path, change, message):
    with pytest.raises(DataError, match=message):
        load(tmp_path, **{**pack(draw_rolls()), **change})


def test_a_missing_array_is_named(tmp_path):
    arrays = pack(draw_rolls())
    del arrays["test_offsets"]
    with pytest.raises(DataError, match="lacks test_offsets"):
        load(tmp_path, **arrays)


def test_every_step_of_every_piece_is_in_one_batch():
    rolls = [np.full((length, 88), length, np.uint8) for length in (40, 3, 70, 33, 1)]
    batches = bucketed(rolls, 2)
    assert [batch.rolls.shape for batch in batches] == [
        (2, 32, 88),
        (2, 64, 88),
        (2, 96, 88),
    ]
    found = [
        int(roll[0, 0])
        for batch in batches
        for roll, mask in zip(batch.rolls, batch.mask, strict=True)
        if mask.any() and mask.sum() == roll[0, 0]
    ]
    assert found == [1, 3, 33, 40, 70]
    assert sum(batch.mask.sum() for batch in batches) == 147


def test_padding_changes_neither_loss_nor_gradient():
    roll = draw_rolls()["train"][0]
    tight, wide = padded([roll], 1, 1), padded([roll], 3, 32)

    def loss(kernel, batch):
        logits = jnp.cumsum(jnp.asarray(batch.rolls) @ kernel, axis=1)
        return frame_nll(logits, batch)

    kernel = jnp.asarray(np.random.default_rng(1).normal(size=(88, 88)), jnp.float32)
    values = [jax.value_and_grad(loss)(kernel, batch) for batch in (tight, wide)]
    np.testing.assert_allclose(values[0][0], values[1][0], rtol=1e-5)
    scale = float(jnp.max(jnp.abs(values[0][1])))
    np.testing.assert_allclose(values[0][1], values[1][1], atol=1e-5 * scale)


def draw_logits(batch, scale=1.0):
    return scale * np.random.default_rng(2).normal(size=batch.rolls.shape)


def test_the_loss_is_that_of_the_pieces_one_by_one():
    rolls = draw_rolls()["train"]
    batch = padded(rolls, 4, 8)
    logits, total = draw_logits(batch), 0.0
    for roll, row in zip(rolls, logits, strict=False):
        for keys, step in zip(roll, row, strict=False):
            for down, logit in zip(keys, step, strict=True):
                total -= np.log(1 / (1 + np.exp(-logit if down else logit)))
    with jax.enable_x64(True):
        loss = frame_nll(jnp.asarray(logits), batch)
    np.testing.assert_allclose(loss, total / sum(map(len, rolls)), rtol=1e-12)


@pytest.mark.parametrize(("pieces", "multiple"), [(3, 1), (3, 32), (7, 8)])
def test_a_coin_for_each_key_costs_88_ln_2(pieces, multiple):
    batch = padded(draw_rolls()["train"], pieces, multiple)
    loss = frame_nll(jnp.zeros(batch.rolls.shape), batch)
    np.testing.assert_allclose(loss, 88 * np.log(2), rtol=1e-5)


def test_sure_answers_have_a_finite_loss():
    batch = padded(draw_rolls()["train"], 3, 8)
    rights = jnp.asarray(1000 * (2 * batch.rolls - 1))
    np.testing.assert_array_equal(frame_nll(rights, batch), 0)
    np.testing.assert_allclose(frame_nll(-rights, batch), 88 * 1000, rtol=1e-6)


def test_no_gradient_reaches_padding():
    batch = padded(draw_rolls()["train"], 4, 8)
    logits = jnp.asarray(draw_logits(batch, 100.0), jnp.float32)
    gradient = np.asarray(jax.grad(frame_nll)(logits, batch))
    np.testing.assert_array_equal(gradient[~batch.mask], 0)
    assert np.all(np.any(gradient[batch.mask] != 0, axis=-1))


def test_the_loss_of_no_time_step_is_0():
    batch = padded([np.zeros((0, 88), np.uint8)], 2, 4)
    assert batch.rolls.shape == (2, 0, 88)
    silent = batch._replace(
        rolls=np.zeros((2, 4, 88), np.float32), mask=np.zeros((2, 4), bool)
    )
    for empty in (batch, silent):
        logits = jnp.ones(empty.rolls.shape)
        loss, gradient = jax.value_and_grad(frame_nll)(logits, empty)
        assert loss == 0
        np.testing.assert_array_equal(gradient, 0)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"no archive"])
def test_a_damaged_file_is_named(tmp_path, content):
    (tmp_path / "jsb_chorales.npz").write_bytes(content)
    for exact, message in ((True, "has .* bytes, not"), (False, "is damaged")):
        with pytest.raises(DataError, match=f"jsb_chorales.npz {message}"):
            load_polyphonic("jsb_chorales", tmp_path, tmp_path / "cache", exact=exact)


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("collection", "pieces", "steps"),
    [
        ("jsb_chorales", [229, 76, 77], [13_807, 4_602, 4_725]),
        ("nottingham", [694, 173, 170], [176_561, 45_513, 44_463]),
    ],
)
def test_published_collections(published, tmp_path, collection, pieces, steps):
    splits = load_polyphonic(collection, published / "polyphonic", tmp_path)
    assert [len(part) for part in splits] == pieces
    assert [sum(map(len, part)) for part in splits] == steps
    assert max(roll.max() for roll in splits.train) == 1
