"""Strict JAX modes and fixtures for the whole suite."""

import os
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

# Many tests compile the same programs. Workers, the processes that tests start, and the
# next run find them in one directory; `make clean` empties it.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    _programs = str(Path(__file__).parent.parent / ".jax_cache")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _programs
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    jax.config.update("jax_compilation_cache_dir", _programs)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
# Scripts that make expected numbers with other libraries.
collect_ignore = ["golden"]

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(autouse=True, scope="module")
def forget_programs():
    """Drops compiled programs before Linux, with 65,530 maps each, kills a worker."""
    yield
    maps = Path("/proc/self/maps")
    if maps.exists() and maps.read_bytes().count(b"\n") > 15_000:
        jax.clear_caches()


@pytest.fixture(params=[jnp.float32, jnp.float64], ids=["f32", "f64"])
def dtype(request):
    with jax.enable_x64(request.param == jnp.float64):
        yield request.param


@pytest.fixture(
    params=[jnp.float32, jnp.float64, jnp.complex64, jnp.complex128],
    ids=["f32", "f64", "c64", "c128"],
)
def any_dtype(request):
    with jax.enable_x64(request.param in {jnp.float64, jnp.complex128}):
        yield request.param


@pytest.fixture
def atol(dtype):
    return {jnp.float32: 1e-5, jnp.float64: 1e-12}[dtype]


@pytest.fixture(params=[True, False], ids=["graph", "tree"])
def nnx_mode(request):
    from flax import nnx

    with nnx.set_graph_mode(request.param), nnx.set_graph_updates(request.param):
        yield request.param
