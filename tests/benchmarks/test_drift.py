import jax
import jax.numpy as jnp
import pytest

import gradstab as gs
from benchmarks.drift import Options, drift

OPTIONS = Options(hidden=16, batch=4)


@pytest.mark.parametrize("kind", [gs.nn.OrthogonalCell, gs.nn.GRUCell])
def test_low_products_drift_by_their_own_rounding_alone(kind):
    with jax.enable_x64(True):
        single = drift(kind, jnp.float32, OPTIONS)
        low = drift(kind, jnp.bfloat16, OPTIONS)
    assert max(single) < 1e-5
    assert 1e-4 < max(low) < 0.05
