"""A tensorflow-datasets builder for Penn Treebank text that needs no TensorFlow."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Int32

from experiments.data.source_files import DataError

ROW = 1000  # ids in an example; where it ends means nothing
END, UNKNOWN = "<eos>", "<unk>"
FILES = {
    "train": "ptb.train.txt",
    "validation": "ptb.valid.txt",
    "test": "ptb.test.txt",
}


class PtbStream(tfds.core.GeneratorBasedBuilder):
    """Mikolov's preprocessing of the Penn Treebank, as ids of words or characters.

    Words: each line ends with `<eos>`. Characters: spaces are kept within a line, and
    each line ends with a newline. Ids count the symbols of the training text in the
    order in which it first uses them.
    """

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [
        tfds.core.BuilderConfig(name="word", description="Words."),
        tfds.core.BuilderConfig(name="char", description="Characters."),
    ]
    MANUAL_DOWNLOAD_INSTRUCTIONS = "Needs ptb.train.txt, ptb.valid.txt, ptb.test.txt."

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=PtbStream.__doc__,
            disable_shuffling=True,
            features=tfds.features.FeaturesDict({
                "ids": tfds.features.Tensor(shape=(None,), dtype=np.int32),
            }),
            metadata=tfds.core.MetadataDict(),
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        assert self.builder_config is not None  # tfds picks the first by default
        word = self.builder_config.name == "word"
        folder = Path(dl_manager.manual_dir)
        symbols = {
            split: read_symbols(folder / name, word=word)
            for split, name in FILES.items()
        }
        vocabulary = list(dict.fromkeys(symbols["train"]))
        assert self.info.metadata is not None  # set by `_info`
        self.info.metadata["vocabulary"] = vocabulary
        return {
            split: self._generate_examples(to_ids(found, vocabulary))
            for split, found in symbols.items()
        }

    def _generate_examples(
        self, ids: Int32[np.ndarray, " length"]
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        for row, first in enumerate(range(0, len(ids), ROW)):
            yield row, {"ids": ids[first : first + ROW]}


def read_symbols(path: Path, *, word: bool) -> list[str]:
    """Splits a text into words or characters.

    A byte order mark, carriage returns, outer spaces and empty lines are dropped, and
    a last line without an end is given one.

    Args:
        path: the file, one sentence a line.
        word: whether to split at spaces.

    Returns:
        The symbols, the ends of lines among them.

    Raises:
        DataError: if the file holds no text, or is not UTF-8.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no UTF-8 text: {error}.") from error
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise DataError(f"{path} holds no text.")
    if word:
        return [symbol for line in lines for symbol in (*line.split(), END)]
    return list("\n".join(lines) + "\n")


def to_ids(symbols: list[str], vocabulary: list[str]) -> Int32[np.ndarray, " length"]:
    """Numbers symbols; those outside the vocabulary count as `<unk>`.

    Args:
        symbols: words or characters.
        vocabulary: what they are numbered by.

    Returns:
        Their places in the vocabulary.

    Raises:
        DataError: if a symbol is unknown, and so is `<unk>`.
    """
    places = {symbol: place for place, symbol in enumerate(vocabulary)}
    default = places.get(UNKNOWN)
    ids = [places.get(symbol, default) for symbol in symbols]
    if None in ids:
        raise DataError(
            f"{symbols[ids.index(None)]!r} occurs in no training text, which has no "
            f"{UNKNOWN} to stand for it."
        )
    return np.asarray(ids, np.int32)
