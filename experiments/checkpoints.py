"""Checkpoints: written whole or not at all, verified when they are read."""

import errno
import hashlib
import logging
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
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
        path: the directory.
        read_only: whether it is left as it is; otherwise it is made if it is missing.
    """

    def __init__(self, path: Path, *, read_only: bool = False):
        import orbax.checkpoint as ocp

        logging.getLogger("absl").setLevel(logging.ERROR)
        self._orbax = ocp
        self._path = path.absolute()
        self._read_only = read_only
        self._manager = ocp.CheckpointManager(
            self._path,
            options=ocp.CheckpointManagerOptions(
                max_to_keep=KEPT,
                create=not read_only,
                read_only=read_only,
                cleanup_tmp_directories=not read_only,
            ),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        with self._writing():
            self._manager.close()

    def save(self, step: int, state: Any, notes: Mapping[str, Any]) -> None:
        """Saves a state as the newest: any of the same step or a later one goes.

        Args:
            step: training steps taken.
            state: a tree of arrays, random keys among them.
            notes: what else to keep, as JSON.

        Raises:
            OSError: naming the directory, if it, or a save before it, could not be
                written.
        """
        arrays = named_arrays(state)
        head = {"format": FORMAT, "digest": digest(arrays), **notes}
        with self._writing():
            for later in self._manager.all_steps():
                if later >= step:
                    self._manager.wait_until_finished()
                    self._manager.delete(later)
            self._manager.save(
                step,
                args=self._orbax.args.Composite(
                    arrays=self._orbax.args.StandardSave(arrays),
                    notes=self._orbax.args.JsonSave(head),
                ),
                force=True,
            )

    def restore(self, start: Any) -> Checkpoint:
        """Reads the newest checkpoint that is whole.

        One that is damaged is named on the standard error stream and renamed, and the
        one before it is taken.

        Args:
            start: the state before the first step.

        Returns:
            The checkpoint; `start` itself if there is none.

        Raises:
            SettingsError: if a checkpoint holds the state of something else: naming the
                arrays that differ.
            PermissionError: if one may not be read.
            MemoryError: if one is too large to be read.
        """
        for step in sorted(self._manager.all_steps(), reverse=True):
            try:
                notes = self._read(step, notes=self._orbax.args.JsonRestore())
                self._check_format(notes)
                arrays = self._read(step, arrays=self._orbax.args.StandardRestore())
                arrays = {name: np.asarray(array) for name, array in arrays.items()}
                _check_digest(arrays, notes)
            except (SettingsError, PermissionError, MemoryError):
                raise  # no damage, and no reason to go back
            except Exception as error:  # whatever orbax makes of damaged files
                self._set_aside(step, error)
                continue
            return Checkpoint(step, rebuilt(arrays, start, self._path), notes)
        return Checkpoint(0, start, {})

    def _read(self, step: int, **what: Any) -> dict[str, Any]:
        ((name, wanted),) = what.items()
        composite = self._orbax.args.Composite(**{name: wanted})
        return self._manager.restore(step, args=composite)[name]

    def _check_format(self, notes: Mapping[str, Any]) -> None:
        found = notes.get("format", "unknown")
        if found != FORMAT:
            raise SettingsError(
                f"{self._path} holds checkpoints of format {found}; this version reads "
                f"format {FORMAT}. Give --force to start again."
            )

    def _set_aside(self, step: int, error: Exception) -> None:
        reason = str(error).splitlines()[0] if str(error) else repr(error)
        rest = [other for other in self._manager.all_steps() if other < step]
        then = f"step {max(rest)} is used" if rest else "there is none before it"
        place = self._path / str(step)
        print(f"{place} is damaged ({reason}); {then}.", file=sys.stderr)
        if not self._read_only:
            place.rename(self._path.with_name(f"{self._path.name}-{step}-damaged"))
            self._manager.reload()

    @contextmanager
    def _writing(self) -> Generator[None]:
        try:
            yield
        except (OSError, ValueError) as error:  # ValueError is what a full disk gives
            reason = str(error).splitlines()[0] if str(error) else repr(error)
            code = getattr(error, "errno", None) or errno.EIO
            raise OSError(code, reason, str(self._path)) from error


def named_arrays(state: Any) -> dict[str, np.ndarray]:
    """Lists the arrays of a tree under their paths; random keys as their data.

    Arrays without numbers are left out: orbax cannot write them.

    Args:
        state: a tree of arrays.

    Returns:
        The arrays that hold something.
    """
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return {_name(path): np.asarray(_data(leaf)) for path, leaf in leaves if leaf.size}


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
        if not leaf.size:
            return leaf
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


def _check_digest(arrays: Mapping[str, np.ndarray], notes: Mapping[str, Any]) -> None:
    if digest(arrays) != notes["digest"]:
        raise ValueError("its arrays do not have the checksum noted with them")


def _data(leaf: Any) -> Any:
    is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return jax.random.key_data(leaf) if is_key else leaf


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")


def _kind(array: np.ndarray) -> str:
    return f"{array.dtype}{list(array.shape)}"
