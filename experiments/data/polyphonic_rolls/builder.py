"""A tensorflow-datasets builder for piano rolls that needs no TensorFlow."""

from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import UInt8

from experiments.data.source_files import DataError, read_arrays

KEYS, LOWEST = 88, 21  # of a piano; the MIDI number of the lowest
COLLECTIONS = ("jsb_chorales", "nottingham", "musedata", "piano_midi")
SPLITS = {"train": "train", "validation": "valid", "test": "test"}


class PolyphonicRolls(tfds.core.GeneratorBasedBuilder):
    """Pieces of music as rolls: which of the 88 keys are down at each time step."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name=name) for name in COLLECTIONS]
    MANUAL_DOWNLOAD_INSTRUCTIONS = "Needs the .npz file of the collection."

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=PolyphonicRolls.__doc__,
            disable_shuffling=True,
            features=tfds.features.FeaturesDict({
                "roll": tfds.features.Tensor(shape=(None, KEYS), dtype=np.uint8),
            }),
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        assert self.builder_config is not None  # tfds picks the first by default
        path = Path(dl_manager.manual_dir) / f"{self.builder_config.name}.npz"
        arrays = read_arrays(path)
        return {
            split: self._generate_examples(unpack_rolls(arrays, prefix, path))
            for split, prefix in SPLITS.items()
        }

    def _generate_examples(
        self, rolls: list[UInt8[np.ndarray, "time 88"]]
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        for place, roll in enumerate(rolls):
            yield place, {"roll": roll}


def unpack_rolls(
    arrays: Mapping[str, np.ndarray], prefix: str, path: Path
) -> list[UInt8[np.ndarray, "time 88"]]:
    """Unpacks the pieces of one split.

    Args:
        arrays: what the file holds: under `{prefix}_packed` the time steps of all
            pieces, eight keys a byte, the lowest in the highest bit; under
            `{prefix}_offsets` where each piece begins, and where the last one ends.
        prefix: the split's name in the file.
        path: the file, for errors.

    Returns:
        Each piece as zeros and ones; silent time steps are kept.

    Raises:
        DataError: if an array is missing, has another shape, or the offsets do not
            divide the time steps into pieces; or if the keys are not those of a piano.
    """
    missing = {f"{prefix}_packed", f"{prefix}_offsets"} - set(arrays)
    if missing:
        raise DataError(f"{path} lacks {', '.join(sorted(missing))}.")
    packed, offsets = arrays[f"{prefix}_packed"], arrays[f"{prefix}_offsets"]
    keys = np.asarray(arrays.get("n_keys", KEYS)).tolist()
    lowest = np.asarray(arrays.get("lowest_midi", LOWEST)).tolist()
    if (keys, lowest) != (KEYS, LOWEST):
        raise DataError(
            f"{path} has {keys} keys from MIDI note {lowest}, not {KEYS} from {LOWEST}."
        )
    if packed.dtype != np.uint8 or packed.ndim != 2 or packed.shape[1] != KEYS // 8:
        raise DataError(
            f"{path}: {prefix}_packed has shape {packed.shape} and dtype "
            f"{packed.dtype}, not (time steps, {KEYS // 8}) of uint8."
        )
    ends = offsets.ravel().tolist() if offsets.dtype.kind in "iu" else []
    lengths = [end - start for start, end in pairwise(ends)]
    if ends[:1] + ends[-1:] != [0, len(packed)] or min(lengths, default=0) < 1:
        raise DataError(
            f"{path}: {prefix}_offsets do not divide {len(packed)} time steps into "
            "pieces of one at least."
        )
    rolls = np.unpackbits(packed, axis=1)
    return np.split(rolls, ends[1:-1])
