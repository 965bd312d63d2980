"""The peer process: PyTorch candidates, prepared and timed at one request a line.

Started by `TorchPeers`. Imports nothing but torch, what completes it, and the clock, so
that an interpreter without JAX can run it.
"""
# pyright: reportMissingImports=false
# torch lives in an environment of its own.

import importlib.metadata
import importlib.util
import json
import math
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.nn.utils import parametrizations

from benchmarks._harness import clock_for, timed

# Builds a forward pass and what it is differentiated by.
Program = tuple[Callable[[], Any], list[Any]]


def _matmul(n: int) -> Program:
    left, right = _gaussian(n, n).requires_grad_(), _gaussian(n, n).requires_grad_()
    return lambda: left @ right, [left, right]


def _orthogonal(orthogonal_map: str, n: int, columns: int | None = None) -> Program:
    layer = torch.nn.Linear(columns or n, n, bias=False)
    # The trivialization would add a product that the others do not have.
    parametrizations.orthogonal(
        layer, orthogonal_map=orthogonal_map, use_trivialization=False
    )
    coordinates = layer.parametrizations["weight"].original
    with torch.no_grad():
        coordinates.copy_(_reflectors(n, columns or n))
    return lambda: layer.weight, [coordinates]


def _geotorch(triv: str, n: int) -> Program:
    import geotorch

    layer = torch.nn.Linear(n, n, bias=False)
    geotorch.orthogonal(layer, "weight", triv=triv)
    coordinates = layer.parametrizations["weight"].original
    with torch.no_grad():
        coordinates.copy_(_reflectors(n, n))
    return lambda: layer.weight, [coordinates]


def _householder_package(n: int, columns: int | None = None) -> Program:
    from torch_householder import torch_householder_orgqr

    vectors = _reflectors(n, columns or n).requires_grad_()
    return lambda: torch_householder_orgqr(vectors), [vectors]


def _svd_product(n: int) -> Program:
    left, left_coordinates = _orthogonal("householder", n)
    right, right_coordinates = _orthogonal("householder", n)
    values = torch.linspace(0.9, 1.1, n).requires_grad_()
    return (
        lambda: (left() * values) @ right().mT,
        [*left_coordinates, values, *right_coordinates],
    )


def _through_svd(rebuild: Callable[[Any, Any, Any], Any], n: int) -> Program:
    matrix = _gaussian(n, n).requires_grad_()
    return (
        lambda: rebuild(*torch.linalg.svd(matrix, full_matrices=False)),
        [matrix],
    )


def _spectral_radius(n: int) -> Program:
    matrix = _gaussian(n, n).requires_grad_()
    return lambda: torch.linalg.eigvals(matrix).abs().max(), [matrix]


def _recurrent(
    layer: Callable[[int, int], Any], n: int, steps: int, batch: int
) -> Program:
    rnn = layer(1, n)
    inputs = torch.randn(steps, batch, 1)
    return lambda: rnn(inputs)[0][-1], list(rnn.parameters())


def _gaussian(rows: int, columns: int) -> Any:
    return torch.randn(rows, columns) / math.sqrt(rows)


def _reflectors(rows: int, columns: int) -> Any:
    """Unit diagonal over small entries; the strict triangle is also read as skew."""
    return _gaussian(rows, columns).tril(-1) + torch.eye(rows, columns)


BUILDERS: dict[str, Callable[..., Program]] = {
    "torch matmul": _matmul,
    "torch orthogonal(householder)": partial(_orthogonal, "householder"),
    "torch orthogonal(cayley)": partial(_orthogonal, "cayley"),
    "torch orthogonal(matrix_exp)": partial(_orthogonal, "matrix_exp"),
    "torch 2 orthogonal(householder)": _svd_product,
    "torch svd, clamp": partial(
        _through_svd, lambda left, s, right: (left * s.clamp(max=1.0)) @ right
    ),
    "torch svd, U Vᵀ": partial(_through_svd, lambda left, _, right: left @ right),
    "torch eigvals": _spectral_radius,
    "torch nn.RNN": partial(_recurrent, torch.nn.RNN),
    "torch nn.GRU": partial(_recurrent, torch.nn.GRU),
}
if importlib.util.find_spec("torch_householder"):
    BUILDERS["torch-householder"] = _householder_package
if importlib.util.find_spec("geotorch"):
    BUILDERS["geotorch cayley"] = partial(_geotorch, "cayley")
    BUILDERS["geotorch expm"] = partial(_geotorch, "expm")


def _call(name: str, gradient: bool, sizes: dict[str, int]) -> Callable[[], object]:
    forward, parameters = BUILDERS[name](**sizes)
    cotangent = torch.randn_like(forward())

    def evaluate() -> object:
        with torch.no_grad():
            return forward()

    def differentiate() -> object:
        return torch.autograd.grad(torch.sum(forward() * cotangent), parameters)

    return differentiate if gradient else evaluate


def _versions() -> dict[str, str]:
    installed = {
        d.metadata["Name"]: d.version for d in importlib.metadata.distributions()
    }
    wanted = ("torch", "geotorch", "torch_householder")
    return {name: installed[name] for name in wanted if name in installed}


def main(cores: int) -> None:
    """Answers requests until the pipe closes."""
    torch.set_num_threads(cores)
    # As XLA does. Gradients that vanish over a sequence turn subnormal, where some
    # processors are ten times slower.
    torch.set_flush_denormal(True)
    torch.manual_seed(0)
    clock, calls = clock_for(cores), {}
    answer = partial(print, flush=True)
    answer(json.dumps({"versions": _versions(), "names": list(BUILDERS)}))
    for line in sys.stdin:
        request = json.loads(line)
        if name := request.get("prepare"):
            calls[name] = _call(name, request["gradient"], request["sizes"])
            answer("null")
        else:
            call = calls[request["sample"]]
            answer(json.dumps(timed(call, request["calls"], clock)))


if __name__ == "__main__":
    main(int(sys.argv[1]))
