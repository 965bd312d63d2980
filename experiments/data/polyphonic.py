"""Polyphonic music: rolls of unequal length, padded into batches."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, UInt8

from experiments.data.prepared import prepared
from experiments.data.source_files import SourceFile

Collection = Literal["jsb_chorales", "nottingham", "musedata", "piano_midi"]
Roll = UInt8[np.ndarray, "time 88"]

FILES: dict[Collection, SourceFile] = {
    "jsb_chorales": SourceFile(
        "jsb_chorales.npz",
        45_382,
        "35b1ee3c4eab9dc316fb13992d362747c6bff9270445d96bf924998a4c347730",
    ),
    "nottingham": SourceFile(
        "nottingham.npz",
        135_289,
        "a3bacb3c388bbad09ca02e2a9dc4640ce412afb5162c0a92db9c5cee927ed6ba",
    ),
    "musedata": SourceFile(
        "musedata.npz",
        517_175,
        "56dc2a859e26a2104fe819533a1e24b839aeb1df138cf74f8be8a7f47bb1a68d",
    ),
    "piano_midi": SourceFile(
        "piano_midi.npz",
        120_476,
        "5b936f9b9921ab8178b9856dcedb2fddbad2142ffec409c5fcf04e6ca8b47351",
    ),
}


class RollSplits(NamedTuple):
    """Pieces of music in three parts."""

    train: list[Roll]
    validation: list[Roll]
    test: list[Roll]


class RollBatch(NamedTuple):
    """Pieces of like length, filled up with silence to the longest of them."""

    rolls: Float[np.ndarray, "batch time 88"]
    mask: Bool[np.ndarray, "batch time"]  # where a piece has not ended


def load_polyphonic(
    collection: Collection,
    data_dir: Path | None = None,
    cache: Path | None = None,
    *,
    exact: bool = True,
) -> RollSplits:
    """Loads one of four collections of polyphonic music.

    Args:
        collection: which one.
        data_dir: folder with its packed .npz file, of the form that `unpack_rolls`
            reads. It carries no license and cannot be downloaded.
        cache: where the prepared data set is kept; see `prepared`.
        exact: whether the file must have the checksum listed.

    Returns:
        The pieces, with the split into three parts that publications use.

    Raises:
        DataError: if the file is missing, differs or is not of that form.

    References:
        Boulanger-Lewandowski, Bengio & Vincent, "Modeling Temporal Dependencies in
        High-Dimensional Sequences", ICML 2012.
    """
    splits = prepared(
        "polyphonic_rolls",
        [FILES[collection]],
        data_dir=data_dir,
        cache=cache,
        config=collection,
        exact=exact,
    )
    return RollSplits(**{split: _read(source) for split, source in splits.items()})


def _read(source: Any) -> list[Roll]:
    return [
        np.asarray(example["roll"], np.uint8)
        for example in source.__getitems__(list(range(len(source))))
    ]


def bucketed(
    rolls: Sequence[Roll], batch: int, *, multiple: int = 32
) -> list[RollBatch]:
    """Puts pieces of like length together and pads them.

    Args:
        rolls: the pieces.
        batch: how many to a batch; the last one is filled up with empty pieces.
        multiple: lengths are rounded up to a multiple of it, so that few shapes are
            compiled.

    Returns:
        Batches from the shortest pieces to the longest. `frame_nll` counts every time
        step of every piece once and no padding.
    """
    order = sorted(range(len(rolls)), key=lambda place: len(rolls[place]))
    groups = [order[first : first + batch] for first in range(0, len(order), batch)]
    return [
        padded([rolls[place] for place in group], batch, multiple) for group in groups
    ]


def padded(rolls: Sequence[Roll], batch: int, multiple: int) -> RollBatch:
    """Fills pieces up with silence, and a batch up with empty pieces.

    Args:
        rolls: the pieces, at least one.
        batch: how many pieces the batch is filled up to.
        multiple: what the number of time steps is a multiple of.

    Returns:
        The batch.
    """
    longest = max(map(len, rolls))
    time = -(-longest // multiple) * multiple
    filled = np.zeros((batch, time, rolls[0].shape[1]), np.float32)
    mask = np.zeros((batch, time), bool)
    for place, roll in enumerate(rolls):
        filled[place, : len(roll)] = roll
        mask[place, : len(roll)] = True
    return RollBatch(filled, mask)


def frame_nll(
    logits: Float[Array, "batch time 88"], batch: RollBatch
) -> Float[Array, ""]:
    """Computes the negative log-likelihood of a time step, in nats.

    -Σₖ [xₖ log σ(zₖ) + (1 - xₖ) log(1 - σ(zₖ))] for logits z and the 88 keys x of a
    time step, averaged over the time steps of all pieces.

    Args:
        logits: of each key being down; those of a time step are to be predicted from
            the time steps before it.
        batch: what was played.

    Returns:
        The mean, to which padding adds nothing; 0 if every piece is empty.

    References:
        Boulanger-Lewandowski, Bengio & Vincent, ICML 2012, table 1, reports its
        negative.
    """
    rolls = jnp.asarray(batch.rolls, logits.dtype)
    losses = optax.sigmoid_binary_cross_entropy(logits, rolls)
    total = jnp.sum(jnp.sum(losses, axis=-1), where=batch.mask)
    return total / jnp.maximum(jnp.sum(batch.mask, dtype=logits.dtype), 1)
