"""Modes of JAX for code that calls optax."""

import jax
import pytest


@pytest.fixture(autouse=True, scope="module")
def standard_promotion():
    # optax raises a float to an integer power, which strict promotion refuses.
    with jax.numpy_dtype_promotion("standard"):
        yield
