"""Networks whose gradients neither vanish nor explode, by construction."""

from gradstab import (
    diagnostics as diagnostics,
    dynamics as dynamics,
    gradients as gradients,
    linalg as linalg,
    nn as nn,
    optim as optim,
    recurrence as recurrence,
    reversible as reversible,
)

__version__ = "0.1.0"
