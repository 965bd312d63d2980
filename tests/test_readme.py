import re
from pathlib import Path

import jax

README = Path(__file__).parents[1] / "README.md"


def test_its_examples_run_one_after_the_other():
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    names: dict[str, object] = {}
    with jax.numpy_dtype_promotion("standard"):  # optax needs it
        for block in blocks:
            exec(block, names)  # noqa: S102 - they are our own
    logits = names["logits"]
    assert isinstance(logits, jax.Array)
    assert logits.shape == (2, 10)
