"""Projection onto a spectral norm after an optimizer step, against a full SVD.

`python -m benchmarks.projection` prints the time of one update of
`optim.project_spectral_norm`, by the exact path and by the truncated one, as ratios to
cutting the singular values of a decomposition. The matrix has six singular values at
the limit of 1.8 and the others below 1.7; an update moves it by 1e-3 in norm, and those
before have warmed up the truncated path. See the README beside this file.
"""

import jax
import jax.numpy as jnp
import tyro
from jaxtyping import Array

import gradstab as gs
from benchmarks._harness import Candidate
from benchmarks._report import Line
from benchmarks._session import Session, Settings
from benchmarks._textbook import clip_by_svd

LIMIT, AT_LIMIT, RANK, WARM_UP = 1.8, 6, 16, 10
TRUNCATED, EXACT = f"project_spectral_norm, rank {RANK}", "project_spectral_norm"
SVD = "jax svd, minimum"
GOALS = {(512, TRUNCATED): 1 / 10}


def matrix(n: int) -> Array:
    """Makes the matrix."""
    values = jnp.linspace(1.7, 0.1, n).at[:AT_LIMIT].set(LIMIT)
    left, right = (
        jnp.linalg.qr(jax.random.normal(jax.random.key(seed), (n, n)))[0]
        for seed in (0, 1)
    )
    return (left * values[None, :]) @ right


def step(n: int, seed: int) -> Array:
    """Draws an update."""
    return 1e-3 / (2 * n**0.5) * jax.random.normal(jax.random.key(seed), (n, n))


def projection(session: Session, name: str, n: int, rank: int | None) -> Candidate:
    """Compiles an update that goes on from some others."""
    project = gs.optim.project_spectral_norm(LIMIT, rank=rank)
    weight = matrix(n)
    state, update = project.init(weight), jax.jit(project.update)
    for seed in range(WARM_UP):
        change, state = update(step(n, seed + 2), state, weight)
        weight = weight + jnp.asarray(change)
    return session.candidate(name, project.update, step(n, 0), state, weight)


def main(settings: Settings) -> None:
    """Runs every size."""
    session = Session("benchmarks.projection", settings)
    for n in settings.sizes:
        candidates = [
            session.matmul(n),
            projection(session, TRUNCATED, n, RANK),
            projection(session, EXACT, n, None),
            session.candidate(
                SVD, lambda weight: LIMIT * clip_by_svd(weight / LIMIT), matrix(n)
            ),
        ]
        lines = [
            Line(subject, SVD, GOALS.get((n, subject)))
            for subject in (TRUNCATED, EXACT)
        ]
        session.compare(n, candidates, lines)
    session.close()


if __name__ == "__main__":
    main(tyro.cli(Settings, default=Settings(peer_python=None)))
