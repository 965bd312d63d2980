"""The adding problem, for constrained and unconstrained recurrences.

The setting is that of Helfrich, Willmott & Ye, "Orthogonal Recurrent Neural Networks
with Scaled Cayley Transform", ICML 2018, arXiv:1707.09520: T = 200, 170 hidden units of
which 85 have a -1, batches of 50, 10 passes over 100,000 sequences, Adam at 1e-3 and
RMSprop at 1e-4 for the coordinates. It is the preset `paper`. `quick` is smaller in
every respect, and compares as many hidden units, not as many parameters.

What differs: sequences are drawn anew for each batch and never seen twice, and every
method starts from the answer 0. Spectral-RNN (Zhang, Lei & Dhillon, ICML 2018,
arXiv:1803.09327) has the 16 reflectors, the radius 0.01, the unit reflectors and the
Glorot start of its authors' code, which uses T = 100.

What came out of `quick`, as the median test error of seeds 0, 1 and 2: tanh RNN 0.1642,
GRU 0.0004, LSTM 0.0036, scoRNN 0.1663, expRNN 0.1637, Spectral-RNN 0.0073, orthogonal
GRU 0.0015, orthogonal LSTM 0.1283. scoRNN and expRNN keep their gradients but have not
begun to learn at their published rates; the GRU, with five times the parameters, learns
before Spectral-RNN does.

The presets `sbo_rnn_100` and `sbo_rnn_500` are those of SBO-RNN (Zhang et al., NeurIPS
2021), which has the same settings for both lengths and no clipping: a rank of 8, a step
size and a rate of its authors, and fewer hidden units. In 3,000 steps its median error
is 0.0000 at T = 100 (0.0012 at most) and 0.0041 at T = 500 (0.0054); that of the tanh
RNN is 0.1644 and 0.1671.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from experiments.data import TRIVIAL_ERROR, adding_batch
from experiments.experiment import Check, Experiment
from experiments.generated import GeneratedSettings, sequences_of
from experiments.losses import squared_errors
from experiments.settings import MethodName, Preset
from experiments.summary import Summary
from experiments.task import Task

PAPER_SEQUENCES = 1_000_000
SOLVED = 0.02
SOLVERS: tuple[MethodName, ...] = ("spectral_rnn", "sbo_rnn")
SBO_RNN_LENGTHS: Mapping[Preset, int] = {"sbo_rnn_100": 100, "sbo_rnn_500": 500}


@dataclass(frozen=True)
class AddingSettings(GeneratedSettings):
    """Settings of the adding problem.

    Attributes:
        length: time steps of a sequence, T.
    """

    length: int = 200

    def problems(self) -> list[str]:
        """Lists what cannot be run, a line each; empty if all is well."""
        return super().problems() + self.below(2, "length")


PRESETS: Mapping[Preset, AddingSettings] = {
    "quick": AddingSettings(),
    "paper": AddingSettings(
        preset="paper",
        hidden=170,
        negatives=85,
        reflectors=16,
        batch=50,
        steps=20_000,
        evaluate_every=500,
    ),
    **{
        preset: AddingSettings(
            preset=preset,
            methods=("rnn", "sbo_rnn"),
            learning_rate=1e-2,
            steps=3000,
            length=length,
        )
        for preset, length in SBO_RNN_LENGTHS.items()
    },
}


def adding_task(settings: AddingSettings) -> Task:
    """Makes the task."""
    read = settings.steps * settings.batch * settings.length
    percent = 100 * read / (PAPER_SEQUENCES * 200)
    return Task(
        name="adding",
        title=f"Adding problem, T = {settings.length}",
        in_features=2,
        out_features=1,
        **sequences_of(settings, adding_batch),
        losses=squared_errors,
        scores=squared_errors,
        score_label="mean squared error",
        higher_is_better=False,
        log_scale=True,
        baseline=TRIVIAL_ERROR,
        baseline_label="always answering 1 (1/6)",
        budget=f"{percent:.3g}% of its {PAPER_SEQUENCES:,} sequences of 200 steps, "
        f"with {settings.hidden} of its 170 hidden units",
    )


def adding_checks(
    task: Task, summaries: Mapping[MethodName, Summary]
) -> Sequence[Check]:
    """Tests whether a constrained network solves what the plain one does not begin."""
    plain = summaries.get("rnn")
    solvers = [summaries[name] for name in SOLVERS if name in summaries]
    if plain is None or not solvers:
        return []
    checks = [
        Check(
            f"the median error of {solver.title} is below {SOLVED}",
            solver.median < SOLVED,
            f"{solver.median:.4f}",
        )
        for solver in solvers
    ]
    checks.append(
        Check(
            "the median error of the tanh RNN is within a tenth of 1/6",
            abs(plain.median - TRIVIAL_ERROR) <= TRIVIAL_ERROR / 10,
            f"{plain.median:.4f}",
        )
    )
    if "spectral_rnn" in summaries:
        checks += gradients_over_time(plain, summaries["spectral_rnn"])
    return checks


def gradients_over_time(plain: Summary, spectral: Summary) -> Sequence[Check]:
    """Tests whose gradient reaches the beginning of a sequence."""
    return [
        Check(
            "the gradient of the tanh RNN falls below a millionth of its largest",
            plain.gradient_ratio < 1e-6,
            f"ratio {plain.gradient_ratio:.0e}",
        ),
        Check(
            "that of Spectral-RNN stays above a thousandth of its largest",
            spectral.gradient_ratio > 1e-3,
            f"ratio {spectral.gradient_ratio:.0e}",
        ),
    ]


ADDING = Experiment(
    summary="remember two of T numbers and add them",
    paper="Helfrich et al. 2018; Zhang et al. 2018",
    data="generated",
    duration="6 min",
    presets=PRESETS,
    task=adding_task,
    checks=adding_checks,
)
