import jax
import pytest


@pytest.fixture
def double():
    """Makes double precision the default."""
    with jax.enable_x64(True):
        yield
