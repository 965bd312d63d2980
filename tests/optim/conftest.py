import jax
import pytest


@pytest.fixture(autouse=True)
def promotion_of_optax():
    # It counts steps in int32 and multiplies by them.
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield
