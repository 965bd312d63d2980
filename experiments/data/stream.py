"""Batches of a set that does not fit in memory."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from experiments.data.extra import extra_data

THREADS, AHEAD = 2, 16  # that read, and batches they keep ready


class BatchStream:
    """Shuffled batches, each a function of the seed and its number alone.

    Every pass over the source has an order of its own. Any batch can be had at any
    time, so that a reader who stopped goes on with the number of the next one. Several
    processes read disjoint shares of every batch, which is the same batch for any
    number of them.

    Args:
        source: examples, read from disk when indexed.
        count: how many of them are read, the first; all if None.
        batch: how many examples make a batch.
        seed: seed of the orders.
        convert: turns an example into what is stacked.
        process: which share of each batch is read.
        processes: how many shares there are; they divide `batch`.

    Raises:
        ValueError: if they do not.
        DataError: if the extra `data` is not installed.
    """

    def __init__(
        self,
        source: Sequence[Any],
        *,
        count: int | None = None,
        batch: int,
        seed: int,
        convert: Callable[[Any], Any] = lambda example: example,
        process: int = 0,
        processes: int = 1,
    ):
        with extra_data():
            import grain

        if batch % processes:
            raise ValueError(
                f"`processes` must divide `batch`, {batch}, got {processes}."
            )
        self._options = grain.ReadOptions(
            num_threads=THREADS, prefetch_buffer_size=AHEAD
        )
        examples = grain.MapDataset.source(source)[:count].shuffle(seed=seed).repeat()
        share = examples[process::processes].map(convert)
        self._batches = share.batch(batch // processes)

    def __getitem__(self, number: int) -> Any:
        """Reads one batch."""
        return self._batches[number]

    def starting_at(self, number: int) -> Iterator[Any]:
        """Reads batches ahead of need, from one on.

        Args:
            number: which batch comes first.

        Returns:
            An endless iterator.
        """
        batches = iter(self._batches.to_iter_dataset(self._options))
        batches.set_state({"next_index": number})
        return batches
