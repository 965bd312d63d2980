"""Kills a run again and again, and holds what it ends with to a run left alone.

`python -m benchmarks.kills` trains the same small networks twice: once undisturbed, and
once in a process that is killed at random moments, by SIGKILL or by SIGTERM, and
started again. Scores, measurements and the arrays of the last checkpoints must be equal
bit for bit.
"""

import itertools
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

COMMAND = (
    *(sys.executable, "-m", "experiments", "adding", "--length", "50"),
    *("--hidden", "16", "--reflectors", "4", "--batch", "16"),
    *("--test-sequences", "64", "--validation-sequences", "64"),
    *("--methods", "rnn", "spectral_rnn", "--seeds", "0", "1"),
)
TIMES = {"seconds", "milliseconds_per_step", "waiting"}  # differ from run to run


@dataclass(frozen=True)
class Options:
    """What is done to the run.

    Attributes:
        kills: how often it is killed.
        steps: how long it is, in training steps.
        save_every: seconds between its checkpoints.
        patience: longest time between two kills, in seconds, beside that of a save.
        seed: seed of the moments and of the signals.
    """

    kills: int = 20
    steps: int = 20_000
    save_every: float = 0.3
    patience: float = 6.0
    seed: int = 0


def main(options: Options) -> int:
    """Runs both, compares, and prints what was found; 0 if all is equal."""
    draw = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        alone, killed = Path(folder, "alone"), Path(folder, "killed")
        if start(alone, options).wait():
            print("the run that is left alone fails")
            return 1
        codes: list[int] = []
        for number in itertools.cycle((signal.SIGKILL, signal.SIGTERM)):
            if len(codes) == options.kills:
                break
            process = start(killed, options)
            # Half of them anywhere, imports included; the others after a new save.
            if draw.random() < 0.5:
                wait_for_a_save(killed, process)
            time.sleep(draw.uniform(0, options.patience))
            if process.poll() is not None:
                print(f"ended by itself after {len(codes)} kills")
                break
            process.send_signal(number)
            codes.append(process.wait())
            print(
                f"kill {len(codes)}: {number.name}, exit {codes[-1]}, {saved(killed)}"
            )
        code = start(killed, options).wait()
        differing = differences(alone / "adding", killed / "adding")
    print(f"{len(codes)} kills, then exit {code}")
    print(*(f"DIFFERS: {name}" for name in differing), sep="\n", end="")
    if differing or code or len(codes) < options.kills:
        return 1
    print("equal bit for bit: metrics, scores, gradients and checkpoints")
    return 0


def start(runs: Path, options: Options) -> subprocess.Popen:
    """Starts the run, or goes on with it."""
    more = "--steps", options.steps, "--save-every", options.save_every, "--runs", runs
    return subprocess.Popen(
        [*COMMAND, *map(str, more)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def wait_for_a_save(runs: Path, process: subprocess.Popen) -> None:
    """Waits until a process has saved something new, or has ended."""
    before = saved(runs)
    while saved(runs) == before and process.poll() is None:
        time.sleep(0.02)


def saved(runs: Path) -> str:
    """Says which steps are saved."""
    found = sorted(runs.glob("adding/checkpoints/adding/*/[0-9]*"))
    steps = [f"{path.parent.name} {path.name}" for path in found]
    return ", ".join(steps) or "nothing"


def differences(one: Path, other: Path) -> list[str]:
    """Names what differs between two run directories."""
    names = ["metrics.jsonl", "result.json", "checkpoints"]
    readers = [lambda path: path.read_bytes(), result, digests]
    return [
        name
        for name, read in zip(names, readers, strict=True)
        if read(one / name) != read(other / name)
    ]


def result(path: Path) -> Any:
    """Reads a result without its times."""
    found = json.loads(path.read_text())
    for method in found["methods"]:
        for name in TIMES:
            method.pop(name)
    return found


def digests(path: Path) -> dict[str, str]:
    """Reads the checksum of the last checkpoint of each training."""
    newest = {
        method.name: max(
            (step for step in method.iterdir() if step.name.isdecimal()),
            key=lambda step: int(step.name),
        )
        for method in path.glob("*/*")
    }
    return {
        name: json.loads((step / "notes" / "metadata").read_text())["digest"]
        for name, step in newest.items()
    }


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
