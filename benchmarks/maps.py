"""Matrix maps against PyTorch and against the textbook in JAX.

`python -m benchmarks.maps --peer-python PATH` prints, for each map and each n, the time
forward and the time forward and backward, as ratios. See the README beside this file.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import jax
import jax.numpy as jnp
import jax.scipy.linalg
import tyro
from jax import lax
from jaxtyping import Array

from benchmarks import _textbook as textbook
from benchmarks._report import Line
from benchmarks._session import MATMUL, Session, Settings
from gradstab import linalg

FEW = 16
GOAL_SIZE = 512


@dataclass(frozen=True)
class Comparison:
    """One map, what it is held against, and the goals.

    Args:
        name: what the table calls it.
        ours: the map of gradstab.
        inputs: draws its arguments for a size and a key.
        textbook: the same map of the same arguments, written the plain way in JAX.
        torch: names in the peer process.
        torch_sizes: what the peers take beside n.
        goals: largest ratio of ours to a reference, forward and backward, at n = 512
            on one core.
    """

    name: str
    ours: Callable[..., Array]
    inputs: Callable[[int, Array], tuple[Array, ...]]
    textbook: Mapping[str, Callable[..., Array]] = field(default_factory=dict)
    torch: tuple[str, ...] = ()
    torch_sizes: Mapping[str, int] = field(default_factory=dict)
    goals: Mapping[str, float] = field(default_factory=dict)


COMPARISONS = (
    Comparison(
        name="product of two matrices",
        ours=jnp.matmul,
        inputs=textbook.two_gaussians,
        torch=("torch matmul",),
    ),
    Comparison(
        name="householder k=n",
        ours=linalg.householder_product,
        inputs=textbook.reflectors,
        textbook={"jax scan of reflectors": textbook.scan_reflectors},
        torch=("torch orthogonal(householder)", "torch-householder"),
        goals={MATMUL: 4.0, "torch orthogonal(householder)": 1 / 35},
    ),
    Comparison(
        name=f"householder k={FEW}",
        ours=lambda vectors: linalg.householder_product(
            vectors, columns=vectors.shape[0]
        ),
        inputs=partial(textbook.reflectors, count=FEW),
        textbook={"jax scan of reflectors": textbook.scan_reflectors},
    ),
    Comparison(
        name=f"householder k={FEW}, n x k",
        ours=linalg.householder_product,
        inputs=partial(textbook.reflectors, count=FEW),
        torch=("torch orthogonal(householder)", "torch-householder"),
        torch_sizes={"columns": FEW},
    ),
    Comparison(
        name="cayley",
        ours=linalg.cayley,
        inputs=textbook.skew,
        textbook={"jax solve": textbook.solve_cayley},
        torch=("torch orthogonal(cayley)", "geotorch cayley"),
        goals={MATMUL: 3.8, "torch orthogonal(cayley)": 1 / 4},
    ),
    Comparison(
        name="cayley of |A|=100",
        ours=linalg.cayley,
        inputs=partial(textbook.skew, scale=100 / 2.8),
        textbook={"jax solve": textbook.solve_cayley},
        goals={MATMUL: 5.5},
    ),
    Comparison(
        name="expm_skew",
        ours=linalg.expm_skew,
        inputs=textbook.skew,
        textbook={"jax expm": jax.scipy.linalg.expm},
        torch=("torch orthogonal(matrix_exp)", "geotorch expm"),
        goals={MATMUL: 20.0, "torch orthogonal(matrix_exp)": 1 / 12},
    ),
    Comparison(
        name="svd_product k=n",
        ours=linalg.svd_product,
        inputs=textbook.factors(textbook.reflectors),
        textbook={"jax scan of reflectors": textbook.scan_svd},
        torch=("torch 2 orthogonal(householder)",),
        goals={MATMUL: 11.0},
    ),
    Comparison(
        name=f"svd_product k={FEW}",
        ours=linalg.svd_product,
        inputs=textbook.factors(partial(textbook.reflectors, count=FEW)),
        textbook={"jax scan of reflectors": textbook.scan_svd},
        goals={MATMUL: 0.7},
    ),
    Comparison(
        name="clip_singular_values",
        ours=lambda matrix: linalg.clip_singular_values(matrix, maximum=1.0),
        inputs=textbook.gaussian,
        textbook={"jax svd, minimum": textbook.clip_by_svd},
        torch=("torch svd, clamp",),
        goals={"torch svd, clamp": 0.5},
    ),
    Comparison(
        name="polar",
        ours=linalg.polar,
        inputs=textbook.gaussian,
        textbook={"jax svd, U Vᵀ": textbook.polar_by_svd},
        torch=("torch svd, U Vᵀ",),
    ),
    Comparison(
        name="spectral_radius",
        ours=linalg.spectral_radius,
        inputs=textbook.gaussian,
        textbook={"jax eigvals": textbook.radius_by_eigvals},
        torch=("torch eigvals",),
        goals={MATMUL: 12.0},
    ),
)


def program(fn: Callable[..., Array], gradient: bool) -> Callable[..., object]:
    """Returns fn itself, or the value and gradient of its product with a cotangent."""

    def evaluate(cotangent: Array, *arguments: Array) -> Array:
        return fn(*arguments)

    def differentiate(cotangent: Array, *arguments: Array) -> object:
        inner = lambda *xs: jnp.sum(fn(*xs) * cotangent)  # noqa: E731
        return jax.value_and_grad(inner, range(len(arguments)))(*arguments)

    return differentiate if gradient else evaluate


def arguments_for(
    fn: Callable[..., Array], inputs: Callable[..., tuple[Array, ...]], n: int
) -> tuple[Array, ...]:
    """Draws a cotangent and the arguments that `program` of fn takes."""
    arguments = inputs(n, jax.random.key(1))
    shape = jax.eval_shape(fn, *arguments).shape
    return jax.random.normal(jax.random.key(2), shape), *arguments


def compare(session: Session, comparison: Comparison, n: int, gradient: bool) -> None:
    """Times one map in one direction and prints a line for each reference."""
    subject = f"{comparison.name}, {'fwd+bwd' if gradient else 'fwd'}"
    arguments = arguments_for(comparison.ours, comparison.inputs, n)
    functions = {subject: comparison.ours, **comparison.textbook}
    candidates = [session.matmul(n)]
    candidates += [
        session.candidate(name, program(fn, gradient), *arguments)
        for name, fn in functions.items()
    ]
    candidates += session.peers(
        comparison.torch, gradient=gradient, n=n, **comparison.torch_sizes
    )
    has_goals = gradient and n == GOAL_SIZE and session.settings.cores == 1
    goals = comparison.goals if has_goals else {}
    references = [MATMUL, *comparison.textbook, *comparison.torch]
    lines = [Line(subject, name, goals.get(name)) for name in references]
    session.compare(n, candidates, lines)


def compare_stack(session: Session, name: str, count: int = 64, n: int = 64) -> None:
    """Times a stack of Cayley transforms against the products that it amounts to.

    A transform with its gradient is 6 n³ operations or three products of n x n: one for
    the inverse, two for the gradient. The first reference is one product on its own, as
    everywhere here. The second runs as many as these operations make one after the
    other in one program, where the cost of starting a program is not counted at each.
    """
    subject = f"{name}, fwd+bwd"
    reference = f"its {3 * count} products in one program"
    stack = jax.vmap(linalg.cayley)

    def inputs(n: int, key: Array) -> tuple[Array]:
        return jax.vmap(lambda key: textbook.skew(n, key))(jax.random.split(key, count))

    def products(left: Array, right: Array) -> Array:
        return lax.fori_loop(0, 3 * count, lambda _, x: x @ right, left)

    cotangents, skews = arguments_for(stack, inputs, n)
    candidates = [
        session.matmul(n),
        session.candidate(subject, program(stack, True), cotangents, skews),
        session.candidate(reference, products, cotangents[0], linalg.cayley(skews[0])),
    ]
    goal = 2.0 * 3 * count if session.settings.cores == 1 else None
    session.compare(
        n, candidates, [Line(subject, MATMUL, goal), Line(subject, reference)]
    )


def main(settings: Settings) -> None:
    """Runs every comparison selected."""
    session = Session("benchmarks.maps", settings)
    for comparison in COMPARISONS:
        if settings.selects(comparison.name):
            for n in settings.sizes:
                for gradient in (False, True):
                    compare(session, comparison, n, gradient)
    if settings.selects(name := "cayley stack of 64"):
        compare_stack(session, name)
    session.close()


if __name__ == "__main__":
    main(tyro.cli(Settings))
