import importlib
import re
from pathlib import Path

import jax
import pytest

ROOT = Path(__file__).parents[1]
API = ROOT / "docs" / "api"
GUIDE = sorted((ROOT / "docs" / "guide").glob("*.md"))


def run_examples(page):
    """Runs the examples of a page one after the other, and returns their names."""
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    names: dict[str, object] = {}
    with jax.numpy_dtype_promotion("standard"):  # optax needs it
        for block in blocks:
            exec(block, names)  # noqa: S102 - they are our own
    return names


def test_examples_of_the_readme_run():
    logits = run_examples(ROOT / "README.md")["logits"]
    assert isinstance(logits, jax.Array)
    assert logits.shape == (2, 10)


@pytest.mark.parametrize("page", GUIDE, ids=lambda page: page.stem)
def test_examples_of_the_guide_run(page):
    assert "nnx" in run_examples(page)


@pytest.mark.parametrize("page", sorted(API.glob("*.md")), ids=lambda page: page.stem)
def test_every_public_name_is_listed_once(page):
    package = importlib.import_module(f"gradstab.{page.stem}")
    public = {
        name
        for name, value in vars(package).items()
        if not name.startswith("_") and not isinstance(value, type(importlib))
    }
    listed = re.findall(r"^   (\w+)$", page.read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(public)


def test_every_package_has_a_page():
    assert GUIDE
    packages = {path.parent.name for path in (ROOT / "gradstab").glob("*/__init__.py")}
    assert {page.stem for page in API.glob("*.md")} == packages
