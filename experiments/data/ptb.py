"""The Penn Treebank as three streams of ids."""

from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Int32

from experiments.data.prepared import prepared
from experiments.data.source_files import SourceFile

FILES = (
    SourceFile(
        "ptb.train.txt",
        5_101_618,
        "fcea919f6cf83f35d4d00c6cbf08040d13d4155226340912e2fef9c9c4102cbf",
    ),
    SourceFile(
        "ptb.valid.txt",
        399_782,
        "c9fe6985fe0d4ccb578183407d7668fc6066c20700cb4cf87d8ff1cc34df1bf2",
    ),
    SourceFile(
        "ptb.test.txt",
        449_945,
        "dd65dff31e70846b2a6030a87482edcd5d199130cdcfa1f3dccbb033728deee0",
    ),
)


class TokenStreams(NamedTuple):
    """Three texts, each one long stream of ids into one vocabulary."""

    train: Int32[np.ndarray, " train"]
    validation: Int32[np.ndarray, " validation"]
    test: Int32[np.ndarray, " test"]
    vocabulary: tuple[str, ...]


def load_ptb(
    level: Literal["word", "char"],
    data_dir: Path | None = None,
    cache: Path | None = None,
    *,
    exact: bool = True,
) -> TokenStreams:
    """Loads the Penn Treebank in Mikolov's preprocessing.

    Words: 929,589 / 73,760 / 82,430 with `<eos>`, 10,000 different ones. Characters:
    5,017,482 / 393,042 / 442,423 with newlines, 50 different ones; papers that quote
    some 5,059k count one more space a line.

    Args:
        level: what a symbol is.
        data_dir: folder with the three files. The text is not free to redistribute, so
            that they cannot be downloaded.
        cache: where the prepared data set is kept; see `prepared`.
        exact: whether the files must have the checksums listed. Other text in files of
            these names is read if False.

    Returns:
        The three streams and the vocabulary.

    Raises:
        DataError: if the files are missing, differ or hold no text.

    References:
        Mikolov, Karafiát, Burget, Černocký & Khudanpur, "Recurrent Neural Network Based
        Language Model", INTERSPEECH 2010.
    """
    splits = prepared(
        "ptb_stream", FILES, data_dir=data_dir, cache=cache, config=level, exact=exact
    )
    vocabulary = splits["train"].dataset_info.metadata["vocabulary"]
    streams = {split: _concatenate(source) for split, source in splits.items()}
    return TokenStreams(**streams, vocabulary=tuple(vocabulary))


def _concatenate(source: Any) -> Int32[np.ndarray, " length"]:
    rows = source.__getitems__(list(range(len(source))))
    return np.concatenate([np.asarray(row["ids"], np.int32) for row in rows])
