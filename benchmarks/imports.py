"""How long `import gradstab` takes, against `import flax.nnx` on which it stands.

`python -m benchmarks.imports` starts interpreters in turn, one import in each.
"""

import statistics
import subprocess
import sys
from functools import partial
from time import perf_counter

from benchmarks._harness import Candidate, interleave, spread, timed, verdict

ROUNDS = 9
GOAL = 1.5


def importing(module: str) -> Candidate:
    """Makes a candidate of a fresh interpreter that imports one module and ends."""
    command = [sys.executable, "-c", f"import {module}"]
    call = partial(subprocess.run, command, check=True)
    return Candidate(module, lambda calls: timed(call, calls, perf_counter))


def main() -> None:
    """Prints the median of each in seconds, and that of their ratio."""
    names = "gradstab", "flax.nnx"
    candidates = [importing(name) for name in names]
    samples = interleave(candidates, rounds=ROUNDS, sample_seconds=0.0)
    for name in names:
        print(f"import {name:<10}{statistics.median(samples[name]):7.2f} s")
    ours, theirs = (samples[name] for name in names)
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    ratio = statistics.median(ratios)
    print(f"ratio {ratio:.2f} +- {spread(ratios):.0%}, goal {GOAL}:", end=" ")
    print(verdict(ratio, GOAL))


if __name__ == "__main__":
    main()
