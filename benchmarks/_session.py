"""One run: its settings, its processes, and the comparisons it makes."""

import importlib.util
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks._harness import Candidate, clock_for, interleave, pin, timed
from benchmarks._load import Load
from benchmarks._peers import TorchPeers
from benchmarks._report import Line, print_heading, print_line, print_load

MATMUL = "matmul"


def _this_python_if_it_has_torch() -> str | None:
    return sys.executable if importlib.util.find_spec("torch") else None


@dataclass(frozen=True)
class Settings:
    """How to measure.

    Args:
        sizes: n, one after the other.
        only: run what has one of these words in its name; everything if empty.
        cores: 1 measures processor time on one core; more, the time of day.
        rounds: samples of each candidate, over which medians are taken.
        sample_seconds: least duration of one sample.
        peer_python: an interpreter with torch, and with geotorch and
            torch-householder where their lines are wanted.
    """

    sizes: tuple[int, ...] = (128, 256, 512)
    only: tuple[str, ...] = ()
    cores: int = 1
    rounds: int = 7
    sample_seconds: float = 0.05
    peer_python: str | None = field(default_factory=_this_python_if_it_has_torch)

    def selects(self, name: str) -> bool:
        """Tells whether `only` lets something of this name run."""
        return not self.only or any(word in name for word in self.only)

    def as_options(self) -> str:
        """Writes the settings as a command line, without the path."""
        options = ["--sizes", *map(str, self.sizes)]
        options += ["--only", *self.only] if self.only else []
        options += ["--cores", str(self.cores), "--rounds", str(self.rounds)]
        options += ["--sample-seconds", str(self.sample_seconds)]
        return " ".join(options + ["--peer-python PATH"] * bool(self.peer_python))


class Session:
    """Confines this process to its cores, starts the peers, prints the heading.

    Args:
        program: name of the module that runs.
        settings: how to measure.
    """

    def __init__(self, program: str, settings: Settings):
        pin(settings.cores)
        self.settings = settings
        self._clock = clock_for(settings.cores)
        python = settings.peer_python
        self._peers = TorchPeers(python, settings.cores) if python else None
        print_heading(
            f"python -m {program} {settings.as_options()}",
            settings.cores,
            self._peers.versions if self._peers else {},
        )
        peers = [self._peers.process_id] if self._peers else []
        self._load = Load([os.getpid(), *peers])

    def candidate(
        self, name: str, fn: Callable[..., Any], *arguments: Any
    ) -> Candidate:
        """Compiles a function for its arguments."""
        program = jax.jit(fn).lower(*arguments).compile()
        memory = program.memory_analysis()

        def call() -> None:
            jax.block_until_ready(program(*arguments))

        return Candidate(
            name,
            lambda calls: timed(call, calls, self._clock),
            memory.temp_size_in_bytes if memory else 0,
        )

    def matmul(self, n: int) -> Candidate:
        """Compiles the unit: one n x n x n product in float32."""
        left, right = jax.random.normal(jax.random.key(0), (2, n, n))
        return self.candidate(MATMUL, jnp.matmul, left, right)

    def peers(
        self, names: Iterable[str], *, gradient: bool, **sizes: int
    ) -> list[Candidate]:
        """Prepares those of the named candidates that the peer process offers."""
        return [
            self._peers.candidate(name, gradient=gradient, **sizes)
            for name in names
            if self._peers and name in self._peers.names
        ]

    def compare(
        self, n: int, candidates: Sequence[Candidate], lines: Iterable[Line]
    ) -> None:
        """Times all candidates together and prints the lines that can be filled.

        Args:
            n: the size, for the table.
            candidates: what to time, the product of `matmul` among them.
            lines: what to print. Those that name an absent peer are left out.
        """
        samples = interleave(
            candidates,
            rounds=self.settings.rounds,
            sample_seconds=self.settings.sample_seconds,
        )
        sizes = {c.name: [c.temporary_bytes] for c in candidates}
        for line in lines:
            values = sizes if line.memory else samples
            if line.reference in values:
                print_line(
                    n,
                    line,
                    values[line.subject],
                    values[line.reference],
                    samples[MATMUL],
                )

    def close(self) -> None:
        """Prints how busy others kept the cores, which tells what to trust."""
        print_load(self._load.of_others(), self.settings.cores)
