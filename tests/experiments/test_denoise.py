import jax.numpy as jnp
import numpy as np

from experiments.denoise import PRESETS, DenoiseSettings, denoise_task

TASK = denoise_task(DenoiseSettings(validation_sequences=4, test_sequences=4))


def test_guessing_the_symbols_has_the_loss_of_the_baseline():
    _, targets = TASK.validation
    at_the_end = jnp.arange(targets.shape[1])[None, :, None] >= targets.shape[1] - 10
    blank = jnp.arange(10)[None, None] == 9
    logits = jnp.where(at_the_end == blank, -40.0, 40.0)
    # Among the symbols at the end, all alike; the blank before, for sure.
    logits = jnp.broadcast_to(logits, (*targets.shape, 10))
    np.testing.assert_allclose(TASK.losses(logits, targets), TASK.baseline, rtol=1e-4)


def test_the_paper_preset_is_the_whole_budget():
    assert denoise_task(PRESETS["paper"]).budget.startswith("100%")
