"""Maps that leave a value as it is and change the gradient through it."""

from ._detach import detach as detach, stochastic_detach as stochastic_detach
from ._scale import (
    reverse_gradient as reverse_gradient,
    scale_gradient as scale_gradient,
)
