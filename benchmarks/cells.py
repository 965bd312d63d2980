"""Recurrent cells against Flax, PyTorch and their own unconstrained twins.

`python -m benchmarks.cells --peer-python PATH` prints the time of a value and gradient
with respect to all parameters, and the temporary memory it needs, as ratios. Sequences
are 784 steps of one feature, the setting of pixel-by-pixel MNIST, in batches of 64. See
the README beside this file.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import tyro
from flax import nnx
from jaxtyping import Array

import gradstab as gs
from benchmarks._harness import Candidate
from benchmarks._report import Line
from benchmarks._session import Session, Settings

STEPS, BATCH = 784, 64

# Stores 28 carries and recomputes 28 steps at a time: both the square root of 784.
SEGMENT = 28

# The (cores, n) that goals are set for.
POINTS = ((1, 128), (1, 512), (2, 256))

Model = Callable[[int, nnx.Rngs], nnx.Module]


@dataclass(frozen=True)
class Claim:
    """A line of the table, with its goal for each (cores, n)."""

    subject: str
    reference: str
    goals: Mapping[tuple[int, int], float] = field(default_factory=dict)
    memory: bool = False


@dataclass(frozen=True)
class Comparison:
    """Models that are timed together.

    Args:
        name: what `--only` looks at.
        models: builds each JAX model for a size.
        torch: names in the peer process.
        claims: the lines to print.
    """

    name: str
    models: Mapping[str, Model]
    torch: tuple[str, ...]
    claims: tuple[Claim, ...]


def everywhere(goal: float) -> Mapping[tuple[int, int], float]:
    """Returns the same goal for every point."""
    return dict.fromkeys(POINTS, goal)


def flax(cell: Callable[..., nnx.RNNCellBase]) -> Model:
    """Returns the builder of Flax's own sequence layer around one of its cells."""
    return lambda n, rngs: nnx.RNN(cell(1, n, rngs=rngs), time_major=True)


def elman(recurrent: Callable[..., gs.nn.Parametrization], **options: Any) -> Model:
    """Returns the builder of a tanh network with a parametrized recurrent matrix."""

    def build(n: int, rngs: nnx.Rngs) -> nnx.Module:
        matrix = recurrent((n, n), rngs=rngs)
        cell = gs.nn.OrthogonalCell(
            1, n, recurrent=matrix, activation_fn=jnp.tanh, rngs=rngs
        )
        return gs.nn.RNN(cell, time_major=True, **options)

    return build


def gru(candidate: Callable[..., gs.nn.Parametrization], **options: Any) -> Model:
    """Returns the builder of a gated network with a parametrized candidate."""

    def build(n: int, rngs: nnx.Rngs) -> nnx.Module:
        cell = gs.nn.GRUCell(1, n, candidate=candidate((n, n), rngs=rngs), rngs=rngs)
        return gs.nn.RNN(cell, time_major=True, **options)

    return build


def constrained(
    cell: Callable[..., nnx.RNNCellBase], **matrices: Callable[..., Any] | None
) -> Model:
    """Returns the builder of a cell with some of its matrices given."""

    def build(n: int, rngs: nnx.Rngs) -> nnx.Module:
        given = {name: make(n, rngs) for name, make in matrices.items() if make}
        return gs.nn.RNN(cell(1, n, rngs=rngs, **given), time_major=True)

    return build


class MultipliedOut(nnx.Module):
    """A sequence layer whose matrices are built whole.

    Args:
        rnn: the layer.
    """

    def __init__(self, rnn: nnx.Module):
        self.rnn = rnn

    def __call__(self, inputs: Array) -> Array:
        """Runs the layer."""
        return gs.nn.materialize(self.rnn)(inputs)


def few(kind: Callable[..., gs.nn.Parametrization]) -> Model:
    """Returns the builder of a network with a sixteenth of its reflectors."""

    def build(n: int, rngs: nnx.Rngs) -> nnx.Module:
        return elman(partial(kind, reflectors=n // 16))(n, rngs)

    return build


def free(n: int, rngs: nnx.Rngs) -> gs.nn.Parametrization:
    """Makes a matrix that is not constrained."""
    return gs.nn.Unconstrained((n, n), rngs=rngs)


def clipped(n: int, rngs: nnx.Rngs) -> gs.nn.Parametrization:
    """Makes a matrix of bounded singular values."""
    return gs.nn.SpectralClipped((n, n), maximum=1.8, rngs=rngs)


def enrnn(in_features: int, n: int, **options: Any) -> gs.nn.ENRNNCell:
    """Makes a cell with a quarter of its state for the short memory."""
    return gs.nn.ENRNNCell(in_features, n, short_features=n // 4, **options)


SIMPLE, FREE = "nnx.RNN(SimpleCell)", "OrthogonalCell, Unconstrained"
CAYLEY, HOUSEHOLDER = "OrthogonalCell, Cayley", "OrthogonalCell, Householder"
SVD, SIMPLE_SEGMENTS = "OrthogonalCell, SVD", "OrthogonalCell, Cayley, recomputing"
GATED, GATED_FREE = "nnx.RNN(GRUCell)", "GRUCell, Unconstrained"
GATED_CAYLEY, GATED_SEGMENTS = "GRUCell, Cayley", "GRUCell, Cayley, recomputing"
TORCH_RNN, TORCH_GRU = "torch nn.RNN", "torch nn.GRU"
NC, NC_FREE = "NCGRUCell", "NCGRUCell, Unconstrained"
SPECTRAL, SPECTRAL_FREE = "SpectralGRUCell, SpectralClipped", "SpectralGRUCell"
EN, EN_FREE = "ENRNNCell", "ENRNNCell, Unconstrained"

FACTORS, WHOLE = "SVD, n / 16 reflectors", "the same, multiplied out"

SIMPLE_GOALS = {(1, 128): 0.7, (1, 512): 0.85}
GATED_GOALS = {(1, 128): 0.85, (1, 512): 0.95, (2, 256): 1.0}

COMPARISONS = (
    Comparison(
        name="OrthogonalCell",
        models={
            SIMPLE: flax(nnx.SimpleCell),
            FREE: elman(gs.nn.Unconstrained),
            CAYLEY: elman(gs.nn.Cayley),
            HOUSEHOLDER: elman(gs.nn.Householder),
            SVD: elman(gs.nn.SVD),
            SIMPLE_SEGMENTS: elman(gs.nn.Cayley, checkpoint_every=SEGMENT),
        },
        torch=(TORCH_RNN,),
        claims=(
            Claim(FREE, SIMPLE),
            Claim(CAYLEY, SIMPLE, SIMPLE_GOALS),
            Claim(CAYLEY, FREE, everywhere(1.05)),
            Claim(CAYLEY, TORCH_RNN),
            Claim(HOUSEHOLDER, SIMPLE, SIMPLE_GOALS),
            Claim(HOUSEHOLDER, FREE, everywhere(1.05)),
            Claim(SVD, SIMPLE, SIMPLE_GOALS),
            Claim(SVD, FREE, {**everywhere(1.05), (1, 512): 1.08}),
            Claim(SIMPLE_SEGMENTS, SIMPLE),
            Claim(CAYLEY, SIMPLE, everywhere(0.45), memory=True),
            Claim(HOUSEHOLDER, SIMPLE, everywhere(0.45), memory=True),
            Claim(SVD, SIMPLE, everywhere(0.45), memory=True),
            Claim(SIMPLE_SEGMENTS, SIMPLE, memory=True),
        ),
    ),
    Comparison(
        name="GRUCell",
        models={
            GATED: flax(nnx.GRUCell),
            GATED_FREE: gru(gs.nn.Unconstrained),
            GATED_CAYLEY: gru(gs.nn.Cayley),
            GATED_SEGMENTS: gru(gs.nn.Cayley, checkpoint_every=SEGMENT),
        },
        torch=(TORCH_GRU,),
        claims=(
            Claim(GATED_CAYLEY, GATED, GATED_GOALS),
            Claim(GATED_CAYLEY, GATED_FREE, everywhere(1.05)),
            Claim(GATED_CAYLEY, TORCH_GRU),
            Claim(GATED_SEGMENTS, GATED),
            Claim(GATED_CAYLEY, GATED, everywhere(0.55), memory=True),
            Claim(GATED_SEGMENTS, GATED, everywhere(0.2), memory=True),
        ),
    ),
    Comparison(
        name="twins",
        models={
            NC: constrained(gs.nn.NCGRUCell),
            NC_FREE: constrained(gs.nn.NCGRUCell, candidate=free),
            SPECTRAL: constrained(gs.nn.SpectralGRUCell, candidate=clipped),
            SPECTRAL_FREE: constrained(gs.nn.SpectralGRUCell),
            EN: constrained(enrnn),
            EN_FREE: constrained(
                enrnn,
                long=lambda n, rngs: free(n - n // 4, rngs),
                short=lambda n, rngs: free(n // 4, rngs),
            ),
        },
        torch=(),
        claims=(
            Claim(NC, NC_FREE, everywhere(1.05)),
            Claim(SPECTRAL, SPECTRAL_FREE, everywhere(1.05)),
            Claim(EN, EN_FREE, everywhere(1.05)),
        ),
    ),
    Comparison(
        name="factors",
        models={
            FACTORS: few(gs.nn.SVD),
            WHOLE: lambda n, rngs: MultipliedOut(few(gs.nn.SVD)(n, rngs)),
        },
        torch=(),
        claims=(Claim(FACTORS, WHOLE),),
    ),
)


def training_step(session: Session, name: str, model: nnx.Module, n: int) -> Candidate:
    """Compiles a loss of the last output and its gradient in every parameter."""
    graph, parameters, rest = nnx.split(model, nnx.Param, ...)

    def loss(parameters: nnx.State, inputs: Array, cotangent: Array) -> Array:
        outputs = nnx.merge(graph, parameters, rest, copy=True)(inputs)
        return jnp.sum(outputs[-1] * cotangent)

    inputs = jax.random.normal(jax.random.key(1), (STEPS, BATCH, 1))
    cotangent = jax.random.normal(jax.random.key(2), (BATCH, n))
    return session.candidate(
        name, jax.value_and_grad(loss), parameters, inputs, cotangent
    )


def compare(session: Session, comparison: Comparison, n: int) -> None:
    """Times all models of a comparison together and prints its lines."""
    candidates = [session.matmul(n)]
    candidates += [
        training_step(session, name, build(n, nnx.Rngs(0)), n)
        for name, build in comparison.models.items()
    ]
    candidates += session.peers(
        comparison.torch, gradient=True, n=n, steps=STEPS, batch=BATCH
    )
    point = session.settings.cores, n
    lines = [
        Line(claim.subject, claim.reference, claim.goals.get(point), claim.memory)
        for claim in comparison.claims
    ]
    session.compare(n, candidates, lines)


def main(settings: Settings) -> None:
    """Runs every comparison selected."""
    session = Session("benchmarks.cells", settings)
    for comparison in COMPARISONS:
        if settings.selects(comparison.name):
            for n in settings.sizes:
                compare(session, comparison, n)
    session.close()


if __name__ == "__main__":
    main(tyro.cli(Settings, default=Settings(sizes=(128, 512))))
