"""Checkpoints: written whole or not at all, verified when they are read."""

import hashlib
import logging
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np

from experiments.run_directory import SettingsError

FORMAT = 1  # of what is in a checkpoint; a change to it makes older ones unreadable
KEPT = 2


class Checkpoint(NamedTuple):
    """A state and what was noted with it."""

    step: int
    state: Any
    notes: dict[str, Any]


class Checkpoints:
    """The newest states of one training, in a directory of their own.

    Saving returns as soon as the state has been copied; leaving the `with` block waits
    until it is on disk. A save that is killed leaves the one before it in place.

    Args:
        path: the directory; made if it is missing.
    """

    def __init__(self, path: Path):
        import orbax.checkpoint as ocp

        logging.getLogger("absl").setLevel(logging.ERROR)
        self._orbax = ocp
        self._path = path.absolute()
        self._manager = ocp.CheckpointManager(
            self._path,
            options=ocp.CheckpointManagerOptions(max_to_keep=KEPT, create=True),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._manager.close()

    def save(self, step: int, state: Any, notes: Mapping[str, Any]) -> None:
        """Saves a state; one of the same step is replaced.

        Args:
            step: training steps taken.
            state: a tree of arrays, random keys among them.
            notes: what else to keep, as JSON.
        """
        if step in self._manager.all_steps():
            self._manager.wait_until_finished()
            self._manager.delete(step)
        arrays = named_arrays(state)
        head = {"format": FORMAT, "digest": digest(arrays), **notes}
        self._manager.save(
            step,
            args=self._orbax.args.Composite(
                arrays=self._orbax.args.StandardSave(arrays),
                notes=self._orbax.args.JsonSave(head),
            ),
        )

    def restore(self, start: Any) -> Checkpoint:
        """Reads the newest checkpoint that is whole.

        One that cannot be read is named on the standard error stream, removed, and the
        one before it taken.

        Args:
            start: the state before the first step.

        Returns:
            The checkpoint; `start` itself if there is none.

        Raises:
            SettingsError: if a checkpoint holds the state of something else: naming the
                arrays that differ.
        """
        for step in sorted(self._manager.all_steps(), reverse=True):
            try:
                arrays, notes = self._read(step)
            except Exception as error:  # whatever orbax makes of damaged files
                reason = str(error).splitlines()[0] if str(error) else repr(error)
                print(
                    f"{self._path / str(step)} is damaged ({reason}); "
                    "the checkpoint before it is used.",
                    file=sys.stderr,
                )
                self._manager.delete(step)
                continue
            if notes["format"] != FORMAT:
                raise SettingsError(
                    f"{self._path} holds checkpoints of format {notes['format']}; this "
                    f"version reads format {FORMAT}. Give --force to start again."
                )
            return Checkpoint(step, rebuilt(arrays, start, self._path), notes)
        return Checkpoint(0, start, {})

    def _read(self, step: int) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        restored = self._manager.restore(
            step,
            args=self._orbax.args.Composite(
                arrays=self._orbax.args.StandardRestore(),
                notes=self._orbax.args.JsonRestore(),
            ),
        )
        arrays = {n: np.asarray(array) for n, array in restored["arrays"].items()}
        if digest(arrays) != restored["notes"]["digest"]:
            raise ValueError("its arrays do not have the checksum noted with them")
        return arrays, restored["notes"]


def named_arrays(state: Any) -> dict[str, np.ndarray]:
    """Lists the arrays of a tree under their paths; random keys as their data."""
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return {_name(path): np.asarray(_data(leaf)) for path, leaf in leaves}


def rebuilt(arrays: Mapping[str, np.ndarray], like: Any, source: Path) -> Any:
    """Puts named arrays back into a tree.

    Args:
        arrays: what `named_arrays` gave.
        like: a tree of the structure wanted.
        source: where the arrays come from, for the error.

    Returns:
        A tree like `like` with the arrays as its leaves.

    Raises:
        SettingsError: if names, shapes or dtypes differ from those of `like`.
    """
    wanted = {name: _kind(array) for name, array in named_arrays(like).items()}
    found = {name: _kind(array) for name, array in arrays.items()}
    if found != wanted:
        differing = [
            f"{name}: {found.get(name, 'nothing')} there, "
            f"{wanted.get(name, 'nothing')} asked"
            for name in sorted({*found, *wanted})
            if found.get(name) != wanted.get(name)
        ]
        raise SettingsError(
            f"{source} holds another model ({'; '.join(differing)}); "
            "give another --name, or --force to start again."
        )

    def put(path: Any, leaf: Any) -> Any:
        array = jnp.asarray(arrays[_name(path)])
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(array, impl=jax.random.key_impl(leaf))
        return array

    return jax.tree_util.tree_map_with_path(put, like)


def digest(arrays: Mapping[str, np.ndarray]) -> str:
    """Computes a checksum of named arrays."""
    total = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        total.update(f"{name} {array.dtype} {array.shape}".encode())
        total.update(array.tobytes())
    return total.hexdigest()


def _data(leaf: Any) -> Any:
    is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return jax.random.key_data(leaf) if is_key else leaf


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")


def _kind(array: np.ndarray) -> str:
    return f"{array.dtype}{list(array.shape)}"
