import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import gradstab as gs
from experiments.__main__ import main
from experiments.cell_path import CellPathSettings, cell_path_checks, path_norm, ratios


def draw(length=4, size=3):
    rngs = nnx.Rngs(0)
    inputs = jax.random.normal(rngs.params(), (length, 1))
    return gs.nn.LSTMCell(1, size, rngs=rngs), inputs


def test_the_cells_alone_pass_the_product_of_the_forget_gates():
    cell, inputs = draw()
    carry, product = (jnp.zeros(3), jnp.zeros(3)), jnp.ones(3)
    for x in inputs:
        # c' = f c + i g: moving c by one at the same gates tells f.
        moved, _ = cell((carry[0] + 1.0, carry[1]), x)
        carry, _ = cell(carry, x)
        product = product * (moved[0] - carry[0])
    np.testing.assert_allclose(
        path_norm(cell, inputs, 0.0), jnp.max(product), rtol=1e-5
    )


def test_all_paths_are_the_jacobian():
    cell, inputs = draw()

    def last(c):
        carry = c, jnp.zeros(3)
        for x in inputs:
            carry, _ = cell(carry, x)
        return carry[0]

    jacobian = jax.jacfwd(last)(jnp.zeros(3))
    np.testing.assert_allclose(
        path_norm(cell, inputs, 1.0), jnp.linalg.norm(jacobian, 2), rtol=1e-5
    )


def test_larger_weights_suppress_the_cells_and_halving_relieves_them():
    settings = CellPathSettings(hidden=12, length=20, seeds=(0, 1))
    found = {}
    for scale in (1.0, 4.0):
        full, halved = ratios(scale, settings)
        found[scale] = float(np.median(full)), float(np.median(halved))
    assert all(check.met for check in cell_path_checks(found))


@pytest.mark.parametrize(
    ("found", "met"),
    [
        ({1.0: (0.1, 0.2), 4.0: (0.2, 0.3)}, (False, True)),
        ({1.0: (0.2, 0.1), 4.0: (0.1, 0.3)}, (True, False)),
        ({1.0: (0.2, 0.3), 8.0: (0.9, 1.0)}, (True, True)),
    ],
)
def test_judges_the_order_and_the_relief(found, met):
    assert tuple(check.met for check in cell_path_checks(found)) == met


@pytest.mark.slow
def test_prints_a_table(capsys):
    options = ["--hidden", "4", "--length", "3", "--seeds", "0", "--scales", "1"]
    assert main(["cell_path", *options]) == 0
    assert "those through h halved" in capsys.readouterr().out
    assert main(["cell_path", "--length", "0"]) == 2
    assert "--length must be at least 1" in capsys.readouterr().err
