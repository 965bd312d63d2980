"""Modes of JAX for code that calls optax, and where published data sets are."""

import os
from pathlib import Path

import jax
import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True, scope="module")
def standard_promotion():
    # optax raises a float to an integer power, which strict promotion refuses.
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture
def published():
    """The folder that holds mnist/, ptb/, polyphonic/ and cifar10/, if it is here."""
    folder = Path(os.environ.get("GRADSTAB_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("no published data sets here; GRADSTAB_DATA names their folder")
    return folder
