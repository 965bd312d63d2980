"""Ways to look through the unit cube for the largest reward."""

import itertools
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Any, Literal, Protocol

import numpy as np

from experiments.run_directory import SettingsError

SearchName = Literal["grid", "random", "vhct"]
Point = tuple[float, ...]


class Searcher(Protocol):
    """Proposes points, and is told what each is worth."""

    def ask(self) -> Point:
        """Proposes the next point of the unit cube."""
        ...

    def tell(self, reward: float) -> None:
        """Takes the reward, about in [0, 1], of the point proposed last."""
        ...


class Grid:
    """The points of a regular grid, in order, again and again.

    Args:
        axes: how many axes there are.
        trials: how many points are to be asked for; the grid has at most that many.
    """

    def __init__(self, axes: int, trials: int):
        side = int(trials ** (1 / axes) + 1e-9)
        places = [0.5] if side < 2 else [float(x) for x in np.linspace(0, 1, side)]
        self._points: Iterator[Point] = itertools.cycle(
            itertools.product(places, repeat=axes)
        )

    def ask(self) -> Point:
        """Proposes the next point."""
        return next(self._points)

    def tell(self, reward: float) -> None:
        """Learns nothing."""


class Random:
    """Points drawn uniformly.

    Args:
        axes: how many axes there are.
        seed: seed of the draws.
    """

    def __init__(self, axes: int, seed: int):
        self._axes = axes
        self._draws = np.random.default_rng(seed)

    def ask(self) -> Point:
        """Draws a point."""
        return tuple(map(float, self._draws.random(self._axes)))

    def tell(self, reward: float) -> None:
        """Learns nothing."""


class Bandit:
    """A hierarchical bandit of PyXAB, which is the code of the authors of VHCT.

    PyXAB draws the axis that a cell is split along from NumPy's global generator. This
    class gives it a generator of its own for each call, and puts the global one back.

    Args:
        axes: how many axes there are.
        seed: seed of the splits.
        algorithm: a class of PyXAB; VHCT if None.
        options: for its constructor.

    Raises:
        SettingsError: if PyXAB is not installed.

    References:
        Li, Wang, Cheng & Song, "Optimum-statistical Collaboration Towards General and
        Efficient Black-box Optimization", TMLR 2023, arXiv:2106.09215.
    """

    def __init__(self, axes: int, seed: int, algorithm: Any = None, **options: Any):
        self._random = np.random.RandomState(seed)
        with self._own_generator():
            build = algorithm or vhct()
            self._bandit = build(domain=[[0.0, 1.0]] * axes, **options)
        self._round = 0

    def ask(self) -> Point:
        """Proposes the center of the cell that promises most."""
        self._round += 1
        with self._own_generator():
            return tuple(map(float, self._bandit.pull(self._round)))

    def tell(self, reward: float) -> None:
        """Updates the tree, and splits the cell once it is known well enough."""
        with self._own_generator():
            self._bandit.receive_reward(self._round, reward)

    @contextmanager
    def _own_generator(self) -> Generator[None]:
        before = np.random.get_state()
        np.random.set_state(self._random.get_state())
        try:
            yield
        finally:
            self._random.set_state(np.random.get_state())
            np.random.set_state(before)


def vhct() -> Any:
    """Imports VHCT.

    Returns:
        The class of PyXAB.

    Raises:
        SettingsError: naming the extra that holds it, if it is not installed.
    """
    try:
        from PyXAB.algos.VHCT import VHCT
    except ImportError as error:
        raise SettingsError(
            'VHCT needs PyXAB, of the extra `tuning`: pip install ".[tuning]"'
        ) from error
    return VHCT


def make_searcher(name: SearchName, axes: int, trials: int, seed: int) -> Searcher:
    """Makes the searcher of that name."""
    if name == "grid":
        return Grid(axes, trials)
    if name == "random":
        return Random(axes, seed)
    return Bandit(axes, seed)
