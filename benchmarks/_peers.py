"""The other side of the pipe: candidates that run in a PyTorch process."""

import json
import subprocess
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks._harness import Candidate

_ROOT = Path(__file__).parents[1]


class TorchPeers:
    """A process that times PyTorch candidates on request and is idle in between.

    It inherits the cores that this process is confined to, and ends when this one does.

    Args:
        python: an interpreter that can import torch.
        cores: number of threads, which also chooses the clock.

    Raises:
        RuntimeError: if the process does not start.
    """

    def __init__(self, python: str, cores: int):
        self._process = subprocess.Popen(
            [python, "-W", "ignore", "-m", "benchmarks._torch_worker", str(cores)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=_ROOT,
        )
        self.process_id = self._process.pid
        greeting = self._receive()
        self.versions: dict[str, str] = greeting["versions"]
        self.names: frozenset[str] = frozenset(greeting["names"])

    def candidate(self, name: str, *, gradient: bool, **sizes: int) -> Candidate:
        """Builds a candidate in the peer process.

        Args:
            name: one of `names`.
            gradient: whether a call runs the backward pass too.
            **sizes: what its builder takes.

        Returns:
            A candidate that holds until the next one of the same name is built.
        """
        self._ask(prepare=name, gradient=gradient, sizes=sizes)
        return Candidate(name, partial(self._sample, name))

    def _sample(self, name: str, calls: int) -> float:
        return self._ask(sample=name, calls=calls)

    def _ask(self, **request: Any) -> Any:
        assert self._process.stdin is not None
        print(json.dumps(request), file=self._process.stdin, flush=True)
        return self._receive()

    def _receive(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("The peer process ended; its own message is above.")
        return json.loads(line)
