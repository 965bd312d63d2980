"""What a comparison of methods can be told, and what it refuses."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from experiments.limits import Limited, flag

Preset = Literal["quick", "paper", "sbo_rnn_100", "sbo_rnn_500", "h_detach"]
MethodName = Literal[
    "rnn",
    "orthogonal_start",
    "torus_rnn",
    "leaky_rnn",
    "limit_cycle",
    "gru",
    "lstm",
    "scornn",
    "exprnn",
    "spectral_rnn",
    "orthogonal_gru",
    "orthogonal_lstm",
    "spectral_gru",
    "unprojected_gru",
    "nc_gru",
    "enrnn",
    "sbo_rnn",
    "h_detach",
    "clipped_rnn",
    "clipped_gru",
    "clipped_lstm",
]
# Methods that have an orthogonal matrix by the scaled Cayley transform.
SCALED_CAYLEY: tuple[MethodName, ...] = (
    "scornn",
    "orthogonal_gru",
    "orthogonal_lstm",
    "nc_gru",
    "enrnn",
)
RATES = ("learning_rate", "coordinate_learning_rate")
USERS: Mapping[str, tuple[MethodName, ...]] = {
    "reflectors": ("spectral_rnn",),
    "radius": ("spectral_rnn",),
    "negatives": SCALED_CAYLEY,
    "coordinate_learning_rate": (
        "scornn",
        "orthogonal_gru",
        "orthogonal_lstm",
        "enrnn",
        "exprnn",
    ),
    "short": ("enrnn",),
    "rank": ("sbo_rnn",),
    "step_size": ("sbo_rnn",),
    "p_detach": ("h_detach",),
    "dt": ("leaky_rnn", "limit_cycle"),
    "spectral_limit": ("spectral_gru",),
    "uniform": ("lstm", "clipped_lstm", "h_detach"),
    "clip": ("clipped_rnn", "clipped_gru", "clipped_lstm"),
}
MOST_STEPS = 2**31 - 1  # steps are counted in int32
LARGEST_RATE = 2.0**128  # rates are float32
OptimizerName = Literal["adam", "rmsprop", "sgd"]
DeviceKind = Literal["any", "cpu", "gpu", "tpu"]


@dataclass(frozen=True)
class TrainingSettings(Limited):
    """Settings that every comparison shares.

    Attributes:
        preset: where the other settings start; `paper` is the published setting, others
            are named after the method that they are about.
        methods: which methods to train.
        hidden: length of the hidden state.
        reflectors: Spectral-RNN: Householder reflectors on each side.
        radius: Spectral-RNN: its singular values stay within this distance of 1.
        negatives: scoRNN, ENRNN and the orthogonal gated cells: entries -1 of the
            diagonal of their scaled Cayley transform; the papers tune it by task.
        short: ENRNN: how many of its hidden units are the short memory.
        rank: SBO-RNN: its recurrent matrix differs from the identity by so much rank.
        step_size: SBO-RNN: of the descent that a time step is.
        p_detach: h-detach: the probability of stopping the gradient through h.
        dt: leaky RNNs: length of their steps, in (0, 1]; about 1 / dt steps are
            forgotten where nothing keeps them.
        spectral_limit: spectral GRU: largest singular value of its candidate matrix.
        uniform: LSTMs: whether all weights and biases start uniform in ±1/√n, n being
            `hidden`, the read-out's too, in the place of Flax's start.
        clip: clipped methods: the norm that longer gradients are shortened to.
        optimizer: of everything but the coordinates of orthogonal matrices, and of
            Spectral-RNN's.
        learning_rate: its rate.
        coordinate_learning_rate: of RMSprop, for the coordinates of orthogonal
            matrices.
        dtype: of products within the cell. Weights, coordinates and the state are
            float32; Flax's cells have their state in it too.
        batch: sequences in a training step.
        steps: training steps.
        evaluate_every: training steps from one measurement to the next.
        seeds: one run each, of all methods; they train side by side in one program.
        device: what to run on.
        data_dir: folder with the files of the data set; they are downloaded if it is
            not given. What is generated or comes with a package needs none.
        tensorboard: whether to write measurements for TensorBoard too.
        save_every: seconds between checkpoints: about what a killed run loses.
        runs: directory that holds the run directories. Nothing is written elsewhere,
            but for data sets, which are prepared where tensorflow-datasets keeps them.
        name: name of the run directory; that of the experiment if empty.
        force: start again, and drop the run of that name.
        keep_going: let a seed whose loss becomes infinite or NaN fail by itself, and go
            on with the others.
        needs: settings that mean nothing unless another one is set.
    """

    needs: ClassVar[Mapping[str, str]] = {}

    preset: Preset = "quick"
    methods: tuple[MethodName, ...] = ("rnn", "gru", "scornn", "spectral_rnn")
    hidden: int = 32
    reflectors: int = 8
    radius: float = 0.01
    negatives: int = 16
    short: int = 6
    rank: int = 8
    step_size: float = 1e-3
    p_detach: float = 0.25
    dt: float = 0.1
    spectral_limit: float = 1.8
    uniform: bool = False
    clip: float = 1.0
    optimizer: OptimizerName = "adam"
    learning_rate: float = 1e-3
    coordinate_learning_rate: float = 1e-4
    dtype: Literal["float32", "bfloat16"] = "float32"
    batch: int = 64
    steps: int = 5000
    evaluate_every: int = 100
    seeds: tuple[int, ...] = (0, 1, 2)
    device: DeviceKind = "any"
    data_dir: Path | None = None
    tensorboard: bool = False
    save_every: float = 10.0
    runs: Path = Path("runs")
    name: str = ""
    force: bool = False
    keep_going: bool = False

    def problems(self) -> list[str]:
        """Lists what cannot be run, a line each; empty if all is well."""
        found = self.below(1, "hidden", "batch", "steps", "evaluate_every")
        for name in RATES:
            value = getattr(self, name)
            if not 0 < value < LARGEST_RATE:
                found.append(f"--{flag(name)} must be positive, got {value}.")
        if self.steps > MOST_STEPS:
            found.append(f"--steps must be at most {MOST_STEPS:,}, got {self.steps}.")
        if not 0 <= self.p_detach <= 1:
            found.append(f"--p-detach must lie between 0 and 1, got {self.p_detach}.")
        if not 0 < self.dt <= 1:
            found.append(f"--dt must be above 0 and at most 1, got {self.dt}.")
        for name in ("reflectors", "negatives", "short", "rank"):
            value, limit = getattr(self, name), max(self.hidden, 1)
            if set(USERS[name]) & set(self.methods) and not 0 <= value <= limit:
                found.append(
                    f"--{name} must lie between 0 and --hidden ({limit}), got {value}."
                )
        for name in ("radius", "save_every", "step_size", "spectral_limit", "clip"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                found.append(f"--{flag(name)} must be at least 0, got {value}.")
        for name in ("methods", "seeds"):
            values = getattr(self, name)
            if not values or len(set(values)) < len(values):
                found.append(
                    f"--{name} must be given without repeats, at least one, "
                    f"got {' '.join(map(str, values)) or 'none'}."
                )
        found += [
            f"--seeds must lie between 0 and 2**32 - 1, got {seed}."
            for seed in self.seeds
            if not 0 <= seed < 2**32
        ]
        if self.name != Path(self.name).name or self.name == "..":
            found.append(f"--name must be a plain name, got {self.name!r}.")
        return found

    def idle(self, preset: "TrainingSettings") -> list[str]:
        """Lists what was given but changes nothing, a line each.

        Args:
            preset: the settings that were started from.

        Returns:
            The lines.
        """
        given = {
            name: getattr(self, name) != getattr(preset, name)
            for name in (*USERS, *self.needs)
        }
        return [
            f"--{flag(name)} changes nothing: none of --methods has it."
            for name, users in USERS.items()
            if given[name] and not set(users) & set(self.methods)
        ] + [
            f"--{flag(name)} changes nothing without --{flag(other)}."
            for name, other in self.needs.items()
            if given[name] and not getattr(self, other)
        ]
