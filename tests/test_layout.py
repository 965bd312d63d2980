"""The plan of the house: who may import whom, and what every public name carries."""

import ast
import importlib
import inspect
import pathlib
import subprocess
import sys

import pytest

import gradstab

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = ROOT / "gradstab"

GROUND = {"_checks", "_precision"}
# Each floor and the floors it may stand on.
FLOORS = {
    "_checks": set(),
    "_precision": set(),
    "linalg": GROUND,
    "recurrence": GROUND,
    "gradients": GROUND,
    "nn": {*GROUND, "linalg", "recurrence", "gradients"},
    "optim": {*GROUND, "linalg"},
    "reversible": GROUND,
    "diagnostics": {*GROUND, "linalg", "recurrence", "nn"},
    "dynamics": {*GROUND, "linalg", "nn"},
}
LIGHT = [
    *("matplotlib", "contourpy", "diffrax", "optimistix"),
    *("tensorflow_datasets", "orbax", "torch", "tyro"),
]


def imports_of(path):
    """Yields the absolute name of every module that a file imports from."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = path.relative_to(ROOT).with_suffix("").parts[: -node.level]
                base = ".".join([*parts, base]).rstrip(".")
            if base == "gradstab":
                yield from (f"gradstab.{alias.name}" for alias in node.names)
            else:
                yield base


@pytest.mark.parametrize(
    "path",
    sorted(PACKAGE.rglob("*.py")),
    ids=lambda path: str(path.relative_to(PACKAGE)),
)
def test_a_floor_imports_only_from_floors_below_it(path):
    if path == PACKAGE / "__init__.py":
        return
    floor = path.relative_to(PACKAGE).with_suffix("").parts[0]
    for name in imports_of(path):
        assert not name.startswith("jax._src"), name
        assert not name.startswith("experiments"), name
        if name.startswith("gradstab."):
            target = name.split(".")[1]
            assert target == floor or target in FLOORS[floor], name


@pytest.mark.parametrize(
    "path", sorted((ROOT / "experiments").rglob("*.py")), ids=lambda path: path.name
)
def test_experiments_import_only_public_names(path):
    for name in imports_of(path):
        assert not any(part.startswith("_") for part in name.split(".")), name


def public_names():
    for floor in sorted(FLOORS):
        if floor.startswith("_") or not (PACKAGE / floor).exists():
            continue
        module = importlib.import_module(f"gradstab.{floor}")
        for name, value in vars(module).items():
            if not name.startswith("_") and not inspect.ismodule(value):
                yield f"{floor}.{name}", value


PUBLIC = dict(public_names())


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_is_documented(name):
    value = PUBLIC[name]
    assert inspect.getdoc(value), name
    if inspect.isclass(value) and issubclass(value, gradstab.nn.Parametrization):
        assert value.__doc__ != gradstab.nn.Parametrization.__doc__ or (
            value is gradstab.nn.Parametrization
        )


def test_no_drawers_for_odds_and_ends():
    for path in PACKAGE.rglob("*.py"):
        assert path.stem.strip("_") not in {"utils", "helpers", "common", "misc"}, path


def test_importing_is_light():
    code = f"import sys, gradstab; print([m for m in {LIGHT} if m in sys.modules])"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    loaded = set(ast.literal_eval(run.stdout))
    code = f"import sys, flax.nnx; print([m for m in {LIGHT} if m in sys.modules])"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert loaded <= set(ast.literal_eval(run.stdout))
