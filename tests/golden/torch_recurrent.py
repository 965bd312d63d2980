"""Writes what PyTorch's GRU and LSTM give: `python tests/golden/torch_recurrent.py`.

Needs PyTorch, which no test does: the numbers are in `torch_recurrent.json` beside this
file.
"""

# pyright: reportMissingImports=false

import json
from pathlib import Path

import torch

IN, HIDDEN, BATCH, STEPS = 3, 4, 2, 6


def record(kind: type[torch.nn.Module]) -> dict:
    """Runs a layer of random weights forward and backward, in float64."""
    torch.manual_seed(0)
    layer = kind(IN, HIDDEN, batch_first=True, dtype=torch.float64)
    for weight in layer.parameters():
        torch.nn.init.normal_(weight)
    inputs = torch.randn(BATCH, STEPS, IN, dtype=torch.float64, requires_grad=True)
    outputs, _ = layer(inputs)
    (outputs**3).sum().backward()
    return {
        "weights": {
            name: weight.tolist() for name, weight in layer.state_dict().items()
        },
        "inputs": inputs.tolist(),
        "outputs": outputs.tolist(),
        "gradient": inputs.grad.tolist(),
    }


if __name__ == "__main__":
    found = {"torch": torch.__version__}
    found |= {kind.__name__: record(kind) for kind in (torch.nn.GRU, torch.nn.LSTM)}
    path = Path(__file__).with_suffix(".json")
    path.write_text(json.dumps(found) + "\n")
